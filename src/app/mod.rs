//! (being written)

pub mod session;
pub mod terminal;
