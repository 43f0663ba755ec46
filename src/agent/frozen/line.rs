//! Hearing the host on the port, to which nobody listens for a long time.

use std::io::{self, Read};
use std::time::Duration;

use crate::protocol::frozen::LINE_MAX;

/// Between two looks while nobody is connected.
const POLL: Duration = Duration::from_millis(5);

/// A line of the host's. There is nobody at the other end for as long as it
/// takes: between saving and loading this guest lie days. (The kernel then
/// returns nothing at once, instead of waiting.)
pub fn line(port: &mut impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match port.read(&mut buffer)? {
            0 => std::thread::sleep(POLL),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
        if let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            bytes.truncate(end);
            return String::from_utf8(bytes).map_err(io::Error::other);
        }
        if bytes.len() > LINE_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its parts one at a time, an empty one for nobody being there.
    struct Parts(Vec<&'static [u8]>);

    impl Read for Parts {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let part = self.0.remove(0);
            buffer[..part.len()].copy_from_slice(part);
            Ok(part.len())
        }
    }

    #[test]
    fn a_line_may_come_late_and_in_parts() {
        let mut parts = Parts(vec![b"", b"", b"a ", b"", b"line\nand more"]);
        assert_eq!(line(&mut parts).unwrap(), "a line");
    }

    #[test]
    fn a_host_that_writes_on_and_on_is_not_ours() {
        let mut endless = io::repeat(b'x');
        assert_eq!(line(&mut endless).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
