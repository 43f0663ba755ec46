//! Use cases: what the verbs do, without parsing or printing.

pub mod context;
pub mod image;
pub mod init;
pub mod inspect;
pub mod list;
pub mod listing;
pub mod logs;
pub mod provisioning;
pub mod refusal;
pub mod remove;
pub mod run;
pub mod session;
mod signals;
pub mod start;
pub mod stop;
pub mod terminal;

pub use context::Context;
pub use refusal::Refusal;
