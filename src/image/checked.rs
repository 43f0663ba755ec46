//! Refuses bytes whose SHA-512 is not the expected one, at their end.
//!
//! Everything else is named by SHA-256 and hashed so anyway; this reader is
//! for publishers that give only the longer digest, and costs nothing without.

use std::io::{self, Read};

use sha2::{Digest, Sha512};

use super::error::ImageError;
use super::hashing::hex;

pub struct Checked<'a, R> {
    inner: R,
    /// The image, for the error.
    source: &'a str,
    expected: Option<(&'a str, Sha512)>,
}

impl<'a, R: Read> Checked<'a, R> {
    /// Checks what is read through it, if a digest is `expected`.
    pub fn new(inner: R, source: &'a str, expected: Option<&'a str>) -> Self {
        Self { inner, source, expected: expected.map(|digest| (digest, Sha512::new())) }
    }

    fn verdict(&self) -> Result<(), ImageError> {
        let Some((expected, hash)) = &self.expected else { return Ok(()) };
        let found = hex(&hash.clone().finalize());
        if found == *expected {
            return Ok(());
        }
        let (what, expected) = (self.source.to_owned(), (*expected).to_owned());
        Err(ImageError::Mismatch { what, expected, found })
    }
}

impl<R: Read> Read for Checked<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        if let Some((_, hash)) = &mut self.expected {
            hash.update(&buffer[..n]);
        }
        if n == 0 && !buffer.is_empty() {
            self.verdict()?;
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of "abc": FIPS 180-2, appendix C.1.
    const ABC: &str = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                       2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";

    #[test]
    fn the_end_is_reached_only_with_the_right_digest() {
        for expected in [None, Some(ABC)] {
            let mut reader = Checked::new(&b"abc"[..], "/disk", expected);
            assert_eq!(io::read_to_string(&mut reader).unwrap(), "abc");
        }
        let error = io::read_to_string(Checked::new(&b"abd"[..], "/disk", Some(ABC))).unwrap_err();
        let error = error.downcast::<ImageError>().unwrap();
        assert!(
            matches!(&error, ImageError::Mismatch { expected, .. } if expected == ABC),
            "{error}"
        );
    }
}
