//! Signals of this process on their way to the guest: one file per system,
//! with the same function.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub use unix::forward;
#[cfg(windows)]
pub use windows::forward;
