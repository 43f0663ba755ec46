//! The guest agent's entry point.

fn main() -> std::process::ExitCode {
    nsvm::agent::main(std::env::args_os().skip(1))
}
