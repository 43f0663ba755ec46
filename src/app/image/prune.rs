//! Freeing what the cache holds and nobody needs.

use super::Images;
use super::remove::remove_base;
use super::uses::Uses;
use crate::app::Context;
use crate::image::{self, Base, LeftOver};
use crate::store::StoreError;

/// What would go.
pub struct Plan {
    images: Images,
    pub bases: Vec<Base>,
    pub left_overs: Vec<LeftOver>,
    /// Machines that may need any base: none goes.
    pub unreadable: Vec<StoreError>,
}

/// Finds what can go. `all` adds what could not be had again without the user
/// (imported images) and what would save time (unfinished downloads, packages).
pub fn plan(context: &Context, all: bool) -> anyhow::Result<Plan> {
    let images = Images::open(context)?;
    let uses = Uses::read(context)?;
    let mut bases = images.cache.bases()?;
    let is_kept = |base: &Base| {
        !all && base.names().iter().any(|name| image::is_imported(&images.cache, name))
    };
    bases.retain(|base| {
        uses.unreadable.is_empty()
            && uses.of(&base.sha256, images.cache.users(&base.sha256)).is_empty()
            && !is_kept(base)
    });
    let left_overs = images.cache.left_overs(all);
    Ok(Plan { bases, left_overs, unreadable: uses.unreadable, images })
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.bases.is_empty() && self.left_overs.is_empty()
    }

    /// That would be free then.
    pub fn bytes(&self) -> u64 {
        let bases = self.bases.iter().map(|base| base.allocated);
        bases.chain(self.left_overs.iter().map(|left| left.bytes)).sum()
    }

    /// Removes all that nobody has begun to need meanwhile; returns the bytes
    /// that are free now, and what could not be removed.
    pub fn carry_out(&self, context: &Context) -> (u64, Vec<anyhow::Error>) {
        let (mut freed, mut failed) = (0, Vec::new());
        for base in &self.bases {
            match remove_base(context, &self.images, base) {
                Ok(()) => freed += base.allocated,
                Err(e) => failed.push(e),
            }
        }
        for left in &self.left_overs {
            if self.images.cache.remove_left_over(left) {
                freed += left.bytes;
            }
        }
        image::sweep_imports(&self.images.cache);
        (freed, failed)
    }
}
