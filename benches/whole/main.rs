//! `make bench`: what nsvm costs, beside what one would use without it.
//!
//! Whole processes are measured, in one run and interleaved, so that a noisy
//! host disturbs both sides alike. The table goes to stdout, all else to
//! stderr. Nothing stays: neither processes nor files.

#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod bench;

/// Process times, guests and peers are found by /proc and pidfd.
#[cfg(not(target_os = "linux"))]
mod bench {
    pub fn main() -> std::process::ExitCode {
        eprintln!("The benchmarks run on Linux only");
        std::process::ExitCode::FAILURE
    }
}

fn main() -> std::process::ExitCode {
    bench::main()
}
