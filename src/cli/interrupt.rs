//! Ctrl-C as a flag that long work looks at.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Set by the first Ctrl-C or SIGTERM; a second one ends the program at once.
pub fn flag() -> Arc<AtomicBool> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The order matters: the second signal finds the flag set.
        let twice = flag::register_conditional_shutdown(signal, 130, interrupted.clone());
        let once = flag::register(signal, interrupted.clone());
        if let Err(e) = twice.and(once) {
            super::report::note(&format!("Warning: Ctrl-C cannot be caught: {e}"));
        }
    }
    interrupted
}
