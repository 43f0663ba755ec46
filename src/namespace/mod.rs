//! The vocabulary of namespaces: kinds, what is asked for, and the plan of
//! steps that makes it so. Pure values, the same on every host.

pub mod idmap;
pub mod kind;
pub mod plan;
pub mod spec;
