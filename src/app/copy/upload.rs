//! From this host into a machine.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};

use super::Guest;
use crate::app::capture::Capture;
use crate::app::rootfs::directory;
use crate::app::rootfs::stream::{Sent, Watched, piped};
use crate::machine::event::Progress;

/// Tells where it goes: the directory, and unless that is the target itself
/// the name there, each behind a NUL.
const FIND: &str = r#"if [ -d "$t" ]; then printf '%s\0' "$t"; exit; fi
d=$(dirname -- "$t"); [ -d "$d" ] || { echo "$d: no such directory" >&2; exit 1; }
case $t in */) [ "$2" = d ] || { echo "$t: no such directory" >&2; exit 1; };; esac
printf '%s\0%s\0' "$d" "$(basename -- "$t")""#;

/// As the user's own, whoever they were here.
const UNPACK: &str = r#"exec tar -xpof - -C "$t""#;

/// Paths in Linux are at most 4096 bytes long.
const ANSWER_MAX: usize = 16 * 1024;

pub fn upload(guest: &Guest, from: &Path, to: &str, progress: &dyn Progress) -> anyhow::Result<()> {
    let reading = || format!("reading \"{}\"", from.display());
    let source = from.canonicalize().with_context(reading)?;
    let kind = if source.is_dir() { "d" } else { "f" };
    let answer = Capture::up_to(ANSWER_MAX);
    guest.script(FIND, &[to, kind], Box::new(io::empty()), Box::new(answer.clone()))?;
    let answer = String::from_utf8(answer.bytes().unwrap_or_default())?;
    let mut words = answer.split_terminator('\0');
    let dir = words.next().ok_or_else(|| anyhow!("the machine does not say where"))?;
    let name = match words.next() {
        Some(name) => PathBuf::from(name),
        None => own_name(from, &source),
    };
    let (watched, events) = Watched::new(&source);
    let end = watched.end();
    let tar = piped(move |mut pipe| directory::write_as(&source, &name, &mut pipe))?;
    let sent = Sent::new(Box::new(watched.of_unknown_length().over(tar)), b"");
    let failed = sent.failed();
    let unpacked = std::thread::scope(|scope| {
        let unpacking = scope.spawn(|| {
            let unpacked = guest.script(UNPACK, &[dir], Box::new(sent), Box::new(io::sink()));
            drop(end);
            unpacked
        });
        while let Ok(Some(event)) = events.recv() {
            progress.event(&event);
        }
        unpacking.join().map_err(|_| anyhow!("sending it panicked"))
    })?;
    if let Some(error) = failed.take() {
        return Err(anyhow!(error)).with_context(reading);
    }
    unpacked
}

/// The name as it was typed; that of the place where it ends in none. `DIR/.`
/// is what is in the directory.
fn own_name(typed: &Path, real: &Path) -> PathBuf {
    let text = typed.as_os_str().as_encoded_bytes();
    if typed == Path::new(".") || text.ends_with(b"/.") {
        return PathBuf::from(".");
    }
    typed.file_name().or_else(|| real.file_name()).map_or_else(|| ".".into(), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_was_typed() {
        let name = |typed: &str| own_name(Path::new(typed), Path::new("/real/place"));
        assert_eq!(name("a/link"), Path::new("link"));
        assert_eq!(name("dir/"), Path::new("dir"));
        assert_eq!(name(".."), Path::new("place"));
        assert_eq!(name("dir/."), Path::new("."));
        assert_eq!(name("."), Path::new("."));
    }
}
