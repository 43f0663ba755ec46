//! `nsvm-agent local`: serves one request of whoever started it, with that
//! user's rights, over pipes on stdin and stdout.
//!
//! Whatever a program inherits stays as the caller has it: directory,
//! environment, umask, limits, ignored signals.

use std::env;
use std::io;
use std::path::PathBuf;

use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::task::LocalSet;
use tokio_util::compat::TokioAsyncReadCompatExt;

use super::session::{KernelOf, Service};
use super::{STATE, server, session, sys};
use crate::protocol::frame::Decoder;

/// Serves the request to its end.
pub fn serve() -> io::Result<()> {
    sys::ignore_broken_pipes();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        server::one_thread()?;
        let input = Receiver::from_owned_fd(rustix::stdio::stdin().try_clone_to_owned()?)?;
        let mut output = Sender::from_owned_fd(rustix::stdio::stdout().try_clone_to_owned()?)?;
        let service = Service::of_system(&state(), KernelOf::Host);
        output.write_all(&service.about.hello().line()).await?;
        let stream = tokio::io::join(input, output).compat();
        session::serve(stream, Decoder::default(), &service).await;
        Ok(())
    })
}

/// Root's is that of a resident agent: both are about the same kernel.
fn state() -> PathBuf {
    let uid = rustix::process::geteuid();
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if uid.is_root() {
        return STATE.into();
    }
    let below_home = || variable("HOME").map(|home| home.join(".local/state"));
    let state = variable("XDG_STATE_HOME").or_else(below_home);
    state.unwrap_or_else(|| format!("/run/user/{uid}").into()).join("nsvm")
}
