//! The connections of QEMU's user-mode network, as `info usernet` of its human
//! monitor tells them (libslirp, `slirp_connection_info`): there is no other way.

use std::time::Duration;

use serde_json::json;

use super::qmp::{Qmp, QmpError};

/// The guest's address there: QEMU's default.
const GUEST: &str = "10.0.2.15";

/// States of a TCP connection that carries nothing any more, and of the socket
/// that only listens.
const SILENT: [&str; 4] = ["TCP[HOST_FORWARD]", "TCP[TIME_WAIT]", "TCP[CLOSED]", "TCP[LISTEN]"];

/// How many connections of the host lead into the guest.
pub fn forwarded(monitor: &Qmp, deadline: Duration) -> Result<usize, QmpError> {
    let asked = json!({ "command-line": "info usernet" });
    let told = monitor.execute("human-monitor-command", asked, deadline)?;
    Ok(count(told.as_str().unwrap_or_default()))
}

/// What QEMU shows is a line a connection; the guest is behind one that was
/// forwarded, and in front of its own.
fn count(table: &str) -> usize {
    let is_forwarded = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [state, _, _, _, to, ..] = words[..] else { return false };
        state.starts_with("TCP[") && !SILENT.contains(&state) && to == GUEST
    };
    table.lines().filter(is_forwarded).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_comes_from_outside_and_lives_is_counted() {
        // QEMU 7.2.
        let table = "Hub -1 (net0):\r\n  \
            Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n  \
            TCP[ESTABLISHED]   26       127.0.0.1 41595       10.0.2.15    22     0     0\r\n  \
            TCP[SYN_SENT]       8       127.0.0.1 18022       10.0.2.15    80     0     0\r\n  \
            TCP[TIME_WAIT]      8       127.0.0.1 18022       10.0.2.15    80     0     0\r\n  \
            TCP[HOST_FORWARD]  15       127.0.0.1 41595       10.0.2.15    22     0     0\r\n  \
            TCP[ESTABLISHED]   27       10.0.2.15 40000         1.2.3.4   443     0     0\r\n  \
            UDP[53 sec]        28       10.0.2.15 40000         1.2.3.4    53     0     0\r\n";
        assert_eq!(count(table), 2);
        assert_eq!(count(""), 0);
    }
}
