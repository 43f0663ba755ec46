//! Writes a stream into a file and leaves holes where it is zero.

use std::io::{self, Read, Seek, SeekFrom, Write};

/// Holes are made in these units: the block size of common file systems.
const BLOCK: usize = 4096;
/// Read at once; a multiple of [`BLOCK`].
const BUFFER: usize = 256 * 1024;

/// Which side of a copy failed, and after how many bytes.
#[derive(Debug)]
pub enum CopyError {
    Read(io::Error),
    Write(io::Error, u64),
}

/// Copies all of `from` to the start of the empty file `to`; returns its
/// length. A hole at the end is not yet in the file: set its length.
pub fn copy(from: &mut impl Read, to: &mut (impl Write + Seek)) -> Result<u64, CopyError> {
    let mut buffer = vec![0; BUFFER];
    let mut total = 0;
    loop {
        let n = fill(from, &mut buffer).map_err(CopyError::Read)?;
        write_data(&buffer[..n], to).map_err(|e| CopyError::Write(e, total))?;
        total += n as u64;
        if n < buffer.len() {
            return Ok(total);
        }
    }
}

/// Reads until the buffer is full or the stream ends, so that blocks in the
/// stream and in the file are aligned alike.
pub fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// Writes each run of blocks with data in one call; seeks over the others.
fn write_data(mut bytes: &[u8], to: &mut (impl Write + Seek)) -> io::Result<()> {
    while !bytes.is_empty() {
        let zero = is_zero(&bytes[..BLOCK.min(bytes.len())]);
        let same = bytes.chunks(BLOCK).take_while(|block| is_zero(block) == zero);
        let (run, rest) = bytes.split_at(same.map(<[u8]>::len).sum());
        if zero {
            to.seek(SeekFrom::Current(i64::try_from(run.len()).map_err(io::Error::other)?))?;
        } else {
            to.write_all(run)?;
        }
        bytes = rest;
    }
    Ok(())
}

/// By comparison with a block of zeroes, which is one call of `memcmp`.
fn is_zero(block: &[u8]) -> bool {
    *block == [0; BLOCK][..block.len()]
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// A file that counts what is really written and fails at a limit.
    struct Disk {
        file: Cursor<Vec<u8>>,
        written: usize,
        limit: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.written + bytes.len() > self.limit {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.written += bytes.len();
            self.file.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Seek for Disk {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.file.seek(to)
        }
    }

    fn disk(limit: usize) -> Disk {
        Disk { file: Cursor::new(Vec::new()), written: 0, limit }
    }

    #[test]
    fn zero_blocks_are_skipped_and_the_rest_is_the_same() {
        let mut bytes = vec![0; 3 * BUFFER + 100];
        bytes[BLOCK + 7] = 1;
        bytes[2 * BUFFER..2 * BUFFER + 2 * BLOCK].fill(2);
        bytes[3 * BUFFER + 99] = 3;
        let mut to = disk(usize::MAX);
        let total = copy(&mut &bytes[..], &mut to).unwrap();
        assert_eq!(total, bytes.len() as u64);
        assert_eq!(to.written, 3 * BLOCK + 100);
        assert_eq!(to.file.into_inner(), bytes);
    }

    #[test]
    fn a_reader_of_single_bytes_makes_the_same_holes() {
        struct Dribble<'a>(&'a [u8]);
        impl Read for Dribble<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let n = buffer.len().min(1);
                self.0.read(&mut buffer[..n])
            }
        }
        let mut bytes = vec![0; 3 * BLOCK];
        bytes[0] = 1;
        let mut to = disk(usize::MAX);
        assert_eq!(copy(&mut Dribble(&bytes), &mut to).unwrap(), bytes.len() as u64);
        assert_eq!(to.written, BLOCK);
    }

    #[test]
    fn a_full_disk_is_told_from_a_bad_source() {
        let bytes = vec![1; 2 * BUFFER];
        let error = copy(&mut &bytes[..], &mut disk(BUFFER)).unwrap_err();
        assert!(matches!(error, CopyError::Write(_, at) if at == BUFFER as u64), "{error:?}");
    }
}
