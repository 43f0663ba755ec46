//! QEMU: which program and accelerator this host has, its command line, its
//! process and its monitor (QMP).
//!
//! Decisions are pure (`accel`, `board`, `command`, `cache`, `faults`, `version`); effects are in
//! `endpoint`, `facts`, `probe`, `process`, `port`, `qmp` and `usernet`.

pub mod accel;
pub mod board;
pub mod cache;
pub mod choose;
pub mod command;
pub mod endpoint;
pub mod facts;
pub mod faults;
pub mod firmware;
pub mod locate;
pub mod migration;
pub mod port;
pub mod probe;
pub mod process;
pub mod qmp;
pub mod ready;
pub mod tail;
pub mod usernet;
pub mod version;
