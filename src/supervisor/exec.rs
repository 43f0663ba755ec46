//! `exec` and `forward` of the control endpoint: programs in the guest for
//! clients that speak lines of JSON, or no protocol at all.

use std::io;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use clap::Parser;
use interprocess::local_socket::tokio::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::clients::{Desk, RELAY_BUFFER};
use super::way::{self, Way};
use crate::control::message::{Exec, Input, Reply};
use crate::control::server::{read_line, write_reply};
use crate::link::AGENT;
use crate::link::conversation::{self, Heard, Listener, Talker};
use crate::options::verdict::{Wording, verdict};
use crate::options::{LimitOptions, UnshareOptions};
use crate::protocol::outcome::Outcome;
use crate::protocol::request::{Bytes, ExecRequest, UserSpec};
use crate::protocol::{CONNECTED, signal};

/// As much is kept of why nobody listens. Guest data.
const WORDS_MAX: usize = 1024;

/// The options of `nsvm unshare` that an `exec` takes.
#[derive(Debug, Parser)]
#[command(
    no_binary_name = true,
    disable_help_flag = true,
    infer_long_args = true,
    args_override_self = true
)]
struct Unshare {
    #[command(flatten)]
    options: UnshareOptions,
    #[command(flatten)]
    limits: LimitOptions,
}

/// Runs the program and tells what comes of it. The client's end hangs up.
pub async fn exec(stream: &Stream, desk: &Desk, wanted: &Exec) -> io::Result<()> {
    let mut sender = stream;
    let request = match request(wanted, &desk.user) {
        Ok(request) => request,
        Err(why) => {
            let hint = Some("`exec` is described in docs/api.md".to_owned());
            return write_reply(&mut sender, &Reply::failed(why, hint)).await;
        }
    };
    let Way { stream: agent, link, in_use: _in_use } = match way::open(desk.link.clone()).await {
        Ok(way) => way,
        Err(reply) => return write_reply(&mut sender, &reply).await,
    };
    let (mut talker, mut listener) = conversation::begin(agent, request).await?;
    if !wanted.stdin {
        talker.end().await?;
    }
    let why = tokio::select! {
        told = tell(&mut listener, stream) => match told {
            Ok(()) => return Ok(()),
            Err(e) => format!("the connection to the guest was lost: {e}"),
        },
        // An error here is the client's: it has gone, or says what nobody understands.
        fed = feed(&mut talker, stream) => match fed {
            Err(e) if e.kind() == io::ErrorKind::InvalidData => e.to_string(),
            gone => return gone,
        },
        () = desk.link.clone().lost(&link) => "the link to the guest was lost".to_owned(),
    };
    write_reply(&mut sender, &Reply::failed(why, None)).await
}

fn request(wanted: &Exec, default: &UserSpec) -> Result<ExecRequest, String> {
    let typed = Unshare::try_parse_from(&wanted.unshare).map_err(|e| {
        let text = e.render().to_string();
        let line = text.lines().next().unwrap_or_default();
        line.strip_prefix("error: ").unwrap_or(line).to_owned()
    })?;
    let user = wanted.user.as_deref().map(str::parse::<UserSpec>).transpose();
    let inside = wanted.ns.as_deref().map(str::parse).transpose();
    if wanted.ns.is_some() && !wanted.unshare.is_empty() {
        return Err("\"ns\" and \"unshare\" exclude each other".to_owned());
    }
    let all = wanted.argv.iter().chain(wanted.env.keys()).chain(wanted.env.values());
    if all.chain(&wanted.cwd).any(|text| text.contains('\0')) {
        return Err("a text has a NUL in it, which no program can be given".to_owned());
    }
    if let Some(name) = wanted.env.keys().find(|name| name.is_empty() || name.contains('=')) {
        return Err(format!("\"{name}\" cannot be the name of a variable"));
    }
    let bytes = |text: &String| Bytes::from(text.clone().into_bytes());
    Ok(ExecRequest {
        argv: wanted.argv.iter().map(bytes).collect(),
        env: wanted.env.iter().map(|(name, value)| (bytes(name), bytes(value))).collect(),
        cwd: wanted.cwd.as_ref().map(bytes),
        user: Some(user.map_err(|e| e.to_string())?.unwrap_or_else(|| default.clone())),
        inside: inside.map_err(|e: crate::namespace::named::NameError| e.to_string())?,
        namespaces: typed.options.spec().map_err(|e| e.to_string())?,
        limits: typed.limits.resolve().map_err(|e| e.to_string())?,
        ..ExecRequest::default()
    })
}

