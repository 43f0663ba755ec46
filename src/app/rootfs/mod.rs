//! Root file systems of this host for `nsvm run`: a tar, or a directory as
//! one, sent once and known by its digest from then on.

pub(super) mod directory;
pub mod kept;
pub(super) mod stream;

use std::fs::File;
use std::io::{self, Seek};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};

use super::session::{self, Answer, Stdio};
use super::{Place, Refusal};
use crate::image::decode::{Compression, open};
use crate::machine::event::Progress;
use crate::namespace::run::{Digest, RootFs};
use crate::protocol::outcome::Outcome;
use crate::protocol::request::{ROOT_TRAILER, Request};
use stream::{Hashing, Sent, Watched};

/// The root file system at `path`, as the place knows it. One it does not
/// have is sent, which `progress` is told about.
pub fn ensure(place: &Place, path: &Path, progress: &dyn Progress) -> anyhow::Result<RootFs> {
    let what = || format!("using the root file system \"{}\"", path.display());
    let metadata = path.metadata().with_context(what)?;
    if metadata.is_dir() && matches!(place, Place::Local(_)) {
        let path = path.canonicalize().with_context(what)?;
        return Ok(RootFs::Directory(path.into_os_string().into_encoded_bytes().into()));
    }
    let source = if metadata.is_dir() {
        Source::Directory(path.to_owned())
    } else {
        Source::Tar(path.to_owned())
    };
    let digest = source.digest().with_context(what)?;
    if !has(place, &digest)? {
        send(place, &source, &digest, progress).with_context(what)?;
    }
    Ok(RootFs::Sent(digest))
}

/// What is sent.
enum Source {
    Tar(PathBuf),
    Directory(PathBuf),
}

impl Source {
    /// Of a tar that of the file as it lies there; of a directory that of the
    /// tar it becomes.
    fn digest(&self) -> anyhow::Result<Digest> {
        let mut hashing = Hashing::default();
        match self {
            Self::Tar(path) => drop(io::copy(&mut File::open(path)?, &mut hashing)?),
            Self::Directory(path) => directory::write(path, &mut hashing)?,
        }
        Ok(Digest::try_from(hashing.hex())?)
    }

    /// The tar, and how many bytes of the source it is made from, if known.
    fn tar(&self, progress: Watched) -> anyhow::Result<Box<dyn io::Read + Send>> {
        match self {
            Self::Tar(path) => {
                let name = path.to_string_lossy().into_owned();
                let mut file = File::open(path)?;
                file.rewind()?;
                let claimed = Compression::claimed(&name);
                Ok(open(&name, claimed, progress.over(file))?.reader)
            }
            Self::Directory(path) => {
                let path = path.clone();
                let tar = stream::piped(move |mut pipe| directory::write(&path, &mut pipe))?;
                Ok(Box::new(progress.over(tar)))
            }
        }
    }

    const fn path(&self) -> &PathBuf {
        match self {
            Self::Tar(path) | Self::Directory(path) => path,
        }
    }
}

fn has(place: &Place, digest: &Digest) -> anyhow::Result<bool> {
    match session::ask(place.connection()?, Request::HasRoot(digest.clone()))? {
        Answer::Ended(Outcome::Exited(code)) => Ok(code == 0),
        _ => bail!("the agent answered with something else"),
    }
}

fn send(
    place: &Place,
    source: &Source,
    digest: &Digest,
    progress: &dyn Progress,
) -> anyhow::Result<()> {
    let (watched, events) = Watched::new(source.path());
    let end = watched.end();
    let sent = Sent::new(source.tar(watched)?, ROOT_TRAILER);
    let failed = sent.failed();
    let stdio = Stdio {
        stdin: Box::new(sent),
        stdout: Box::new(io::sink()),
        stderr: Box::new(io::stderr()),
    };
    let connection = place.connection()?;
    let request = Request::TakeRoot(digest.clone());
    let relay = std::thread::spawn(move || {
        let outcome = session::relay(connection, request, stdio);
        // An agent that takes no more leaves the reader waiting, and silent.
        drop(end);
        outcome
    });
    while let Ok(Some(event)) = events.recv() {
        progress.event(&event);
    }
    let outcome = relay.join().map_err(|_| anyhow!("sending it panicked"))??;
    if let Some(error) = failed.take() {
        return Err(anyhow!(error).context("reading it"));
    }
    match outcome {
        Outcome::Exited(0) => Ok(()),
        Outcome::NotStarted(failure) => Err(refusal(&failure.message, failure.errno).into()),
        other => bail!("the process that unpacks it ended: {other:?}"),
    }
}

/// In the words of the agent, which quotes names in the tar.
fn refusal(message: &str, errno: i32) -> Refusal {
    const ENOSPC: i32 = 28;
    let safe: String =
        message.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let refusal = Refusal::new(safe);
    if errno != ENOSPC {
        return refusal;
    }
    refusal.hint("Make room in the machine, or make one with a larger --disk-size")
}
