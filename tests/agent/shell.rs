//! `nsvm unshare ... bash` as in a local terminal: a real shell in namespaces
//! of its own, a real pseudo-terminal here.

use nsvm::agent::pty;
use nsvm::protocol::request::Size;

use crate::client::{Agent, eventually};
use crate::command_line::InTerminal;
use crate::namespaces::{nap, sleeping};
use crate::needs_root;

/// Without the marks that tell pasted text from typed.
const SHELL: &str = "export PS1='ready> ' TERM=dumb; exec bash --norc --noprofile -i";

#[test]
fn jobs_are_stopped_resumed_and_ended_by_keys() {
    needs_root!();
    let agent = Agent::start();
    for user in ["root", "nobody"] {
        let terminal = InTerminal::start_apart(&agent, user, SHELL);
        terminal.wait_for("ready> ");
        terminal.type_keys(b"echo $$ $(id -u)\r");
        terminal.wait_for("\n1 0\r\n");
        terminal.type_keys(format!("sleep {}\r", nap(98_730)).as_bytes());
        eventually("the program runs", || !sleeping(98_730).is_empty());
        terminal.type_keys(b"\x1a");
        terminal.wait_for("Stopped");
        terminal.wait_for("ready> ");
        terminal.type_keys(b"jobs\r");
        terminal.wait_for("[1]+  Stopped");
        terminal.wait_for("ready> ");
        terminal.type_keys(b"fg\r");
        terminal.wait_for("sleep");
        let state = || {
            let pid = sleeping(98_730).first().copied().unwrap_or_default();
            std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default()
        };
        eventually("it goes on", || state().contains("State:\tS"));
        terminal.type_keys(b"\x03");
        terminal.wait_for("ready> ");
        terminal.type_keys(b"echo was $?\r");
        terminal.wait_for("was 130");
        terminal.type_keys(format!("sleep {}\r", nap(98_731)).as_bytes());
        eventually("the next one runs", || !sleeping(98_731).is_empty());
        terminal.type_keys(b"\x1c");
        terminal.wait_for("Quit");
        terminal.wait_for("ready> ");
        terminal.type_keys(b"exit 4\r");
        terminal.wait_for("<Ok(Exited(4))>");
        assert!(terminal.end().1);
        assert!(sleeping(98_730).is_empty() && sleeping(98_731).is_empty());
    }
}

#[test]
fn the_shell_sees_a_resize() {
    needs_root!();
    let agent = Agent::start();
    let terminal = InTerminal::start_apart(&agent, "nobody", SHELL);
    terminal.wait_for("ready> ");
    terminal.type_keys(b"trap 'echo size $(stty size)' WINCH; stty size\r");
    terminal.wait_for("30 100");
    terminal.wait_for("ready> ");
    let size = Size { rows: 7, cols: 33, ..Size::default() };
    pty::resize(&terminal.pty.master, size).unwrap();
    // bash takes the signal when a command has ended.
    eventually("the size has come", || {
        terminal.type_keys(b"true\r");
        terminal.wait_for("ready> ").contains("size 7 33")
    });
    terminal.type_keys(b"exit\r");
    terminal.wait_for("<Ok(Exited(");
    terminal.end();
}

#[test]
fn a_closed_terminal_ends_what_runs_in_the_shell() {
    needs_root!();
    let agent = Agent::start();
    let terminal = InTerminal::start_apart(&agent, "nobody", SHELL);
    terminal.wait_for("ready> ");
    terminal.type_keys(format!("sleep {} &\r", nap(98_732)).as_bytes());
    terminal.wait_for("ready> ");
    terminal.type_keys(format!("sleep {}\r", nap(98_733)).as_bytes());
    eventually("both run", || !sleeping(98_732).is_empty() && !sleeping(98_733).is_empty());
    terminal.hang_up();
    eventually("both have ended", || sleeping(98_732).is_empty() && sleeping(98_733).is_empty());
    eventually("all is reaped", || agent.children().is_empty());
}
