//! The life of a machine on a real guest: QEMU, Ignition, sshd, agent.
//!
//! One machine is booted and every story is told to it in order, because a
//! boot is what takes long; a second one shows that cloud-init makes the same
//! of a guest. The images are built by their recipes when the
//! cache has none.
#![cfg(target_os = "linux")]

#[path = "../common/mod.rs"]
mod common;

mod api;
mod bounds;
mod cloud;
mod commands;
mod conformance;
mod copies;
mod crashes;
mod fair;
mod features;
#[cfg(target_arch = "x86_64")]
mod foreign;
mod full_disk;
mod guest;
mod link;
mod machine;
mod matrix;
#[cfg(target_arch = "x86_64")]
mod micro;
mod named;
mod own;
mod run;
#[path = "../image/server.rs"]
mod server;
mod sharing;
mod snapshots;
mod stream;
mod suspended;
mod templates;
mod terminal;
mod thrift;
mod upgrade;

use std::sync::{Mutex, MutexGuard, PoisonError};

use machine::Machine;

/// One guest at a time has the host's processors.
fn alone() -> MutexGuard<'static, ()> {
    static GUESTS: Mutex<()> = Mutex::new(());
    GUESTS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn the_life_of_a_machine() {
    let _alone = alone();
    let machine = Machine::init();
    machine.tell("before the first start", machine::before_the_first_start);
    machine.tell("a start survives the death of its command", crashes::start_killed_and_repeated);
    machine.tell("inspect and list", machine::running);
    machine.tell("resources", guest::resources);
    machine.tell("the article's example", commands::article);
    machine.tell("exit codes", commands::exit_codes);
    machine.tell("arguments and streams", commands::arguments_and_streams);
    machine.tell("many bytes", commands::many_bytes);
    machine.tell("all kinds of namespaces", commands::all_kinds);
    machine.tell("plans and kinds", commands::plans_and_kinds);
    machine.tell("as util-linux does it", conformance::util_linux);
    machine.tell("programs on a root of their own", run::story);
    machine.tell("limits", bounds::limits);
    machine.tell("limits of a named namespace", bounds::named);
    machine.tell("networks of their own", bounds::network);
    machine.tell("signals", commands::signals);
    machine.tell("ssh", commands::ssh);
    machine.tell("terminal", terminal::size_and_resize);
    machine.tell("terminal is restored", terminal::restored);
    machine.tell("a shell in a terminal", terminal::a_shell);
    machine.tell("a terminal that hangs up", terminal::hang_up);
    machine.tell("Ignition ran", guest::ignition_ran);
    machine.tell("every feature, by Ignition", features::all);
    machine.tell("copies", sharing::copies);
    machine.tell("another operating system", copies::operating_system);
    machine.tell("health", copies::health);
    machine.tell("waiting", machine::waiting);
    machine.tell("no login by password", guest::no_password);
    machine.tell("host key", guest::host_key);
    machine.tell("the user's own systemd", guest::user_systemd);
    machine.tell("the guest is healthy", guest::healthy);
    machine.tell("many at once in one namespace", named::many_at_once);
    machine.tell("rounds of named namespaces", named::rounds_leave_nothing);
    machine.tell("named namespaces", named::story);
    machine.tell("the supervisor is killed", crashes::supervisor_killed);
    machine.tell("the supervisor hangs", crashes::supervisor_hung);
    machine.tell("another host key", crashes::other_host_key);
    machine.tell("stop and start", machine::stop_and_start);
    machine.tell("agent and sshd came before systemd", guest::early);
    machine.tell("named namespaces after a reboot", named::after_a_reboot);
    machine.tell("suspend and resume", suspended::story);
    machine.tell("cycles under load", suspended::cycles);
    machine.tell("nothing uses it", suspended::idle);
    machine.tell("killed while it is suspended or resumed", suspended::killed);
    machine.tell("an old memory and a newer disk", suspended::old_memory);
    machine.tell("a damaged memory", suspended::damaged);
    machine.tell("snapshots", snapshots::story);
    machine.tell("a second machine beside it", machine::a_second_machine);
    machine.tell("removal", machine::removal);
}

/// What may happen to the line between host and guest.
#[test]
fn the_link_of_a_machine() {
    let _alone = alone();
    let machine = Machine::plain();
    machine.start();
    machine.tell("programs that are not nsvm", api::story);
    machine.tell("commands outlive supervisor and link", link::commands_outlive);
    machine.tell("many commands", link::many_commands);
    machine.tell("words alone", fair::words_alone);
    machine.tell("words beside a flood", fair::interactive_beside_bulk);
    machine.tell("the clock after a pause", link::clock);
    machine.tell("a newer nsvm", upgrade::in_place);
    machine.tell("a machine that does nothing", thrift::idle);
    machine.tell("disk space", thrift::disk_space);
    machine.tell("what may be killed", link::killed);
    machine.tell("any signal to anything", matrix::story);
    machine.tell("a guest that reboots", link::rebooted);
    machine.tell("restarts", machine::restarted);
    machine.tell("the pid of another process", link::pid_of_another);
}

#[test]
fn machines_that_begin_as_copies() {
    let _alone = alone();
    templates::story("debian-local");
}

#[test]
fn a_host_whose_disk_is_full() {
    let _alone = alone();
    full_disk::story();
}

#[test]
fn a_machine_made_by_cloud_init() {
    let _alone = alone();
    cloud::story();
}

/// Its catalog entry is of x86_64 alone.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_machine_without_systemd() {
    let _alone = alone();
    micro::story();
}

#[cfg(target_arch = "x86_64")]
#[test]
#[ignore = "as machines_that_begin_as_copies, without systemd: make test-long"]
fn copies_without_systemd() {
    let _alone = alone();
    templates::story("micro");
}

#[test]
fn a_machine_that_its_users_ignition_file_makes() {
    let _alone = alone();
    own::story();
}

#[cfg(target_arch = "x86_64")]
#[test]
#[ignore = "takes ten minutes and more: make test-long"]
fn an_aarch64_guest() {
    foreign::story();
}
