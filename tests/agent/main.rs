//! The real agent, without a VM: `nsvm-agent serve` on a socket of its own,
//! reached through a real `nsvm-agent attach` on pipes, as sshd starts it.
//!
//! Needs Linux and root: the agent changes users and makes namespaces.
//! Elsewhere the tests say that they are skipped.

#![cfg(target_os = "linux")]

mod client;
mod command_line;
mod cost;
mod entering;
mod foreign;
mod host;
mod in_place;
mod keeping;
mod limits;
mod listing;
mod named;
mod namespaces;
mod network;
mod privilege;
mod processes;
mod resuming;
mod robustness;
mod run;
mod shell;
mod streams;
mod terminal;

/// A test that needs root ends here otherwise, visibly.
macro_rules! needs_root {
    () => {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: this test needs root");
            return;
        }
    };
}
pub(crate) use needs_root;
