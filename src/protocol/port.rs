//! How a link begins on the guest's virtio port [`LINK`], and the names of ports.
//!
//! A port is one stream of bytes for the life of a VM. Neither end is sure to see
//! that the other one has hung up and come back, so bytes of an earlier link may
//! come before those of this one:
//!
//! ```text
//! guest: "NSVM-LINK offer WORD HELLO\n"   when somebody comes, and after each line
//! host:  "NSVM-LINK take WORD OWN\n"      that is none of these
//! guest: "NSVM-LINK given OWN\n"          yamux from here on, both ways
//! ```
//!
//! The words are random. The guest opens the port anew before it offers, by which
//! what was on its way to it is gone, and the host says nothing before it has read
//! an offer: to a guest that has not seen it come, that would be the rest of
//! what somebody else was saying. It goes away instead, and comes again.

use serde::Deserialize;

use super::hello::Hello;

/// Says when the guest's sshd listens, and tells a frozen guest whose it is.
pub const READY: &str = "nsvm.ready";

/// Leads to the guest's agent.
pub const LINK: &str = "nsvm.link";

/// Of a line of either side, and of what is kept of bytes that end none.
pub const LINE_MAX: usize = 4096;

const OFFER: &str = "NSVM-LINK offer ";
const TAKE: &str = "NSVM-LINK take ";
const GIVEN: &str = "NSVM-LINK given ";

/// What the guest says before it is taken.
pub fn offer(word: &str, hello: &Hello) -> Vec<u8> {
    let hello = serde_json::to_string(hello).expect("plain fields serialize");
    format!("{OFFER}{word} {hello}\n").into_bytes()
}

/// The host's answer.
pub fn take(word: &str, own: &str) -> Vec<u8> {
    format!("{TAKE}{word} {own}\n").into_bytes()
}

/// The guest's last line.
pub fn given(own: &str) -> Vec<u8> {
    format!("{GIVEN}{own}\n").into_bytes()
}

/// A line of the guest's; what else comes is of an earlier link.
#[derive(Debug, PartialEq, Eq)]
pub enum FromGuest {
    Offer { word: String, hello: Box<Hello> },
    Given { own: String },
}

impl FromGuest {
    /// Bytes of an earlier link may stand before it in its line.
    pub fn parse(line: &[u8]) -> Option<Self> {
        if let Some(own) = after(line, GIVEN) {
            return Some(Self::Given { own: text(own)? });
        }
        let rest = after(line, OFFER)?;
        let space = rest.iter().position(|byte| *byte == b' ')?;
        let mut json = serde_json::Deserializer::from_slice(&rest[space..]);
        let hello = Box::new(Hello::deserialize(&mut json).ok()?);
        Some(Self::Offer { word: text(&rest[..space])?, hello })
    }
}

/// The host's own word, in a line that takes the offer of `word`.
pub fn taken(line: &[u8], word: &str) -> Option<String> {
    let rest = text(after(line, TAKE)?)?;
    let (theirs, own) = rest.split_once(' ')?;
    (theirs == word).then(|| own.to_owned())
}

fn after<'a>(line: &'a [u8], begins: &str) -> Option<&'a [u8]> {
    let at = line.windows(begins.len()).rposition(|window| window == begins.as_bytes())?;
    Some(&line[at + begins.len()..])
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

/// Cuts a stream into lines.
#[derive(Debug, Default)]
pub struct Lines(Vec<u8>);

impl Lines {
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next whole line, without its end.
    pub fn take_line(&mut self) -> Option<Vec<u8>> {
        let Some(end) = self.0.iter().position(|byte| *byte == b'\n') else {
            // No line of ours is as long: what it begins with is not wanted.
            let surplus = self.0.len().saturating_sub(LINE_MAX);
            self.0.drain(..surplus);
            return None;
        };
        let mut line: Vec<u8> = self.0.drain(..=end).collect();
        line.pop();
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(bytes: &[u8]) -> Vec<u8> {
        let mut lines = Lines::default();
        lines.push(bytes);
        let line = lines.take_line().unwrap();
        assert!(lines.0.is_empty());
        line
    }

    #[test]
    fn each_side_understands_the_other() {
        let offered = FromGuest::Offer { word: "w1".into(), hello: Box::new(Hello::example()) };
        assert_eq!(FromGuest::parse(&line(&offer("w1", &Hello::example()))), Some(offered));
        let given_own = FromGuest::Given { own: "o2".into() };
        assert_eq!(FromGuest::parse(&line(&given("o2"))), Some(given_own));
        assert_eq!(taken(&line(&take("w1", "o2")), "w1").as_deref(), Some("o2"));
        assert_eq!(taken(&line(&take("w0", "o2")), "w1"), None);
        assert!(offer("w1", &Hello::example()).len() < LINE_MAX);
    }

    #[test]
    fn what_is_left_of_an_earlier_link_does_not_matter() {
        let mut lines = Lines::default();
        lines.push(b"\0\x01half a frame NSVM-LINK offer x {no json\n and more");
        assert_eq!(FromGuest::parse(&lines.take_line().unwrap()), None);
        lines.push(&offer("w", &Hello::example()));
        let found = FromGuest::parse(&lines.take_line().unwrap());
        assert!(matches!(found, Some(FromGuest::Offer { word, .. }) if word == "w"));
        lines.push(&vec![b'x'; 10 * LINE_MAX]);
        assert_eq!(lines.take_line(), None);
        assert!(lines.0.len() <= LINE_MAX, "is not kept");
        lines.push(&given("o"));
        assert!(FromGuest::parse(&lines.take_line().unwrap()).is_some());
    }
}
