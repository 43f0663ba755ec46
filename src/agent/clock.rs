//! The guest's clock, which stands still while its host sleeps.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};

/// Moves the clock by so many nanoseconds, and tells the time it then shows, in
/// nanoseconds since 1970. A step of 0 only looks.
pub fn step(nanos: i64) -> io::Result<i64> {
    if nanos == 0 {
        return Ok(now());
    }
    // A step and not a time: how long its message took does not count.
    let stepped = now().saturating_add(nanos);
    let time = TimeSpec::new(stepped.div_euclid(SECOND), stepped.rem_euclid(SECOND));
    clock_settime(ClockId::CLOCK_REALTIME, time)?;
    Ok(now())
}

const SECOND: i64 = 1_000_000_000;

/// Signed 64 bits last until the year 2262.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
