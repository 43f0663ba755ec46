//! Templates: a guest that was frozen after the first boot of its shape, of which
//! further machines begin as copies.
//!
//! ```text
//! make:  hidden machine boots -> frozen -> devices saved -> a copy is tried -> published
//! begin: disk copied, memory mapped copy-on-write -> devices loaded -> the guest
//!        is told whose it is -> link; else the machine boots
//! ```

mod begin;
mod hidden;
mod make;
mod shape;

pub use begin::{Begun, Made, undo_half_begun};
pub use make::{Outcome, have_made, make};
