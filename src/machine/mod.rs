//! The vocabulary of machines: pure values, no effects.

pub mod build;
pub mod config;
pub mod event;
pub mod idle;
pub mod name;
pub mod paths;
pub mod proxy;
pub mod published;
pub mod snapshot;
pub mod status;
pub mod suspended;
pub mod template;
pub mod units;
pub mod verified;
pub mod volume;
