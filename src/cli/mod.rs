//! (being written)

pub mod namespace;
