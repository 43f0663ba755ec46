//! What the supervisor itself has to say to the guest's agent: a request and
//! how it ended. (Of what clients say it knows nothing.)

use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt};

use crate::link::Link;
use crate::protocol::frame::Decoder;
use crate::protocol::message::{FromAgent, FromHost};
use crate::protocol::outcome::Outcome;
use crate::protocol::request::{ExecRequest, Request, UserSpec};

/// As much as is kept of what a program says. Guest data.
const SAID_MAX: usize = 4096;

/// One request that is done when the outcome is exit code 0; else what was
/// said, or how it ended.
pub async fn ask(link: &Link, request: Request, patience: Duration) -> Result<(), String> {
    said(link, request, patience).await.map(drop)
}

/// What a program of root's prints, at most [`SAID_MAX`] bytes of it. Guest data.
pub async fn hear(link: &Link, argv: &[&str], patience: Duration) -> Result<Vec<u8>, String> {
    said(link, as_root(argv), patience).await
}

async fn said(link: &Link, request: Request, patience: Duration) -> Result<Vec<u8>, String> {
    let conversation = converse(link, request);
    tokio::time::timeout(patience, conversation)
        .await
        .map_err(|_| format!("the guest did not answer within {} s", patience.as_secs()))?
}

fn as_root(argv: &[&str]) -> Request {
    let mut request = ExecRequest::new(argv.iter().copied());
    request.user = Some(UserSpec { user: "root".into(), group: None });
    Request::Exec(Box::new(request))
}

/// A shell script of root's, with its arguments.
pub async fn run_as_root(
    link: &Link,
    script: &str,
    args: &[&str],
    patience: Duration,
) -> Result<(), String> {
    ask(link, as_root(&[&["sh", "-c", script, "sh"], args].concat()), patience).await
}

async fn converse(link: &Link, request: Request) -> Result<Vec<u8>, String> {
    let mut stream = link.open().await.map_err(|e| e.to_string())?;
    let mut bytes = Vec::new();
    FromHost::Request(request).encode(&mut bytes).map_err(|e| e.to_string())?;
    stream.write_all(&bytes).await.map_err(|e| e.to_string())?;
    stream.flush().await.map_err(|e| e.to_string())?;
    let (mut decoder, mut said) = (Decoder::default(), Vec::new());
    loop {
        while let Some(frame) = decoder.next().map_err(|e| e.to_string())? {
            match FromAgent::decode(frame).map_err(|e| e.to_string())? {
                FromAgent::Stdout(text) | FromAgent::Stderr(text) => {
                    let room = SAID_MAX - said.len();
                    said.extend_from_slice(&text[..text.len().min(room)]);
                }
                FromAgent::Outcome(outcome) => return verdict(outcome, &said).map(|()| said),
                _ => {}
            }
        }
        let count = stream.read(decoder.space()).await.map_err(|e| e.to_string())?;
        if count == 0 {
            return Err("the guest's agent hung up".into());
        }
        decoder.filled(count);
    }
}

fn verdict(outcome: Outcome, said: &[u8]) -> Result<(), String> {
    let said = String::from_utf8_lossy(said);
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let said: String = lines.join("; ").chars().filter(|c| !c.is_control()).collect();
    match outcome {
        Outcome::Exited(0) => Ok(()),
        Outcome::NotStarted(failure) => Err(failure.message),
        _ if !said.is_empty() => Err(said),
        other => Err(format!("it ended with {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_in_the_words_of_who_failed() {
        assert_eq!(verdict(Outcome::Exited(0), b"noise"), Ok(()));
        let said = verdict(Outcome::Exited(32), b"umount: /a: target is busy.\n\n\x1bx\n");
        assert_eq!(said, Err("umount: /a: target is busy.; x".into()));
        assert_eq!(verdict(Outcome::Exited(1), b""), Err("it ended with Exited(1)".into()));
    }
}
