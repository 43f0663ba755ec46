//! What a guest has to make good after its memory was saved: another one may go
//! on with the same random numbers.

use super::failure::{failed, refused};
use super::sys;
use crate::protocol::outcome::{FailedStep, Failure};

/// Bytes of a seed that are enough, and more than which are none of ours.
const SEED: std::ops::RangeInclusive<usize> = 32..=512;

/// Makes the kernel's random numbers differ from those of any guest that once
/// was this one.
pub fn reseed(seed: &[u8]) -> Result<(), Failure> {
    if !SEED.contains(&seed.len()) {
        let (least, most) = (SEED.start(), SEED.end());
        let text = format!("a seed has {least} to {most} bytes, not {}", seed.len());
        return Err(refused(FailedStep::Request, text));
    }
    sys::reseed(seed).map_err(|e| failed(FailedStep::Launch, "cannot reseed the kernel", &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_seed_is_refused() {
        assert!(reseed(b"").unwrap_err().message.contains("32"), "says how many");
        assert!(reseed(&[0; 513]).is_err());
    }
}
