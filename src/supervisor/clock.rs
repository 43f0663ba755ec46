//! Keeps the guest's clock: it stands still while the host sleeps or the VM is
//! paused, and drifts under load.
//!
//! The guest is asked for its time now and then and told to step by what it is
//! off; that, and not the time itself, because a message may take as long as
//! the error is. A guest that does not answer at all has no link any more.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::link::Link;
use crate::protocol::frame::Decoder;
use crate::protocol::message::{FromAgent, FromHost};
use crate::protocol::request::Request;

/// How often the guest is asked.
const INTERVAL: Duration = Duration::from_secs(10);

/// How often to look whether the host has slept: timers do not run meanwhile,
/// and nothing tells of the end on every system.
const WATCH: Duration = Duration::from_secs(2);

/// Wall and monotonic clock differ by more than this: the host has slept, or
/// its clock was set.
const JUMP: Duration = Duration::from_secs(1);

/// A clock that is off by more is stepped.
const TOLERANCE: Duration = Duration::from_millis(100);

/// A guest on the busiest host answers within this time.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// How far the guest is ahead of the host, in milliseconds.
    pub drift_ms: i64,
    /// It had to be stepped.
    pub stepped: bool,
}

/// Keeps the clock of the guest at this link, and returns why the link is of
/// no use any more. `woken`: the VM goes on after a pause.
pub async fn keep(link: &Link, woken: &Notify, tell: impl Fn(Reading)) -> String {
    loop {
        match timeout(PATIENCE, look(link)).await {
            Err(_) => return format!("the guest has not answered for {} s", PATIENCE.as_secs()),
            Ok(Err(Unanswered::Lost(e))) => {
                tracing::info!("asking the guest for its time: {e}");
                return link.closed().await;
            }
            Ok(Err(Unanswered::Refused)) => {
                tracing::info!("the guest's agent does not tell the time");
                return std::future::pending().await;
            }
            Ok(Ok(reading)) => tell(reading),
        }
        rest(woken).await;
    }
}

/// Until it is time to look again.
async fn rest(woken: &Notify) {
    let (begun, wall) = (Instant::now(), SystemTime::now());
    while begun.elapsed() < INTERVAL {
        tokio::select! {
            () = tokio::time::sleep(WATCH) => {}
            () = woken.notified() => return,
        }
        let differ = match SystemTime::now().duration_since(wall) {
            Ok(passed) => passed.abs_diff(begun.elapsed()),
            // Set back.
            Err(_) => return,
        };
        if differ > JUMP {
            return tracing::info!(?differ, "the host has slept, or its clock was set");
        }
    }
}

/// Puts the clock of the guest at this link right, once.
pub async fn put_right(link: &Link) -> Result<Reading, String> {
    match timeout(PATIENCE, look(link)).await {
        Err(_) => Err(format!("the guest has not answered for {} s", PATIENCE.as_secs())),
        Ok(Err(Unanswered::Lost(e))) => Err(e.to_string()),
        Ok(Err(Unanswered::Refused)) => Err("the guest's agent does not tell the time".into()),
        Ok(Ok(reading)) => Ok(reading),
    }
}

enum Unanswered {
    Lost(std::io::Error),
    Refused,
}

impl<E: Into<std::io::Error>> From<E> for Unanswered {
    fn from(error: E) -> Self {
        Self::Lost(error.into())
    }
}

async fn look(link: &Link) -> Result<Reading, Unanswered> {
    let measured = measure(link, 0).await?;
    let Some(step) = measured.step() else {
        return Ok(Reading { drift_ms: measured.ahead / MILLION, stepped: false });
    };
    let after = measure(link, step).await?;
    tracing::info!(off = measured.ahead, after = after.ahead, "stepped the guest's clock");
    Ok(Reading { drift_ms: after.ahead / MILLION, stepped: true })
}

const MILLION: i64 = 1_000_000;

/// One answer of the guest, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Measured {
    /// How far it is ahead, if question and answer took the same time.
    ahead: i64,
    /// How wrong that can be.
    error: i64,
}

impl Measured {
    fn new(asked: i64, answered: i64, guest: i64) -> Self {
        let error = answered.saturating_sub(asked).max(0) / 2;
        Self { ahead: guest.saturating_sub(asked.saturating_add(error)), error }
    }

    /// What puts it right; `None` for a clock that may be right.
    fn step(self) -> Option<i64> {
        let tolerance = i64::try_from(TOLERANCE.as_nanos()).unwrap_or(i64::MAX);
        let certainly = self.ahead.saturating_abs().saturating_sub(self.error);
        (certainly > tolerance).then(|| self.ahead.saturating_neg())
    }
}

async fn measure(link: &Link, step_nanos: i64) -> Result<Measured, Unanswered> {
    let stream = link.open().await;
    let mut stream = stream.map_err(|e| std::io::Error::other(e.to_string()))?;
    let mut bytes = Vec::new();
    let request = FromHost::Request(Request::Clock { step_nanos });
    request.encode(&mut bytes).map_err(invalid)?;
    let asked = now();
    stream.write_all(&bytes).await?;
    let mut decoder = Decoder::default();
    loop {
        if let Some(frame) = decoder.next().map_err(invalid)? {
            return match FromAgent::decode(frame).map_err(invalid)? {
                FromAgent::Clock(guest) => Ok(Measured::new(asked, now(), guest)),
                _ => Err(Unanswered::Refused),
            };
        }
        match stream.read(decoder.space()).await? {
            0 => return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
            count => decoder.filled(count),
        }
    }
}

fn invalid(error: crate::protocol::frame::FrameError) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, error)
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// What the link keeper is told about the VM.
#[derive(Debug, Default)]
pub struct Pulse {
    /// It goes on after a pause.
    pub resumed: Notify,
    /// It was reset: whatever was in it is gone.
    pub reset: Notify,
    /// Nobody in the guest has the port of the link open.
    pub port_closed: watch::Sender<bool>,
}

/// Shared by whoever sees the VM's events and who keeps its link.
pub type SharedPulse = Arc<Pulse>;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = MILLION;

    #[test]
    fn half_the_round_trip_is_taken_off_and_bounds_the_error() {
        let measured = Measured::new(1000, 1040, 1025);
        assert_eq!(measured, Measured { ahead: 5, error: 20 });
        // The host's clock was set back meanwhile.
        assert_eq!(Measured::new(1000, 10, 1000).error, 0);
    }

    #[test]
    fn only_a_clock_that_is_certainly_off_is_stepped() {
        let off = |ahead, error| Measured { ahead, error }.step();
        assert_eq!(off(100 * MS, 0), None);
        assert_eq!(off(101 * MS, 0), Some(-101 * MS));
        assert_eq!(off(-3_600_000 * MS, 20 * MS), Some(3_600_000 * MS));
        assert_eq!(off(150 * MS, 60 * MS), None);
        assert_eq!(off(i64::MIN, 0), Some(i64::MAX));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_pause_that_ends_is_noticed_at_once() {
        let woken = Arc::new(Notify::new());
        let begun = Instant::now();
        let wake = woken.clone();
        let resting = rest(&woken);
        let waking = async {
            tokio::task::yield_now().await;
            wake.notify_waiters();
        };
        tokio::join!(resting, waking);
        assert!(begun.elapsed() < INTERVAL);
    }
}