/// What the program prints, and how it ended.
async fn tell(listener: &mut Listener, mut client: &Stream) -> io::Result<()> {
    loop {
        let reply = match listener.next().await? {
            Heard::Stdout(bytes) => Reply::Stdout { base64: BASE64_STANDARD.encode(bytes) },
            Heard::Stderr(bytes) => Reply::Stderr { base64: BASE64_STANDARD.encode(bytes) },
            Heard::Outcome(outcome) => return write_reply(&mut client, &exit(&outcome)).await,
        };
        write_reply(&mut client, &reply).await?;
    }
}

fn exit(outcome: &Outcome) -> Reply {
    let verdict = verdict(Wording::Podman, outcome);
    let ended = match outcome {
        Outcome::OutOfMemory { then, .. } => then,
        other => other,
    };
    let signal = match ended {
        Outcome::Signaled { signal, .. } => Some(*signal),
        _ => None,
    };
    let message = verdict.message.map(|line| line.replacen("Error: ", "", 1));
    Reply::Exit { code: verdict.code, signal, message }
}

/// What the client sends, until its end.
async fn feed(talker: &mut Talker, mut client: &Stream) -> io::Result<()> {
    let wrong = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    loop {
        let line = read_line(&mut client).await?;
        let input = serde_json::from_slice(&line)
            .map_err(|e| wrong(format!("this input is not understood: {e}")))?;
        match input {
            Input::Stdin { base64 } => {
                let bytes = BASE64_STANDARD.decode(base64);
                let bytes = bytes.map_err(|e| wrong(format!("this is no base64: {e}")))?;
                talker.stdin(&bytes).await?;
            }
            Input::End => talker.end().await?,
            Input::Signal { signal } => {
                let number = signal::parse(&signal);
                let number = number.ok_or_else(|| wrong(format!("unknown signal \"{signal}\"")))?;
                talker.signal(number).await?;
            }
        }
    }
}

/// Joins the client to a TCP port of the guest's loopback.
pub async fn forward(stream: &Stream, desk: &Desk, port: u16) -> io::Result<()> {
    let mut sender = stream;
    let Way { stream: agent, link, in_use: _in_use } = match way::open(desk.link.clone()).await {
        Ok(way) => way,
        Err(reply) => return write_reply(&mut sender, &reply).await,
    };
    let mut request = ExecRequest::new([AGENT, "dial", &port.to_string()]);
    request.user = Some(desk.user.clone());
    let (mut talker, mut listener) = conversation::begin(agent, request).await?;
    let first = match connected(&mut listener, port).await {
        Ok(first) => first,
        Err(why) => {
            let hint = "Look in the guest whether a program listens there: `ss -tl`";
            return write_reply(&mut sender, &Reply::failed(why, Some(hint.into()))).await;
        }
    };
    write_reply(&mut sender, &Reply::Done).await?;
    sender.write_all(&first).await?;
    let down = async {
        let mut client = stream;
        loop {
            match listener.next().await? {
                Heard::Stdout(bytes) => client.write_all(&bytes).await?,
                Heard::Stderr(words) => tracing::debug!(port, ?words, "forwarding"),
                Heard::Outcome(_) => return io::Result::Ok(()),
            }
        }
    };
    let up = async {
        let (mut buffer, mut client) = (vec![0; RELAY_BUFFER], stream);
        loop {
            match client.read(&mut buffer).await? {
                // It may still read: the other end says when that is over.
                0 => {
                    talker.end().await?;
                    return std::future::pending::<io::Result<()>>().await;
                }
                count => talker.stdin(&buffer[..count]).await?,
            }
        }
    };
    tokio::select! {
        ended = down => ended,
        ended = up => ended,
        () = desk.link.clone().lost(&link) => Ok(()),
    }
}

