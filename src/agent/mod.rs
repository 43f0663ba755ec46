//! The guest agent: runs what the host asks for, in the namespaces it asks
//! for.
//!
//! ```text
//! attach --handover: stdin, stdout--> server -> link (yamux) -> session
//!                                                                  |
//!        accounts, environment, program, plan -> launch -> steps (sys)
//!                                                    |
//!                     relay: inbound, outbound, hangup
//! ```
//!
//! One thread, always: unshare(2) and setns(2) refuse user namespaces to
//! processes with more, and a fork of more is a fork of broken locks.

mod about;
pub mod accounts;
mod attach;
mod channel;
pub mod environment;
mod failure;
mod handover;
mod hangup;
mod inbound;
mod input;
pub mod launch;
mod link;
mod listing;
mod local;
mod net_id;
mod outbound;
mod output;
pub mod program;
pub mod pty;
mod relay;
pub mod report;
mod server;
mod session;
pub mod steps;
mod sys;
mod verbs;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// Where the resident agent listens.
pub const SOCKET: &str = "/run/nsvm/agent.sock";

const USAGE: &str = "\
usage: nsvm-agent serve [--socket PATH]    run as the machine's resident agent
       nsvm-agent attach [--socket PATH]   give stdin and stdout to it
       nsvm-agent local                    serve one request of whoever started it
       nsvm-agent unshare|nsenter|lsns     as nsvm has them, for whoever is here
       nsvm-agent version";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Verb {
    Serve(PathBuf),
    Attach(PathBuf),
    Local,
    Version,
}

/// The program `nsvm-agent`, without the name in `args`.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    if let Some(code) = verbs::run(&args) {
        return code;
    }
    let result = match parse(&args) {
        None => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
        Some(Verb::Version) => {
            println!("nsvm-agent {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        Some(Verb::Serve(socket)) => server::serve(&socket),
        Some(Verb::Attach(socket)) => attach::attach(&socket),
        Some(Verb::Local) => local::serve(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("nsvm-agent: {e}");
            ExitCode::FAILURE
        }
    }
}

fn parse(args: &[OsString]) -> Option<Verb> {
    let socket = match args.get(1..)? {
        [] => PathBuf::from(SOCKET),
        [option, path] if option == "--socket" => PathBuf::from(path),
        _ => return None,
    };
    match args[0].to_str()? {
        "serve" => Some(Verb::Serve(socket)),
        "attach" => Some(Verb::Attach(socket)),
        "local" => Some(Verb::Local),
        "version" => Some(Verb::Version),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verb(line: &str) -> Option<Verb> {
        parse(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn verbs_take_a_socket() {
        assert_eq!(verb("serve"), Some(Verb::Serve(SOCKET.into())));
        assert_eq!(verb("attach --socket /s"), Some(Verb::Attach("/s".into())));
        assert_eq!(verb("local"), Some(Verb::Local));
        assert_eq!(verb("version"), Some(Verb::Version));
    }

    #[test]
    fn anything_else_is_told_the_usage() {
        for line in ["", "run", "serve /s", "serve --socket", "attach --socket a b"] {
            assert_eq!(verb(line), None, "{line}");
        }
    }
}
