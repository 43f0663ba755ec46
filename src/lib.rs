//! `nsvm`: Linux namespaces for hosts that have none.
//!
//! The modules form layers; a module imports from its own layer or a lower
//! one, which `tests/layers.rs` enforces:
//!
//! ```text
//! L4  main.rs, bin/nsvm-agent.rs, cli
//! L3  app  supervisor  agent
//! L2  control  store  image  provision  qemu  link  options
//! L1  machine  namespace  protocol
//! L0  host  fs
//! ```

#[cfg(feature = "host")]
pub mod fs;
#[cfg(feature = "host")]
pub mod host;

#[cfg(feature = "host")]
pub mod machine;
pub mod namespace;
pub mod protocol;

#[cfg(feature = "host")]
pub mod control;
#[cfg(feature = "host")]
pub mod image;
#[cfg(feature = "host")]
pub mod link;
pub mod options;
#[cfg(feature = "host")]
pub mod provision;
#[cfg(feature = "host")]
pub mod qemu;
#[cfg(feature = "host")]
pub mod settings;
#[cfg(feature = "host")]
pub mod store;

#[cfg(target_os = "linux")]
pub mod agent;
#[cfg(not(target_os = "linux"))]
#[path = "agent/elsewhere.rs"]
pub mod agent;
#[cfg(feature = "host")]
pub mod app;
#[cfg(feature = "host")]
pub mod supervisor;

#[cfg(feature = "host")]
pub mod cli;
