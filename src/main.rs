//! The `nsvm` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    nsvm::cli::main(std::env::args_os())
}
