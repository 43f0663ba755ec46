//! Ends what unpacks to more than a disk can be, and what nobody waits for.
//!
//! A few kilobytes can stand for terabytes. A download's digest is compared
//! when all has come, which would be too late.

use std::io::{self, Read};

use super::error::ImageError;
use super::peek::Peek;
use super::prepare::Job;
use super::qcow2;
use crate::machine::units::human_bytes;

/// Raw disks that are published have a few GiB, nearly all of it zero. More
/// than this takes minutes to unpack even when nothing is in it.
const UNPACKED_MAX: u64 = 256 << 30;

/// Header, tables and their rounding in a qcow2 with clusters of 2 MiB.
const QCOW2_FRAME: u64 = 16 << 20;

/// A version 3 header up to and including the virtual size.
const START: usize = 32;

/// The way out for an image that takes too much to unpack.
pub const UNPACK_YOURSELF: &str =
    "If you trust it, unpack it yourself and give --image the path of the disk";

pub struct Limit<'a, R> {
    inner: Peek<R>,
    job: Job<'a>,
    source: &'a str,
    most: u64,
    done: u64,
}

impl<'a, R: Read> Limit<'a, R> {
    pub fn new(inner: R, job: Job<'a>, source: &'a str) -> io::Result<Self> {
        let mut inner = Peek::new(inner);
        let most = possible(inner.peek(START)?);
        Ok(Self { inner, job, source, most, done: 0 })
    }

    fn exceeded(&self) -> ImageError {
        let reason = format!(
            "it unpacks to more than {}, which its disk cannot fill",
            human_bytes(self.most)
        );
        ImageError::Format {
            what: self.source.to_owned(),
            reason,
            hint: Some(UNPACK_YOURSELF.to_owned()),
        }
    }
}

impl<R: Read> Read for Limit<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // A decoder can be busy for long with what it has.
        self.job.go_on()?;
        let n = self.inner.read(buffer)?;
        self.done += n as u64;
        if self.done > self.most { Err(self.exceeded().into()) } else { Ok(n) }
    }
}

/// How long a disk that starts like this can be. A qcow2 may hold each cluster
/// twice (internal snapshots).
fn possible(start: &[u8]) -> u64 {
    let size = start.get(24..START).filter(|_| start.starts_with(qcow2::MAGIC));
    let size = size.and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
    let qcow2 = size.map(|size| size.saturating_mul(2).saturating_add(QCOW2_FRAME));
    qcow2.unwrap_or(UNPACKED_MAX).min(UNPACKED_MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::image::testing::with_job;

    fn limited(bytes: impl Read, cancel: bool) -> Result<u64, ImageError> {
        let (result, _) = with_job(&AtomicBool::new(cancel), |job| {
            let mut limit = Limit::new(bytes, job, "disk.xz")?;
            io::copy(&mut limit, &mut io::sink())
        });
        result.map_err(|e| e.downcast().unwrap())
    }

    fn qcow2(virtual_size: u64) -> Vec<u8> {
        let mut start = qcow2::MAGIC.to_vec();
        start.resize(24, 0);
        start.extend(virtual_size.to_be_bytes());
        start
    }

    #[test]
    fn a_qcow2_ends_where_its_header_ends() {
        assert_eq!(possible(&qcow2(1 << 30)), (2 << 30) + QCOW2_FRAME);
        assert_eq!(possible(&qcow2(u64::MAX)), UNPACKED_MAX);
        assert_eq!(possible(&qcow2(1 << 30)[..31]), UNPACKED_MAX);
        assert_eq!(possible(&[0; 512]), UNPACKED_MAX);
        let bomb = || io::Cursor::new(qcow2(0)).chain(io::repeat(0).take(QCOW2_FRAME));
        let error = limited(bomb(), false).unwrap_err();
        assert!(error.to_string().contains("more than 16.0 MiB"), "{error}");
        assert!(error.hint().unwrap().contains("unpack it yourself"));
        assert_eq!(limited(bomb().take(QCOW2_FRAME), false).unwrap(), QCOW2_FRAME);
    }

    #[test]
    fn it_stops_when_the_user_gives_up() {
        let error = limited(io::repeat(0), true).unwrap_err();
        assert!(matches!(error, ImageError::Cancelled), "{error}");
    }
}
