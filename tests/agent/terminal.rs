//! Programs in a pseudo-terminal.

use nsvm::protocol::message::FromHost;
use nsvm::protocol::outcome::Outcome;
use nsvm::protocol::request::{Bytes, ExecRequest, Size, Terminal};

use crate::client::{Agent, eventually};
use crate::namespaces::{nap, sleeping};
use crate::needs_root;

fn in_terminal(argv: &[&str]) -> ExecRequest {
    let mut request = ExecRequest::new(argv.iter().copied());
    let size = Size { rows: 30, cols: 100, ..Size::default() };
    request.tty = Some(Terminal { term: Bytes::from(b"xterm".to_vec()), size });
    request
}

#[test]
fn the_size_follows_a_resize() {
    needs_root!();
    let agent = Agent::start();
    let script = "stty size; echo $TERM; read line; stty size; echo to stderr >&2; exit 5";
    let link = agent.attach();
    let mut talk = link.talk(in_terminal(&["sh", "-c", script]));
    talk.stdout_until("30 100\r\nxterm\r\n");
    talk.send(&FromHost::Resize(Size { rows: 11, cols: 22, ..Size::default() }));
    talk.send(&FromHost::Stdin(b"\n"));
    talk.stdout_until("11 22\r\nto stderr\r\n");
    assert_eq!(talk.outcome(), Outcome::Exited(5));
}

#[test]
fn keys_become_signals_of_the_foreground() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    for (message, signal) in [(FromHost::Stdin(b"\x03"), 2), (FromHost::Signal(15), 15)] {
        let mut talk = link.talk(in_terminal(&["cat"]));
        talk.send(&FromHost::Stdin(b"ready\n"));
        // Once from the terminal's echo, once from the program.
        talk.stdout_until("ready\r\nready\r\n");
        talk.send(&message);
        assert_eq!(talk.outcome(), Outcome::Signaled { signal, core: false });
    }
}

#[test]
fn an_interactive_shell_has_job_control() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let mut talk = link.talk(in_terminal(&["bash", "--norc", "-i"]));
    talk.stdout_until("# ");
    talk.send(&FromHost::Stdin(format!("sleep {}\n", nap(98709)).as_bytes()));
    eventually("the program runs", || !sleeping(98709).is_empty());
    talk.send(&FromHost::Stdin(b"\x1a"));
    talk.stdout_until("Stopped");
    talk.send(&FromHost::Stdin(b"kill %1; exit 4\n"));
    // bash warns once about a job that is still stopped.
    talk.send(&FromHost::Stdin(b"exit 4\n"));
    assert_eq!(talk.outcome(), Outcome::Exited(4));
}

#[test]
fn the_last_output_arrives_and_the_terminal_belongs_to_the_user() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let mut request = in_terminal(&["sh", "-c", "stat -c %U $(tty); seq 1 5000"]);
    request.user = Some("nobody".parse().unwrap());
    let done = link.output(request, b"");
    assert!(done.stdout.starts_with("nobody\r\n"), "{}", &done.stdout[..40]);
    assert!(done.stdout.ends_with("4999\r\n5000\r\n"));
    assert_eq!(done.outcome, Outcome::Exited(0));
}
