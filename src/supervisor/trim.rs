//! Before a guest shuts down, its disk gives back what its file systems do not
//! use any more: QEMU makes holes of it in the file on the host.

use super::guest::run_as_root;
use super::lifecycle::TRIM_PATIENCE;
use crate::link::Link;

/// What was just deleted is free only once the journal is written. busybox knows
/// no `--all`.
const TRIM: &str = "sync; fstrim --all 2>/dev/null || fstrim /";

/// Returns when that is done, cannot be, or takes too long. A guest that cannot
/// loses nothing.
pub async fn trim(link: &Link) {
    if let Err(why) = run_as_root(link, TRIM, &[], TRIM_PATIENCE).await {
        tracing::info!("the guest does not trim its disk: {why}");
    }
}
