//! Checking the cache: is every base image what its name says?

use std::sync::atomic::AtomicBool;

use super::Images;
use super::uses::{Uses, named};
use crate::app::{Context, Refusal};
use crate::image::{self, Base, ImageError, User};
use crate::machine::event::Progress;

/// The verdict about one base image.
pub struct Verdict {
    pub base: Base,
    /// What is wrong, with the way out.
    pub problem: Option<Refusal>,
}

/// Reads the images that the texts mean (all without a text), each whole.
pub fn verify(
    context: &Context,
    texts: &[String],
    progress: &dyn Progress,
    interrupted: &AtomicBool,
) -> anyhow::Result<(Vec<Verdict>, Vec<ImageError>)> {
    let images = Images::open(context)?;
    let uses = Uses::read(context)?;
    let (bases, failed) = images.picked(texts)?;
    let mut verdicts = Vec::new();
    for base in bases {
        let found = match image::audit(&images.cache, &base, progress, interrupted) {
            Ok(found) => found,
            Err(ImageError::Read { source, .. }) => Err(format!("it cannot be read ({source})")),
            Err(e) => return Err(e.into()),
        };
        let users = uses.of(&base.sha256, images.cache.users(&base.sha256));
        let problem = found.err().map(|reason| damaged(context, &base, &reason, &users));
        verdicts.push(Verdict { base, problem });
    }
    Ok((verdicts, failed))
}

fn damaged(context: &Context, base: &Base, reason: &str, users: &[User]) -> Refusal {
    let refusal =
        Refusal::new(format!("the base image \"{}\" is damaged: {reason}", base.path.display()));
    let again = match base.names().first() {
        Some(name) => format!("`nsvm image rm {}` and `nsvm image pull \"{name}\"`", base.short()),
        None => format!("`nsvm image rm {}`", base.short()),
    };
    refusal.hint(if users.is_empty() {
        format!("Replace it: {again}")
    } else {
        let machines = named(users, &context.store);
        format!("Put the original back: {machines} cannot be trusted without. Else remove what needs it, then {again}")
    })
}
