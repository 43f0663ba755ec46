//! The guest agent: runs what the host asks for, in the namespaces it asks
//! for.
//!
//! ```text
//! attach --(SCM_RIGHTS: stdin, stdout)--> server -> link (yamux) -> session
//!                                                                      |
//!                    accounts, environment, program, plan -> launch -> steps
//! ```
//!
//! One thread, always: unshare(2) and setns(2) refuse user namespaces to
//! processes with more, and a fork of more is a fork of broken locks.

pub mod accounts;
pub mod environment;
pub mod failure;
pub mod launch;
pub mod program;
pub mod pty;
pub mod report;
pub mod steps;
mod sys;
