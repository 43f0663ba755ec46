//! What runs, as whom, with which arguments, and how it ends.

use std::os::unix::fs::PermissionsExt;

use nsvm::protocol::outcome::{FailedStep, Outcome};
use nsvm::protocol::request::{Bytes, ExecRequest};

use crate::client::Agent;
use crate::needs_root;

/// Signals 32 and 33 belong to the C library, which lets nobody touch them.
const OF_LIBC: u64 = 0x1_8000_0000;

fn bytes(text: &str) -> Bytes {
    Bytes::from(text.as_bytes().to_vec())
}

fn not_started(outcome: Outcome) -> (FailedStep, i32, String) {
    match outcome {
        Outcome::NotStarted(failure) => (failure.step, failure.errno, failure.message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn arguments_and_variables_arrive_byte_for_byte() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let done = link.exec(&["printf", "%s|", "a b", "c'd", "", "$HOME", "ä\n"]);
    assert_eq!(done.stdout, "a b|c'd||$HOME|ä\n|");
    let mut request = ExecRequest::new(["sh", "-c", "printf %s \"$X\" | od -An -tx1; echo $LANG"]);
    request.env.push((bytes("X"), Bytes::from(vec![0xff, b' ', b'='])));
    assert_eq!(link.output(request, b"").stdout, " ff 20 3d\nC.UTF-8\n");
}

#[test]
fn exit_codes_and_signals_are_told_apart() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    for code in 0..=255 {
        let done = link.exec(&["sh", "-c", &format!("exit {code}")]);
        assert_eq!(done.outcome, Outcome::Exited(code));
    }
    // Those that end a program; 32 and 33 are the C library's own.
    let harmless = [17, 18, 19, 20, 21, 22, 23, 28, 32, 33];
    for signal in (1..=64).filter(|signal| !harmless.contains(signal)) {
        let done = link.exec(&["sh", "-c", &format!("kill -{signal} $$")]);
        let Outcome::Signaled { signal: found, .. } = done.outcome else { panic!("{done:?}") };
        assert_eq!(found, signal);
    }
}

/// Linux takes up to 128 KiB an argument and, with the usual stack of 8 MiB,
/// 2 MiB together (execve(2)).
#[test]
fn long_command_lines_pass_up_to_the_kernels_own_limit() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let longest = "x".repeat(128 * 1024 - 1);
    let count = |arguments: usize| {
        let script = "n=0; for word; do n=$((n + ${#word})); done; echo $n";
        let mut argv = vec!["sh", "-c", script, "sh"];
        argv.extend(std::iter::repeat_n(longest.as_str(), arguments));
        link.exec(&argv)
    };
    assert_eq!(count(14).stdout, format!("{}\n", 14 * longest.len()));
    let (step, errno, text) = not_started(count(17).outcome);
    assert_eq!((step, errno), (FailedStep::Exec, 7));
    assert_eq!(text, "failed to execute sh: Argument list too long");
}

#[test]
fn a_program_that_cannot_run_says_why() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let missing = not_started(link.exec(&["no-such-program", "x"]).outcome);
    let text = "failed to execute no-such-program: No such file or directory".to_owned();
    assert_eq!(missing, (FailedStep::Exec, 2, text));

    // Closed, because a file that is open for writing cannot be executed.
    let plain = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    std::fs::write(&plain, "echo from a script").unwrap();
    let path = plain.to_str().unwrap();
    assert_eq!(not_started(link.exec(&[path]).outcome).1, 13);
    std::fs::set_permissions(&plain, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(link.exec(&[path]).stdout, "from a script\n");
}

#[test]
fn a_program_runs_as_the_user_that_was_asked_for() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let as_user = |user: &str, script: &str| {
        let mut request = ExecRequest::new(["sh", "-c", script]);
        request.user = Some(user.parse().unwrap());
        link.output(request, b"")
    };
    let nobody = as_user("nobody", "id -un; id -u; id -G; echo $USER $HOME; pwd; umask");
    assert_eq!(nobody.stdout, "nobody\n65534\n65534\nnobody /nonexistent\n/\n0022\n");
    assert_eq!(as_user("12345:7", "id -u; id -g").stdout, "12345\n7\n");
    let ghost = not_started(as_user("ghost", "true").outcome);
    assert_eq!(ghost.0, FailedStep::User);
    assert_eq!(ghost.2, "user \"ghost\" does not exist in the machine");
}

#[test]
fn without_a_program_the_login_shell_runs() {
    needs_root!();
    let agent = Agent::start();
    let done = agent.attach().output(ExecRequest::default(), b"echo $0; exit 3\n");
    assert_eq!(done.outcome, Outcome::Exited(3));
    assert!(done.stdout.starts_with('-'), "{done:?}");
}

#[test]
fn the_working_directory_is_the_home_or_what_was_asked_for() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    assert_eq!(link.exec(&["pwd"]).stdout, "/root\n");
    let mut request = ExecRequest::new(["pwd"]);
    request.cwd = Some(bytes("/etc"));
    assert_eq!(link.output(request.clone(), b"").stdout, "/etc\n");
    request.cwd = Some(bytes("/no/such"));
    let failure = not_started(link.output(request, b"").outcome);
    assert_eq!(failure.0, FailedStep::WorkingDirectory);
    assert_eq!(failure.2, "cannot change directory to /no/such: No such file or directory");
}

#[test]
fn a_program_inherits_nothing_of_the_agent() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let script = "ls /proc/self/fd; grep -E 'Sig(Blk|Ign)' /proc/self/status; ps -o pgid= -p $$";
    let done = link.exec(&["bash", "-c", script]);
    let lines: Vec<&str> = done.stdout.split_whitespace().collect();
    // 3 is the directory that ls reads.
    assert_eq!(lines[..4], ["0", "1", "2", "3"], "{done:?}");
    for mask in [lines[5], lines[7]] {
        assert_eq!(u64::from_str_radix(mask, 16).unwrap() & !OF_LIBC, 0, "{done:?}");
    }
}

#[test]
fn the_agent_stays_one_thread_and_leaves_no_zombies() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    for _ in 0..20 {
        link.exec(&["true"]);
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    assert!(status.contains("Threads:\t1\n"), "{status}");
    assert_eq!(agent.children(), [] as [u32; 0]);
    let fds = std::fs::read_dir(format!("/proc/{}/fd", agent.pid())).unwrap().count();
    assert!(fds < 20, "{fds} descriptors are open");
}
