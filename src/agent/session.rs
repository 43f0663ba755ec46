//! One stream: its request, and the answer.

use std::io;

use super::about::About;
use super::channel::{Channel, Stream};
use super::failure::refused;
use super::hangup;
use super::launch::{self, Child, launch};
use super::relay;
use crate::protocol::frame::{Decoder, FrameError, Kind};
use crate::protocol::message::{FromAgent, FromHost};
use crate::protocol::outcome::{FailedStep, Outcome};
use crate::protocol::request::Request;

/// Serves the stream to its end. Errors end this stream alone.
pub async fn serve(stream: impl Stream + 'static, about: &About) {
    let channel = Channel::new(stream);
    let left = answer(&channel, about).await;
    drop(channel);
    // An error here leaves nobody to tell it to.
    if let Ok(Some(child)) = left
        && let Err(e) = hangup::hang_up(child).await
    {
        eprintln!("nsvm-agent: cannot wait for a process: {e}");
    }
}

/// Answers the request; the program that still runs when the host has gone.
async fn answer(channel: &Channel, about: &About) -> io::Result<Option<Child>> {
    let mut decoder = Decoder::default();
    let last = match first_request(channel, &mut decoder).await? {
        Ok(Request::Info) => FromAgent::Info(about.info()),
        Ok(Request::Explain(request)) => match launch::explain(&request) {
            Ok(plan) => FromAgent::Plan(plan),
            Err(failure) => FromAgent::Outcome(Outcome::NotStarted(failure)),
        },
        Ok(Request::Exec(request)) => match launch(&request) {
            Ok(child) => {
                drop(request);
                return Ok(relay::run(channel, decoder, child).await);
            }
            Err(failure) => FromAgent::Outcome(Outcome::NotStarted(failure)),
        },
        Ok(Request::List(request)) => match launch::list(request) {
            Ok(child) => return Ok(relay::run(channel, decoder, child).await),
            Err(failure) => FromAgent::Outcome(Outcome::NotStarted(failure)),
        },
        Err(error) => {
            let failure = refused(FailedStep::Request, format!("the request is broken: {error}"));
            FromAgent::Outcome(Outcome::NotStarted(failure))
        }
    };
    channel.finish(&last).await?;
    Ok(None)
}

async fn first_request(
    channel: &Channel,
    decoder: &mut Decoder,
) -> io::Result<Result<Request, FrameError>> {
    loop {
        match decoder.next() {
            Ok(None) => {}
            Ok(Some(frame)) if frame.kind != Kind::Request => {
                return Ok(Err(FrameError::OutOfPlace(frame.kind)));
            }
            Ok(Some(frame)) => {
                return Ok(FromHost::decode(frame).and_then(|message| match message {
                    FromHost::Request(request) => Ok(request),
                    _ => Err(FrameError::OutOfPlace(Kind::Request)),
                }));
            }
            Err(error) => return Ok(Err(error)),
        }
        let count = channel.read(decoder.space()).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        decoder.filled(count);
    }
}
