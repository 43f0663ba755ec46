//! (being written)

pub mod session;
mod signals;
pub mod terminal;
