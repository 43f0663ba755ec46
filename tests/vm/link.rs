//! The line between host and guest, and what runs at its end.

use std::io::{Read, Write};
use std::process::{Child, ChildStderr, Stdio};

use crate::commands::ARTICLE;
use crate::crashes::{kill_9, supervisor};
use crate::machine::{Machine, NAME};

/// Commands that run when the supervisor dies, or the link under it, end as if
/// nothing had been: the last words and the exit code are theirs.
pub fn commands_outlive(machine: &Machine) {
    let kill_sshd = || {
        // It cuts its own link, too.
        let kill = ["exec", "--user-name", "root", "pkill", "-KILL", "-x", "sshd-session"];
        machine.run(kill).exits(0);
    };
    let kills: [&dyn Fn(); 2] = [&|| kill_9(supervisor(machine)), &kill_sshd];
    for kill in kills {
        let script = "echo begun >&2; sleep 3; echo done; exit 9";
        let unshare = [&ARTICLE[..], &["sh", "-c", script]].concat();
        let (command, mut begun) = begin(machine, &unshare);
        let (mut cat, mut catting) = begin(machine, &["exec", "sh", "-c", "echo begun >&2; cat"]);
        wait_for_word(&mut begun);
        wait_for_word(&mut catting);
        kill();
        let mut input = cat.stdin.take().unwrap();
        input.write_all(b"sent while nobody was there").unwrap();
        drop(input);
        assert_eq!(end(command), (Some(9), "done\n".to_owned()));
        assert_eq!(end(cat), (Some(0), "sent while nobody was there".to_owned()));
    }
}

fn begin(machine: &Machine, command: &[&str]) -> (Child, ChildStderr) {
    let words = ["--machine", NAME].iter().chain(command).copied();
    let mut command = machine.home.spawnable(words);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let stderr = child.stderr.take().unwrap();
    (child, stderr)
}

fn end(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

fn wait_for_word(stderr: &mut ChildStderr) {
    let mut word = [0; 6];
    stderr.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"begun\n");
}
