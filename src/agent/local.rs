//! `nsvm-agent local`: serves one request of whoever started it, with that
//! user's rights, over pipes on stdin and stdout.
//!
//! Whatever a program inherits stays as the caller has it: directory,
//! environment, umask, limits, ignored signals.

use std::io;

use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::task::LocalSet;
use tokio_util::compat::TokioAsyncReadCompatExt;

use super::about::About;
use super::{server, session, sys};

/// Serves the request to its end.
pub fn serve() -> io::Result<()> {
    sys::ignore_broken_pipes();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        server::one_thread()?;
        let input = Receiver::from_owned_fd(rustix::stdio::stdin().try_clone_to_owned()?)?;
        let mut output = Sender::from_owned_fd(rustix::stdio::stdout().try_clone_to_owned()?)?;
        let about = About::of_system();
        output.write_all(&about.hello().line()).await?;
        session::serve(tokio::io::join(input, output).compat(), &about).await;
        Ok(())
    })
}
