//! The agent for aarch64 under qemu-user, beside this host's own util-linux.
//!
//! qemu-user translates a program and hands its system calls to this kernel.
//! What that does not allow is left to an aarch64 guest (`tests/vm/foreign.rs`):
//! * user namespaces: unshare(2) and setns(2) refuse them to a process of several
//!   threads, and qemu-user has one of its own;
//! * what runs the agent's program once more (`serve`, `ns create`, `run`): this
//!   kernel executes no aarch64 program unless it is told how (binfmt_misc(5)),
//!   which would be for the whole host;
//! * clone(2) with `CLONE_PARENT`, by which commands are the server's children:
//!   qemu-user knows the flags of fork(2) and of threads alone;
//! * numbers of network namespaces, which come by netlink messages that it does
//!   not translate.

use std::path::PathBuf;

use crate::host::Apart;
use crate::in_place::{Public, compare, theirs_lists};
use crate::needs_root;

const QEMU: &str = "qemu-aarch64-static";

/// What `scripts/foreign-agent.sh` has built.
fn agent() -> Option<PathBuf> {
    std::env::var_os("NSVM_FOREIGN_AGENT").map(PathBuf::from)
}

/// Options of unshare(1) that need no user namespace.
const UNSHARE: [&str; 23] = [
    "",
    "--uts",
    "--ipc",
    "--net",
    "--mount",
    "--cgroup",
    "-m -u -i -n -C",
    "--fork --pid",
    "-pf --mount-proc",
    "-pf --mount-proc -n --kill-child",
    "--kill-child=NONE",
    "-T --boottime 100000 --fork",
    "-T --monotonic=-5 --fork",
    "--mount --propagation slave",
    "--propagation x",
    "--mount --wd /usr",
    "--root /nowhere",
    "--mount --root /",
    "--setgid 5 --setuid 7",
    "--setgroups x",
    "--setuid x",
    "--bogus",
    "--fork=x",
];

/// Options of nsenter(1); @ is a process in namespaces of its own.
const NSENTER: [&str; 6] =
    ["-t @ -n", "-t @ -u -i -n", "-t @ -n -w", "-n/proc/@/ns/net", "-t x -n", "-t 4000000 -n"];

/// Of lsns(8), byte for byte.
const LSNS: [&str; 4] =
    ["-l -p @ -o NS,TYPE,PATH,PID,PPID,UID,USER,COMMAND", "-p @ -t uts -r", "-p @ -t x", "-J -r"];

#[test]
fn what_qemu_user_allows_is_as_by_util_linux() {
    needs_root!();
    let Some(agent) = agent() else {
        eprintln!("SKIPPED: NSVM_FOREIGN_AGENT names no agent for aarch64");
        return;
    };
    let (public, apart) = (Public::with(&agent, Some(QEMU)), Apart::start());
    let target = |line: &str| line.replace('@', &apart.id().to_string());
    let mut different: Vec<String> =
        UNSHARE.iter().filter_map(|line| compare(&public, "0", "unshare", line)).collect();
    different
        .extend(NSENTER.iter().filter_map(|line| compare(&public, "0", "nsenter", &target(line))));
    for line in LSNS.map(|line| target(&format!("lsns {line}"))) {
        let (ours, theirs) = (public.run("0", &line), theirs_lists("0", &line));
        if ours != theirs {
            different.push(format!("{line}\n ours {ours:?}\ntheirs {theirs:?}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    // One that allows more is to be compared in more.
    let user = public.run("0", "unshare --user true");
    assert_eq!(user.complaint, "unshare: unshare failed: Invalid argument", "{user:?}");
    // The plan needs no kernel.
    let plan = public.run("0", "unshare --user -r --explain true");
    assert!(plan.code == Some(0) && plan.stdout.contains("CLONE_NEWUSER"), "{plan:?}");
}
