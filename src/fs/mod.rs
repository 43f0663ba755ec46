//! Files that are whole or absent, and locks the kernel holds.

mod atomic;
mod lock;

pub use atomic::{
    Access, create_dir_owner_only, remove, remove_if_there, sweep, sync_dir, write_atomic,
};
pub use lock::{Lock, is_locked};
