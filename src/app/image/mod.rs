//! Use cases of the image cache, and who needs which base image.

pub mod import;
pub mod inspect;
pub mod list;
pub mod prune;
pub mod remove;
pub mod search;
pub mod templates;
mod uses;
pub mod verify;

use crate::app::Context;
use crate::image::{self, Base, Cache, Catalog, ImageError, Settings};

/// The cache of this context, with everything that has a name in it.
pub struct Images {
    pub cache: Cache,
    pub settings: Settings,
    pub catalog: Catalog,
}

impl Images {
    pub fn open(context: &Context) -> Result<Self, ImageError> {
        let cache = Cache::open(&context.store.dirs().cache)?;
        let settings = context.image.clone().settings();
        let catalog = image::all_names(&cache, &settings)?;
        Ok(Self { cache, settings, catalog })
    }

    /// The base images that the texts mean; all of them when there is no text.
    /// What means none is an error of its own.
    pub fn picked(&self, texts: &[String]) -> Result<(Vec<Base>, Vec<ImageError>), ImageError> {
        let bases = self.cache.bases()?;
        if texts.is_empty() {
            return Ok((bases, Vec::new()));
        }
        let (mut found, mut failed) = (Vec::new(), Vec::new());
        for text in texts {
            match image::pick(&bases, text, &self.catalog) {
                Ok((base, _)) => found.push(base.clone()),
                Err(e) => failed.push(e),
            }
        }
        Ok((found, failed))
    }
}
