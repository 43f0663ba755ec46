//! The pure parts of the benchmark. Its own binary has no test harness.
#![cfg(target_os = "linux")]

#[allow(dead_code)] // the measurements themselves
#[path = "../benches/whole/linux.rs"]
mod bench;
