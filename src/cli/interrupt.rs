//! Ctrl-C as a flag that long work looks at.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{SigId, flag};

/// Set by the first Ctrl-C or SIGTERM; a second one ends the program at once.
pub fn flag() -> Arc<AtomicBool> {
    register().0
}

/// The same for as long as `work` takes: what comes after it has the signals
/// for itself.
pub fn during<T>(work: impl FnOnce(&AtomicBool) -> T) -> T {
    let (interrupted, registered) = register();
    let result = work(&interrupted);
    for id in registered {
        signal_hook::low_level::unregister(id);
    }
    result
}

fn register() -> (Arc<AtomicBool>, Vec<SigId>) {
    let interrupted = Arc::new(AtomicBool::new(false));
    let mut registered = Vec::new();
    for signal in [SIGINT, SIGTERM] {
        // The order matters: the second signal finds the flag set.
        let twice = flag::register_conditional_shutdown(signal, 130, interrupted.clone());
        let once = flag::register(signal, interrupted.clone());
        for result in [twice, once] {
            match result {
                Ok(id) => registered.push(id),
                Err(e) => {
                    super::report::note(&format!("Warning: Ctrl-C cannot be caught: {e}"));
                }
            }
        }
    }
    (interrupted, registered)
}
