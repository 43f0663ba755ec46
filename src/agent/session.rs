//! One stream: its request, and the answer.

use std::io;
use std::path::Path;

use super::about::About;
use super::channel::{Channel, Stream};
use super::clock;
use super::failure::{failed, refused};
use super::hangup;
use super::launch::{self, Child, launch};
use super::links::Links;
use super::named::{Answer, NamedNamespaces};
use super::relay::{self, Left};
use super::{run, wake};
use crate::protocol::frame::{Decoder, FrameError, Kind};
use crate::protocol::message::{FromAgent, FromHost};
use crate::protocol::outcome::{FailedStep, Failure, Outcome};
use crate::protocol::request::Request;

/// What streams are served from.
pub struct Service {
    pub about: About,
    pub named: NamedNamespaces,
    pub kernel: KernelOf,
    pub links: Links,
}

/// Whose kernel this is: nsvm reseeds its guests, never the host it runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelOf {
    Guest,
    Host,
}

impl Service {
    /// Of this system; `state` is the directory of what outlives the agent.
    pub fn of_system(state: &Path, kernel: KernelOf) -> Self {
        let about = About::of_system();
        let named = NamedNamespaces::below(state, &about.hello().boot_id);
        Self { about, named, kernel, links: Links::default() }
    }

    fn owns_kernel(&self) -> Result<(), Failure> {
        match self.kernel {
            KernelOf::Guest => Ok(()),
            KernelOf::Host => Err(refused(FailedStep::Request, "this kernel is the host's")),
        }
    }
}

/// Serves the stream to its end; `decoder` holds what was read of it already.
/// Errors end this stream alone.
pub async fn serve(stream: impl Stream + 'static, decoder: Decoder, service: &Service) {
    let channel = Channel::new(stream);
    let left = answer(&channel, decoder, service).await;
    // An error here leaves nobody to tell it to.
    let Ok(Some((child, left))) = left else { return };
    let close = async move {
        // A host that has gone by now misses nothing that still runs.
        if left == Left::Ended {
            let _ = channel.close().await;
        }
    };
    // A host that is long in taking the end does not hold up the rest.
    let ((), seen_off) = tokio::join!(close, see_off(child, left));
    if let Err(e) = seen_off {
        eprintln!("nsvm-agent: cannot wait for a process: {e}");
    }
}

/// Nobody listens any more: to the end of the program and all it leaves.
async fn see_off(child: Child, left: Left) -> io::Result<()> {
    if left == Left::Running {
        hangup::hang_up(&child).await?;
    }
    child.clear_away().await
}

/// Answers the request; the program that came of it.
async fn answer(
    channel: &Channel,
    mut decoder: Decoder,
    service: &Service,
) -> io::Result<Option<(Child, Left)>> {
    let last = match first_request(channel, &mut decoder).await? {
        Ok(Request::Info) => FromAgent::Info(service.about.info()),
        Ok(Request::Reseed(seed)) => {
            // What this kernel once sent has been sent by another one since.
            service.links.only_last_lives();
            FromAgent::Outcome(done(service.owns_kernel().and_then(|()| wake::reseed(&seed))))
        }
        Ok(Request::Explain(request)) => {
            match service.named.resolve(*request).and_then(|(r, _)| launch::explain(&r)) {
                Ok(plan) => FromAgent::Plan(plan),
                Err(failure) => FromAgent::Outcome(Outcome::NotStarted(failure)),
            }
        }
        Ok(Request::Exec(request)) => {
            match service.named.resolve(*request).and_then(|(r, group)| launch(&r, group)) {
                Ok(mut child) => {
                    let left = relay::run(channel, decoder, &mut child).await;
                    return Ok(Some((child, left)));
                }
                Err(failure) => FromAgent::Outcome(Outcome::NotStarted(failure)),
            }
        }
        Ok(Request::Named(request)) => match service.named.answer(request).await {
            Ok(Answer::Named(all)) => FromAgent::Named(all),
            Ok(Answer::Plan(plan)) => FromAgent::Plan(plan),
            Err(failure) => FromAgent::Outcome(Outcome::NotStarted(failure)),
        },
        Ok(Request::List(request)) => match launch::list(request) {
            Ok(mut child) => {
                let left = relay::run(channel, decoder, &mut child).await;
                return Ok(Some((child, left)));
            }
            Err(failure) => FromAgent::Outcome(Outcome::NotStarted(failure)),
        },
        Ok(Request::Clock { step_nanos }) => match clock::step(step_nanos) {
            Ok(nanos) => FromAgent::Clock(nanos),
            Err(e) => {
                let failure = failed(FailedStep::Request, "cannot set the clock", &e);
                FromAgent::Outcome(Outcome::NotStarted(failure))
            }
        },
        Ok(Request::HasRoot(digest)) => {
            let code = u8::from(!run::store::has(&digest));
            FromAgent::Outcome(Outcome::Exited(code))
        }
        Ok(Request::TakeRoot(digest)) => match launch::take_root(digest) {
            Ok(mut child) => {
                let left = relay::run(channel, decoder, &mut child).await;
                return Ok(Some((child, left)));
            }
            Err(failure) => FromAgent::Outcome(Outcome::NotStarted(failure)),
        },
        Ok(Request::RootFs(verb)) => match launch::keep_roots(verb) {
            Ok(mut child) => {
                let left = relay::run(channel, decoder, &mut child).await;
                return Ok(Some((child, left)));
            }
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

fn done(result: Result<(), Failure>) -> Outcome {
    result.map_or_else(Outcome::NotStarted, |()| Outcome::Exited(0))
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
