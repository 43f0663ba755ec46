//! A stream that outlives what carries it: the layer below the frames of a
//! command, which loses and doubles nothing when its link or the supervisor
//! dies and the client comes back by another.
//!
//! ```text
//! client: frames -> Resumable -> opening, records -> (supervisor, link) ...
//!   ... records -> Resumable -> frames: agent
//!
//! a way:  opening [answer] record*      opening: new, or resume from an offset
//! record: tag u8 | offset u64 | length u32 | bytes          numbers big endian
//! ```
//!
//! Each record of bytes says where in its direction's stream it belongs. Each
//! side keeps what the other has not confirmed, up to [`WINDOW`]; then its
//! writer waits. A stream that begins with anything else than [`TAG`] has
//! plain frames, and nobody waits for its client when it is lost.
//!
//! A way that the supervisor closes is a client that is gone; one that ends
//! with its link is only lost, and the agent keeps the command for
//! [`PATIENCE`].

mod opening;
mod stream;

use std::time::Duration;

pub use opening::{Answer, Opening, TAG, Token};
pub use stream::{HEADER, Resumable, ResumeError};

/// The most that a side keeps for the other, in bytes: a link under TCG that
/// carries 100 MB/s and answers within 5 ms is still filled by half of it.
pub const WINDOW: usize = 1024 * 1024;

/// How long a command without a client is kept, and how long its client tries
/// to come back: an attempt to dial a guest that is busy may take 60 s, and
/// the first may fail. Then the agent hangs up on it.
pub const PATIENCE: Duration = Duration::from_secs(120);
