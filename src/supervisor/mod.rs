//! One process a running machine: the only writer of its run.

pub mod lifecycle;
