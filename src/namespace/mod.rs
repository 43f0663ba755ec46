//! The vocabulary of namespaces: kinds, what is asked for, the plan of steps
//! that makes it so, and the plan in words. Pure values, the same on every host.

pub mod enter;
pub mod explain;
pub mod idmap;
pub mod kind;
pub mod limits;
pub mod listing;
pub mod named;
pub mod network;
pub mod plan;
pub mod rootfs;
pub mod run;
pub mod spec;
