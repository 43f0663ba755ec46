//! Links that come by the virtio port: no login, no program of the guest's and no
//! cipher lies on their way, and only root can open the port.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use rustix::event::epoll;
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::link::Link;
use super::port::Port;
use super::server::{Desk, drive};
use super::sys;
use crate::protocol::port::{LINK, Lines, given, offer, taken};

/// The port's driver may be loaded later than this agent: pauses between looks are
/// twice as long each time, from the first of these on.
const FIRST_LOOK: Duration = Duration::from_millis(50);
const LAST_LOOK: Duration = Duration::from_secs(15);

/// Before the port is opened again after an error.
const AGAIN: Duration = Duration::from_secs(1);

/// Serves one link after another, for ever, where the host gave such a port.
pub async fn serve(desk: Rc<Desk>) {
    let Some(port) = find().await else { return };
    loop {
        if let Err(e) = serve_one(&port, &desk).await {
            eprintln!("nsvm-agent: the port {LINK}: {e}");
            tokio::time::sleep(AGAIN).await;
        }
    }
}

async fn find() -> Option<Port> {
    let mut pause = FIRST_LOOK;
    loop {
        match Port::find(LINK) {
            Ok(port) => return Some(port),
            Err(_) if pause > LAST_LOOK => return None,
            Err(_) => tokio::time::sleep(pause).await,
        }
        pause *= 2;
    }
}

/// The port is opened for it and closed after it: that forgets what was on its way
/// here.
async fn serve_one(port: &Port, desk: &Rc<Desk>) -> io::Result<()> {
    let port = OwnedFd::from(port.open_nonblocking()?);
    let last_word = meet(port.as_fd(), desk).await?;
    let link = Link::of_port(port)?;
    link.output().borrow_mut().push(&last_word);
    drive(link, Rc::clone(desk)).await;
    Ok(())
}

/// Returns once a host takes the link, with what it waits to hear.
async fn meet(port: BorrowedFd<'_>, desk: &Desk) -> io::Result<Vec<u8>> {
    let changes = Changes::of(port)?;
    let mut meeting = Meeting::default();
    let mut buffer = [0; 4096];
    loop {
        match rustix::io::read(port, &mut buffer) {
            // Nobody is there.
            Ok(0) => meeting = Meeting::default(),
            Ok(count) => {
                match meeting.hear(&buffer[..count]) {
                    Heard::Taken(last_word) => return Ok(last_word),
                    Heard::Line => make_offer(port, meeting.word()?, desk),
                    Heard::Nothing => {}
                }
                continue;
            }
            Err(Errno::AGAIN) if meeting.is_new() => make_offer(port, meeting.word()?, desk),
            Err(Errno::AGAIN) => {}
            Err(Errno::INTR) => continue,
            Err(e) => return Err(e.into()),
        }
        changes.next().await?;
    }
}

/// Whoever misses it comes again.
fn make_offer(port: BorrowedFd<'_>, word: &str, desk: &Desk) {
    let _ = rustix::io::write(port, &offer(word, &desk.hello()));
}

/// What was said since somebody came.
#[derive(Debug, Default)]
struct Meeting {
    /// Of the offer that was made; empty before it.
    word: String,
    lines: Lines,
}

#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Nothing,
    Line,
    Taken(Vec<u8>),
}

impl Meeting {
    const fn is_new(&self) -> bool {
        self.word.is_empty()
    }

    fn hear(&mut self, bytes: &[u8]) -> Heard {
        self.lines.push(bytes);
        let mut heard = Heard::Nothing;
        while let Some(line) = self.lines.take_line() {
            heard = Heard::Line;
            if !self.is_new()
                && let Some(own) = taken(&line, &self.word)
            {
                return Heard::Taken(given(&own));
            }
        }
        heard
    }

    /// The same for all offers to whoever is there.
    fn word(&mut self) -> io::Result<&str> {
        if self.is_new() {
            let word = std::fs::read_to_string("/proc/sys/kernel/random/uuid")?;
            word.trim().clone_into(&mut self.word);
        }
        Ok(&self.word)
    }
}

/// Tells that something has changed at a port. While nobody is at its other end
/// the kernel calls it ready all the time, so only changes can be waited for.
struct Changes(AsyncFd<OwnedFd>);

impl Changes {
    fn of(port: BorrowedFd<'_>) -> io::Result<Self> {
        let changes = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        // One that says nothing is seen by that it can be written to.
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        epoll::add(&changes, port, epoll::EventData::new_u64(0), flags)?;
        sys::watch(changes, Interest::READABLE).map(Self)
    }

    /// Returns after the next change, or at once if one was not told yet.
    async fn next(&self) -> io::Result<()> {
        let mut ready = self.0.readable().await?;
        let mut events = [epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(0),
        }];
        let at_once = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        epoll::wait(&self.0, &mut events, Some(&at_once))?;
        ready.clear_ready();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::port::take;

    #[test]
    fn an_offer_is_taken_by_its_word_alone() {
        let mut meeting = Meeting::default();
        assert_eq!(meeting.hear(&take("", "x")), Heard::Line, "nothing was offered");
        let word = meeting.word().unwrap().to_owned();
        assert_eq!(meeting.hear(b"rest of a frame\n"), Heard::Line);
        assert_eq!(meeting.word().unwrap(), word);
        assert_eq!(meeting.hear(&take("another", "x")), Heard::Line);
        let line = take(&word, "own");
        assert_eq!(meeting.hear(&line[..5]), Heard::Nothing);
        assert_eq!(meeting.hear(&line[5..]), Heard::Taken(given("own")));
        assert_ne!(Meeting::default().word().unwrap(), word);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_change_is_told_once() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let changes = Changes::of(reader.as_fd()).unwrap();
        rustix::io::write(&writer, b"x").unwrap();
        changes.next().await.unwrap();
        let soon = Duration::from_millis(20);
        // Nothing was read: it is ready still, but nothing has changed.
        assert!(tokio::time::timeout(soon, changes.next()).await.is_err());
        drop(writer);
        changes.next().await.unwrap();
    }
}
