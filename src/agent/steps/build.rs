//! The steps that put a root file system of its own together.

use std::io;

use super::namespaces;
use crate::namespace::plan::Step;
use crate::protocol::outcome::Failure;

/// What that asks of the kernel: one call a step, because what goes on between
/// two steps (an open user namespace, a stage) is the kernel's to keep.
pub trait Build {
    fn build(&mut self, step: &Step) -> Result<(), BuildError>;
}

/// What could not be done.
#[derive(Debug)]
pub struct BuildError {
    /// For people, without the cause.
    pub what: String,
    pub source: io::Error,
}

/// Takes a step of those.
pub fn take(step: &Step, sys: &mut dyn Build) -> Result<(), Failure> {
    sys.build(step).map_err(|e| namespaces(&e.what, &e.source))
}
