//! The root file systems that a machine keeps: asking its agent about them.

use crate::app::{Place, capture};
use crate::namespace::rootfs::{RootFsAnswer, RootFsVerb};
use crate::protocol::outcome::Outcome;
use crate::protocol::request::Request;

/// The largest answer that is taken from a guest: 200 bytes tell one.
const LARGEST: usize = 4 << 20;

/// What is there, or what was removed; or how the process that looked ended.
pub fn ask(place: &Place, verb: RootFsVerb) -> anyhow::Result<Result<RootFsAnswer, Outcome>> {
    // Reports what the machine lacks before anything else does.
    place.default_user()?;
    capture::ask(place.connection()?, Request::RootFs(verb), LARGEST, "root file systems")
}
