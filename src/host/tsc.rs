//! The time stamp counter of this host's processor.

#[cfg(target_arch = "x86_64")]
use std::time::{Duration, Instant};

/// For how long it is looked at. Both ends are known to a tenth of a microsecond: the
/// rate is right to some ten parts in a million.
#[cfg(target_arch = "x86_64")]
const LOOK: Duration = Duration::from_millis(20);

/// Its rate in kHz, measured: takes 20 ms. `None` on processors that have none.
#[cfg(target_arch = "x86_64")]
pub fn tsc_khz() -> Option<u32> {
    let (ticks, begun) = reading();
    std::thread::sleep(LOOK);
    let (more, ended) = reading();
    let nanos = u64::try_from((ended - begun).as_nanos()).ok()?;
    let ticks = more.checked_sub(ticks)?;
    let khz = u128::from(ticks) * 1_000_000 / u128::from(nanos.max(1));
    u32::try_from(khz).ok().filter(|khz| *khz > 0)
}

#[cfg(not(target_arch = "x86_64"))]
pub const fn tsc_khz() -> Option<u32> {
    None
}

/// The counter and the time that belongs to it: of several readings the one that took
/// least, for this thread may lose its processor within one.
#[cfg(target_arch = "x86_64")]
fn reading() -> (u64, Instant) {
    let read = || {
        let before = Instant::now();
        let ticks = counter();
        (before.elapsed(), ticks, before)
    };
    let readings = (0..16).map(|_| read());
    let (took, ticks, before) = readings.min_by_key(|(took, ..)| *took).expect("there are some");
    (ticks, before + took / 2)
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
fn counter() -> u64 {
    // SAFETY: every x86_64 processor has the instruction, which only reads.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn two_measurements_agree() {
        let (one, two) = (tsc_khz().unwrap(), tsc_khz().unwrap());
        // A busy host may take this thread's processor away: one in a thousand is
        // far from what would make a guest's clock useless, and from a wrong unit.
        assert!(one.abs_diff(two) < one / 1000, "{one} and {two} kHz");
        assert!((100_000..10_000_000).contains(&one), "{one} kHz");
    }
}
