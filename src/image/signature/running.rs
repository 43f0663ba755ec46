//! A check that goes on while the file's bytes come in.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::SignatureError;
use crate::image::error::ImageError;

/// Pieces on their way to the check. A piece is what one read brings, 128 KiB
/// at most, so the check holds about half a megabyte.
const PIECES: usize = 4;

/// Bytes of one piece.
const PIECE: usize = 128 << 10;

/// A judge on a thread of its own, which reads along. The thread costs no time
/// where there is a second CPU, and keeps a panic of the judge's from being
/// anything but a bad signature.
pub struct Running {
    feed: SyncSender<Vec<u8>>,
    verdict: JoinHandle<Result<(), SignatureError>>,
    bad: SignatureError,
}

impl Running {
    /// Lets `judge` read what will be fed. `bad` is the verdict when it fails.
    pub fn start(
        bad: SignatureError,
        judge: impl FnOnce(Fed) -> Result<(), SignatureError> + Send + 'static,
    ) -> Self {
        let (feed, pieces) = sync_channel(PIECES);
        let fed = Fed { pieces, piece: Vec::new(), at: 0 };
        Self { feed, verdict: std::thread::spawn(move || judge(fed)), bad }
    }

    /// Hands bytes over. A judge that has ended already needs no more.
    fn feed(&self, bytes: &[u8]) {
        for piece in bytes.chunks(PIECE) {
            let _ = self.feed.send(piece.to_vec());
        }
    }

    /// What the judge says, now that the file has ended.
    fn finish(self) -> Result<(), SignatureError> {
        drop(self.feed);
        self.verdict.join().unwrap_or(Err(self.bad))
    }
}

/// What the judge reads: ends when the file has, or when nobody wants to know
/// any more.
pub struct Fed {
    pieces: Receiver<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Fed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() {
            let Ok(piece) = self.pieces.recv() else { return Ok(0) };
            (self.piece, self.at) = (piece, 0);
        }
        let n = buffer.len().min(self.piece.len() - self.at);
        buffer[..n].copy_from_slice(&self.piece[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

/// A reader whose end is an error when the signature does not fit what was
/// read. Who reads to the end and sees no error has a file that was signed.
pub struct Checked<R> {
    inner: R,
    what: String,
    running: Option<Running>,
}

impl<R: Read> Checked<R> {
    /// `what` is the file's name, for errors.
    pub fn new(inner: R, what: &str, running: Running) -> Self {
        Self { inner, what: what.to_owned(), running: Some(running) }
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        if n > 0 {
            if let Some(running) = &self.running {
                running.feed(&buffer[..n]);
            }
        } else if let Some(running) = self.running.take().filter(|_| !buffer.is_empty()) {
            let what = self.what.clone();
            running.finish().map_err(|source| ImageError::Signature { what, source })?;
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad() -> SignatureError {
        SignatureError::Bad { fingerprint: "F".to_owned() }
    }

    /// Reads a megabyte past a judge; what comes out, or the error.
    fn read(judge: fn(Fed) -> Result<(), SignatureError>) -> Result<Vec<u8>, ImageError> {
        let bytes: Vec<u8> = (0..1 << 20).map(|n: u32| n.to_le_bytes()[1]).collect();
        let mut checked = Checked::new(&bytes[..], "disk", Running::start(bad(), judge));
        let mut seen = Vec::new();
        match checked.read_to_end(&mut seen) {
            Ok(_) => Ok(seen),
            Err(e) => Err(e.downcast().unwrap()),
        }
    }

    #[test]
    fn the_judge_sees_every_byte_and_its_verdict_comes_at_the_end() {
        let seen = read(|mut fed| {
            let mut all = Vec::new();
            fed.read_to_end(&mut all).unwrap();
            let right = all.len() == 1 << 20
                && all.iter().zip(0_u32..).all(|(a, n)| *a == n.to_le_bytes()[1]);
            if right { Ok(()) } else { Err(SignatureError::Future) }
        });
        assert_eq!(seen.unwrap().len(), 1 << 20);
    }

    #[test]
    fn a_judge_that_ends_early_or_panics_says_no() {
        for judge in [|_: Fed| Err(SignatureError::Future), |_: Fed| panic!("a bug")] {
            let error = read(judge).unwrap_err();
            assert!(matches!(error, ImageError::Signature { .. }), "{error}");
        }
    }
}
