//! Use cases: what the verbs do, without parsing or printing.

mod capture;
pub mod context;
pub mod copy;
pub mod image;
pub mod init;
pub mod inspect;
pub mod list;
pub mod listing;
pub mod local;
pub mod logs;
pub mod named;
pub mod place;
pub mod provisioning;
pub mod refusal;
pub mod remove;
pub mod reset;
mod resources;
pub mod rootfs;
pub mod run;
pub mod session;
pub mod set;
mod settle;
pub mod sharing;
mod signals;
pub mod ssh_config;
pub mod start;
pub mod stop;
pub mod terminal;
pub mod wait;

pub use context::Context;
pub use place::Place;
pub use refusal::Refusal;