/// What comes behind the sign that there is a connection; else why there is none.
async fn connected(listener: &mut Listener, port: u16) -> Result<Vec<u8>, String> {
    let mut words = Vec::new();
    loop {
        match listener.next().await.map_err(|e| e.to_string())? {
            Heard::Stdout(bytes) => match bytes.split_first() {
                Some((&CONNECTED, rest)) => return Ok(rest.to_owned()),
                _ => return Err("the guest answers with something else".to_owned()),
            },
            Heard::Stderr(more) => {
                let room = WORDS_MAX - words.len();
                words.extend_from_slice(&more[..more.len().min(room)]);
            }
            Heard::Outcome(_) => {
                let words = String::from_utf8_lossy(&words);
                let words = words.trim().trim_start_matches("nsvm-agent: ");
                let safe: String = words.chars().filter(|c| !c.is_control()).collect();
                let unsaid = format!("no connection to port {port} of the machine");
                return Err(if safe.is_empty() { unsaid } else { safe });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::kind::Kind;
    use crate::protocol::outcome::{FailedStep, Failure};

    fn wanted(json: &str) -> Result<ExecRequest, String> {
        let core = UserSpec { user: "core".into(), group: None };
        request(&serde_json::from_str(json).unwrap(), &core)
    }

    #[test]
    fn a_request_is_what_the_command_line_would_make() {
        let made = wanted(
            r#"{"argv":["printf","%s","ä b"],"env":{"A":"1"},"cwd":"/x",
                "unshare":["-U","--pid","--fork","--memory","256M"]}"#,
        );
        let made = made.unwrap();
        assert_eq!(made.argv[2], "ä b".as_bytes());
        assert_eq!(made.user.unwrap().user, "core");
        assert!(made.namespaces.wants(Kind::User) && made.namespaces.wants(Kind::Pid));
        assert!(made.namespaces.fork);
        assert_eq!(made.limits.memory, Some(256 << 20));
        let root = wanted(r#"{"argv":["id"],"user":"0:adm","ns":"web"}"#).unwrap();
        assert_eq!(root.user.unwrap().group.as_deref(), Some("adm"));
        assert_eq!(root.inside.unwrap().as_str(), "web");
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (json, why) in [
            (r#"{"unshare":["--uesr"]}"#, "--uesr"),
            (r#"{"unshare":["--user","id"]}"#, "id"),
            (r#"{"unshare":["--memory","x"]}"#, "--memory"),
            (r#"{"unshare":["-p"],"ns":"web"}"#, "exclude"),
            (r#"{"ns":"../x"}"#, "../x"),
            (r#"{"user":""}"#, "invalid user"),
            (r#"{"argv":["a\u0000b"]}"#, "NUL"),
            (r#"{"env":{"A=B":""}}"#, "A=B"),
        ] {
            let refused = wanted(json).unwrap_err();
            assert!(refused.contains(why), "{json}: {refused}");
        }
    }

    #[test]
    fn an_end_has_the_code_that_nsvm_would_have() {
        let failure =
            Failure { step: FailedStep::Exec, errno: 2, message: "failed to execute x".into() };
        for (outcome, wanted) in [
            (Outcome::Exited(7), (7, None, None)),
            (Outcome::Signaled { signal: 15, core: false }, (143, Some(15), None)),
            (Outcome::NotStarted(failure), (127, None, Some("failed to execute x"))),
        ] {
            let Reply::Exit { code, signal, message } = exit(&outcome) else { panic!() };
            assert_eq!((code, signal, message.as_deref()), wanted);
        }
    }
}
