//! The guest agent's entry point.

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    nsvm::agent::main(std::env::args_os().skip(1))
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    eprintln!("nsvm-agent: this program runs inside Linux machines only");
    std::process::ExitCode::FAILURE
}
