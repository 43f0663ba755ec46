//! xz files: decoded by several threads, any number of streams in a row
//! (which liblzma's multi-threaded decoder leaves to its caller).

use std::io::{self, BufRead, Read};

use liblzma::bufread::XzDecoder;
use liblzma::stream::{MtStreamBuilder, Stream};

use crate::host;

/// More decoder threads than this find no work in a download.
const THREADS_MAX: u32 = 4;
/// `xz -9` needs 65 MiB, and about 200 MiB a thread with its blocks of 192 MiB.
const MEMORY_MAX: u64 = 1 << 30;

pub struct Xz<R> {
    /// `None` once all streams have ended.
    decoder: Option<XzDecoder<R>>,
}

impl<R: BufRead> Xz<R> {
    pub fn new(from: R) -> io::Result<Self> {
        Ok(Self { decoder: Some(XzDecoder::new_stream(from, stream()?)) })
    }

    /// Begins the stream after the one that has just ended, if there is one.
    fn next_stream(&mut self, mut from: R) -> io::Result<()> {
        if skip_padding(&mut from)? {
            self.decoder = Some(XzDecoder::new_stream(from, stream()?));
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Xz<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(decoder) = &mut self.decoder {
            let n = decoder.read(buffer)?;
            if n > 0 || buffer.is_empty() {
                return Ok(n);
            }
            if let Some(ended) = self.decoder.take() {
                self.next_stream(ended.into_inner())?;
            }
        }
        Ok(0)
    }
}

/// Skips the zeroes that may follow a stream; whether anything else does.
fn skip_padding(from: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let bytes = from.fill_buf()?;
        let zeroes = bytes.iter().take_while(|&&byte| byte == 0).count();
        let (all, empty) = (zeroes == bytes.len(), bytes.is_empty());
        from.consume(zeroes);
        if empty || !all {
            return Ok(!empty);
        }
    }
}

/// Blocks are decoded in parallel while that takes less than a quarter of the
/// host's memory; liblzma falls back to one thread above it.
fn stream() -> io::Result<Stream> {
    let quarter = host::memory_bytes().map_or(MEMORY_MAX / 4, |bytes| bytes / 4);
    MtStreamBuilder::new()
        .threads(host::cpus().min(THREADS_MAX))
        .memlimit_threading(quarter.min(MEMORY_MAX))
        .memlimit_stop(MEMORY_MAX)
        .decoder()
        .map_err(io::Error::other)
}
