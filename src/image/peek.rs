//! A buffered reader that can look at what comes before it is read.

use std::io::{self, BufRead, Read};

/// Far more than any header that is looked at.
const CAPACITY: usize = 64 << 10;

pub struct Peek<R> {
    inner: R,
    buffer: Vec<u8>,
    /// Read from here on.
    at: usize,
}

impl<R: Read> Peek<R> {
    pub fn new(inner: R) -> Self {
        Self { inner, buffer: Vec::with_capacity(CAPACITY), at: 0 }
    }

    /// The next `n` bytes, fewer only where the source ends.
    pub fn peek(&mut self, n: usize) -> io::Result<&[u8]> {
        while self.buffer.len() - self.at < n && self.more()? > 0 {}
        let end = self.buffer.len().min(self.at + n);
        Ok(&self.buffer[self.at..end])
    }

    /// Reads once; how many bytes that gave.
    fn more(&mut self) -> io::Result<usize> {
        self.buffer.drain(..self.at);
        self.at = 0;
        let old = self.buffer.len();
        self.buffer.resize(old.max(CAPACITY / 2) + CAPACITY / 2, 0);
        let read = loop {
            match self.inner.read(&mut self.buffer[old..]) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(old + *read.as_ref().unwrap_or(&0));
        read
    }
}

impl<R: Read> BufRead for Peek<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.buffer.len() {
            self.more()?;
        }
        Ok(&self.buffer[self.at..])
    }

    fn consume(&mut self, n: usize) {
        self.at += n;
    }
}

impl<R: Read> Read for Peek<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.buffer.len() && buffer.len() >= CAPACITY {
            return self.inner.read(buffer);
        }
        let n = self.fill_buf()?.read(buffer)?;
        self.consume(n);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_takes_nothing_away() {
        let bytes: Vec<u8> = (0..=252).cycle().take(3 * CAPACITY).collect();
        let mut peek = Peek::new((&bytes[..5]).chain(&bytes[5..]));
        assert_eq!(peek.peek(3).unwrap(), &bytes[..3]);
        assert_eq!(peek.peek(70).unwrap(), &bytes[..70]);
        let mut read = vec![0; 100];
        peek.read_exact(&mut read).unwrap();
        assert_eq!(peek.peek(4).unwrap(), &bytes[100..104]);
        peek.read_to_end(&mut read).unwrap();
        assert_eq!(read, bytes);
        assert_eq!(peek.peek(4).unwrap(), b"");
    }
}
