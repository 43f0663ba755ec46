//! Removing a base image that nobody needs.

use super::Images;
use super::uses::{Uses, named};
use crate::app::{Context, Refusal};
use crate::image::{self, Base};

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// It had several names; these are left.
    Name {
        name: String,
        left: Vec<String>,
    },
    Image {
        sha256: String,
        bytes: u64,
    },
}

/// Removes what `text` means: by one of several names only that name.
pub fn remove(context: &Context, text: &str) -> anyhow::Result<Removed> {
    let images = Images::open(context)?;
    let bases = images.cache.bases()?;
    let (base, name) = image::pick(&bases, text, &images.catalog)?;
    let names = base.names();
    let removed = match name {
        Some(name) if names.len() > 1 => {
            let left = names.into_iter().filter(|other| *other != name).map(str::to_owned);
            let left = left.collect();
            images.cache.hold(&base.sha256)?.forget(&name)?;
            Removed::Name { name, left }
        }
        _ => {
            remove_base(context, &images, base)?;
            Removed::Image { sha256: base.sha256.clone(), bytes: base.allocated }
        }
    };
    image::sweep_imports(&images.cache);
    Ok(removed)
}

/// Removes a base and all its names, unless a machine needs it. That is asked
/// while nobody can begin to need it.
pub(super) fn remove_base(context: &Context, images: &Images, base: &Base) -> anyhow::Result<()> {
    let held = images.cache.hold(&base.sha256)?;
    let mut uses = Uses::read(context)?;
    if !uses.unreadable.is_empty() {
        let error = uses.unreadable.swap_remove(0);
        return Err(
            anyhow::Error::from(error).context("finding out which machines need a base image")
        );
    }
    let users = uses.of(&base.sha256, held.users());
    if !users.is_empty() {
        return Err(in_use(context, base, &users).into());
    }
    held.remove(base)?;
    Ok(())
}

fn in_use(context: &Context, base: &Base, users: &[image::User]) -> Refusal {
    let name = base.names().first().map_or_else(|| base.short().to_owned(), |n| (*n).to_owned());
    let (machines, it) = if users.len() == 1 { ("machine", "it") } else { ("machines", "them") };
    let text = format!(
        "the image \"{name}\" is in use by the {machines} {}",
        named(users, &context.store)
    );
    Refusal::new(text).hint(format!("Remove {it} first with `nsvm machine rm`"))
}
