//! What `image list` shows.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::Images;
use super::uses::Uses;
use crate::app::Context;
use crate::app::inspect::time;
use crate::image::{Base, Unfinished};
use crate::machine::config::Arch;
use crate::store::StoreError;

/// One base image.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ListedImage {
    /// Empty when the cache does not know any more.
    pub names: Vec<String>,
    pub release: Option<String>,
    pub arch: Option<&'static str>,
    #[serde(rename = "SHA256")]
    pub sha256: String,
    pub format: &'static str,
    /// Bytes on the host's disk.
    pub size: u64,
    /// Bytes of the disk that a guest sees.
    pub virtual_size: Option<u64>,
    pub created: String,
    pub machines: Vec<String>,
    /// For the table.
    #[serde(skip)]
    pub created_at: Option<Timestamp>,
}

/// What the cache holds.
pub struct Listing {
    /// Newest first.
    pub images: Vec<ListedImage>,
    pub unfinished: Vec<Unfinished>,
    /// Machines that are missing among those of the images.
    pub unreadable: Vec<StoreError>,
}

/// Every base image, and the downloads that are not finished.
pub fn list(context: &Context) -> anyhow::Result<Listing> {
    let images = Images::open(context)?;
    let uses = Uses::read(context)?;
    let mut bases = images.cache.bases()?;
    bases.sort_by_key(|base| std::cmp::Reverse(base.created));
    let listed = bases.iter().map(|base| {
        let users = uses.of(&base.sha256, images.cache.users(&base.sha256));
        describe(base, users.into_iter().map(|user| user.machine).collect())
    });
    let listed = listed.collect();
    let unfinished = images.cache.unfinished();
    Ok(Listing { images: listed, unfinished, unreadable: uses.unreadable })
}

fn describe(base: &Base, machines: Vec<String>) -> ListedImage {
    let created_at = created(base);
    ListedImage {
        names: base.names().into_iter().map(str::to_owned).collect(),
        release: base.origins.iter().find_map(|origin| origin.release.clone()),
        arch: base.origins.iter().find_map(|origin| origin.arch).map(Arch::name),
        sha256: base.sha256.clone(),
        format: base.format.name(),
        size: base.allocated,
        virtual_size: base.virtual_size(),
        created: time(created_at),
        machines,
        created_at,
    }
}

/// When the base came into the cache.
pub fn created(base: &Base) -> Option<Timestamp> {
    base.created.and_then(|time| Timestamp::try_from(time).ok())
}
