//! Windows has no signals to forward. Ctrl-C without a terminal ends this
//! process, and the agent hangs up on the program.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use crate::app::session::Sender;
use crate::app::terminal::{self, RawMode};
use crate::protocol::message::FromHost;

/// How often to look at the size: the console tells of a change only to
/// readers of input events, and ours reads bytes.
const INTERVAL: Duration = Duration::from_millis(500);

pub fn forward(sender: &Sender, _: Arc<AtomicBool>, raw: Option<&RawMode>) -> std::io::Result<()> {
    if raw.is_none() {
        return Ok(());
    }
    let sender = sender.clone();
    let watch = move || {
        let mut last = terminal::size();
        loop {
            thread::sleep(INTERVAL);
            let size = terminal::size();
            if size != last && sender.send(&FromHost::Resize(size)).is_err() {
                return;
            }
            last = size;
        }
    };
    thread::Builder::new().name("resize".to_owned()).spawn(watch)?;
    Ok(())
}
