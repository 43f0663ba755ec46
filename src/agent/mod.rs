//! The guest agent: runs what the host asks for, in the namespaces it asks
//! for.
//!
//! ```text
//! attach --handover: stdin, stdout--> server -> link (yamux) -> session
//! link_port: the host's virtio port ------^                        |
//!        accounts, environment, program, plan -> launch -> launcher, steps (sys)
//!                                                    |
//!                     relay: inbound, outbound, hangup
//! ```
//!
//! Between link and session may be a stream that outlives the link (resumable).
//!
//! One thread, always: unshare(2) and setns(2) refuse user namespaces to
//! processes with more, and a fork of more is a fork of broken locks.

mod about;
pub mod accounts;
mod attach;
mod cgroup;
mod channel;
mod clock;
mod descriptors;
mod dial;
pub mod environment;
mod failure;
mod frozen;
mod handover;
mod hangup;
mod inbound;
mod input;
pub mod launch;
mod link;
mod link_port;
mod links;
mod listing;
mod local;
mod named;
mod net_id;
mod network;
mod outbound;
mod output;
mod port;
mod process;
pub mod program;
pub mod pty;
mod relay;
pub mod report;
mod resumable;
mod run;
mod server;
mod session;
pub mod steps;
mod sys;
mod verbs;
mod wake;

use std::ffi::OsString;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::process::ExitCode;

/// Where the resident agent listens.
pub const SOCKET: &str = "/run/nsvm/agent.sock";

/// What outlives the agent and the boot, root's alone.
pub const STATE: &str = "/var/lib/nsvm";

const USAGE: &str = "\
usage: nsvm-agent serve [--socket PATH] [--state DIR]
                                           run as the machine's resident agent
       nsvm-agent attach [--socket PATH]   give stdin and stdout to it
       nsvm-agent local                    serve one request of whoever started it
       nsvm-agent unshare|nsenter|lsns     as nsvm has them, for whoever is here
       nsvm-agent version";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Verb {
    Serve {
        socket: PathBuf,
        state: PathBuf,
    },
    Attach(PathBuf),
    Local,
    /// Stay, as the process that holds the namespaces of a name.
    Hold,
    /// Stay, as the process whose copies become programs.
    Launch,
    /// Make this guest the beginning of many machines; whose key lets in now.
    Freeze(String),
    /// The process that does, and is saved with the guest.
    Frozen(String),
    /// Join stdin and stdout to a TCP port of this system's loopback.
    Dial(NonZeroU16),
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
        Some(Verb::Serve { socket, state }) => server::serve(&socket, &state),
        Some(Verb::Hold) => named::holder::hold(),
        Some(Verb::Launch) => launch::launcher::serve(),
        Some(Verb::Attach(socket)) => attach::attach(&socket),
        Some(Verb::Local) => local::serve(),
        Some(Verb::Dial(port)) => dial::dial(port),
        Some(Verb::Freeze(key)) => frozen::freeze(&key),
        Some(Verb::Frozen(key)) => frozen::frozen(&key),
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
    let (verb, rest) = args.split_first()?;
    match (verb.to_str()?, rest) {
        ("version", []) => Some(Verb::Version),
        ("local", []) => Some(Verb::Local),
        // The name is for those who look at processes.
        ("hold", [_]) => Some(Verb::Hold),
        ("launch", []) => Some(Verb::Launch),
        ("dial", [port]) => port.to_str()?.parse().ok().map(Verb::Dial),
        ("freeze", [key]) => key.to_str().map(|key| Verb::Freeze(key.to_owned())),
        ("frozen", [key]) => key.to_str().map(|key| Verb::Frozen(key.to_owned())),
        ("serve", _) => {
            let [socket, state] = paths(rest, [("--socket", SOCKET), ("--state", STATE)])?;
            Some(Verb::Serve { socket, state })
        }
        ("attach", _) => {
            let [socket] = paths(rest, [("--socket", SOCKET)])?;
            Some(Verb::Attach(socket))
        }
        _ => None,
    }
}

/// The paths of these options, each with what it is otherwise.
fn paths<const N: usize>(args: &[OsString], options: [(&str, &str); N]) -> Option<[PathBuf; N]> {
    let mut all = options.map(|(_, otherwise)| PathBuf::from(otherwise));
    for pair in args.chunks(2) {
        let [option, path] = pair else { return None };
        let at = options.iter().position(|(name, _)| option == name)?;
        all[at] = path.into();
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verb(line: &str) -> Option<Verb> {
        parse(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn verbs_take_a_socket() {
        let serve = |socket: &str, state: &str| {
            Some(Verb::Serve { socket: socket.into(), state: state.into() })
        };
        assert_eq!(verb("serve"), serve(SOCKET, STATE));
        assert_eq!(verb("serve --state /d --socket /s"), serve("/s", "/d"));
        assert_eq!(verb("attach --socket /s"), Some(Verb::Attach("/s".into())));
        assert_eq!(verb("local"), Some(Verb::Local));
        assert_eq!(verb("hold web"), Some(Verb::Hold));
        assert_eq!(verb("launch"), Some(Verb::Launch));
        assert_eq!(verb("dial 80"), NonZeroU16::new(80).map(Verb::Dial));
        assert_eq!(verb("freeze key"), Some(Verb::Freeze("key".into())));
        assert_eq!(verb("frozen key"), Some(Verb::Frozen("key".into())));
        assert_eq!(verb("version"), Some(Verb::Version));
    }

    #[test]
    fn anything_else_is_told_the_usage() {
        for line in [
            "",
            "run",
            "serve /s",
            "serve --socket",
            "attach --socket a b",
            "attach --state /d",
            "hold",
            "dial 0",
            "dial 65536",
            "freeze",
        ] {
            assert_eq!(verb(line), None, "{line}");
        }
    }
}
