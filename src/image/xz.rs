//! xz files: any number of streams in a row, decoded by several threads where
//! the file and the host's free memory allow it.

use std::io::{self, BufRead, Read};

use liblzma::bufread::XzDecoder;
use liblzma::stream::{Error, MtStreamBuilder, Stream};

use super::peek::Peek;
use super::xz_block;
use crate::host;

/// More decoder threads than this find no work in a download.
const THREADS_MAX: u32 = 4;

/// For all threads together: below 1 GiB with the rest of this program, and
/// enough for two blocks of `xz -9` (192 MiB, dictionary of 64 MiB).
const THREADS_MEMORY_MAX: u64 = 960 << 20;

/// For one thread, which holds the dictionary only: 65 MiB after `xz -9`. What
/// wants more was made to do harm.
const MEMORY_MAX: u64 = 1 << 30;

pub struct Xz<R: Read> {
    /// `None` once all streams have ended.
    decoder: Option<XzDecoder<Peek<R>>>,
}

impl<R: Read> Xz<R> {
    pub fn new(mut from: Peek<R>) -> io::Result<Self> {
        let stream = stream(&mut from)?;
        Ok(Self { decoder: Some(XzDecoder::new_stream(from, stream)) })
    }

    /// Begins the stream after the one that has just ended, if there is one.
    fn next_stream(&mut self, mut from: Peek<R>) -> io::Result<()> {
        if skip_padding(&mut from)? {
            let stream = stream(&mut from)?;
            self.decoder = Some(XzDecoder::new_stream(from, stream));
        }
        Ok(())
    }
}

impl<R: Read> Read for Xz<R> {
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

/// Whether decoding failed because it would take too much memory.
pub fn wants_memory(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    matches!(inner, Some(Error::MemLimit))
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

/// A decoder for the stream that begins here.
fn stream<R: Read>(from: &mut Peek<R>) -> io::Result<Stream> {
    let block = xz_block::memory(from.peek(xz_block::HEADERS_MAX)?);
    let memory = budget(host::memory_available());
    let stream = match threads(block, memory, host::cpus()) {
        // liblzma's decoder for threads keeps whole blocks even for one.
        0 | 1 => Stream::new_stream_decoder(MEMORY_MAX, 0),
        threads => MtStreamBuilder::new()
            .threads(threads)
            .memlimit_threading(memory)
            .memlimit_stop(MEMORY_MAX)
            .decoder(),
    };
    stream.map_err(io::Error::other)
}

/// A quarter of the memory that is free; of an unknown amount, what two threads
/// need for blocks of the usual `xz -6`.
fn budget(available: Option<u64>) -> u64 {
    available.map_or(256 << 20, |bytes| bytes / 4).min(THREADS_MEMORY_MAX)
}

/// As many as have work and memory for a `block`; one where that is unknown.
fn threads(block: Option<u64>, memory: u64, cpus: u32) -> u32 {
    let room = block.map_or(1, |bytes| memory / bytes.max(1));
    cpus.min(THREADS_MAX).min(u32::try_from(room).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FCOS: u64 = (192 + 64 + 60) << 20;

    #[test]
    fn two_threads_need_four_times_their_memory_free() {
        assert_eq!(threads(Some(FCOS), budget(Some(8 * FCOS)), 8), 2);
        assert_eq!(threads(Some(FCOS), budget(Some(8 * FCOS - 4)), 8), 1);
        assert_eq!(threads(Some(FCOS), budget(Some(1 << 40)), 8), 3);
        const { assert!(3 * FCOS < 1 << 30) };
    }

    #[test]
    fn no_more_threads_than_cpus_and_work() {
        assert_eq!(threads(Some(1 << 20), budget(None), 2), 2);
        assert_eq!(threads(Some(1 << 20), budget(None), 64), THREADS_MAX);
        assert_eq!(threads(None, budget(Some(1 << 40)), 8), 1);
        assert_eq!(threads(Some(0), 0, 8), 0);
    }
}
