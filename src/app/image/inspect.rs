//! What `image inspect` shows.

use schemars::JsonSchema;
use serde::Serialize;

use super::Images;
use super::list::created;
use super::uses::Uses;
use crate::app::Context;
use crate::app::inspect::{PathField, time};
use crate::image::{Base, ImageError, Remembered, User};
use crate::machine::config::Arch;
use crate::machine::verified::Verified;

/// Everything about one base image.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ImageInspect {
    #[serde(rename = "SHA256")]
    pub sha256: String,
    pub path: PathField,
    pub format: &'static str,
    /// Of the file, in bytes.
    pub length: u64,
    /// Bytes on the host's disk.
    pub size: u64,
    /// Bytes of the disk that a guest sees.
    pub virtual_size: Option<u64>,
    pub created: String,
    pub sources: Vec<SourceInfo>,
    pub machines: Vec<User>,
}

/// One way by which the image came.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct SourceInfo {
    pub name: String,
    pub stream: Option<String>,
    pub release: Option<String>,
    pub arch: Option<&'static str>,
    /// Of the file as published, before decompression.
    #[serde(rename = "PublishedSHA256")]
    pub published_sha256: String,
    /// Which checks it passed on its way in.
    pub verified: Verified,
}

/// The images that the texts mean (all without a text), and what none is.
pub fn inspect(
    context: &Context,
    texts: &[String],
) -> anyhow::Result<(Vec<ImageInspect>, Vec<ImageError>)> {
    let images = Images::open(context)?;
    let uses = Uses::read(context)?;
    let (bases, failed) = images.picked(texts)?;
    let describe = |base: &Base| {
        let users = uses.of(&base.sha256, images.cache.users(&base.sha256));
        describe(base, users)
    };
    Ok((bases.iter().map(describe).collect(), failed))
}

fn describe(base: &Base, machines: Vec<User>) -> ImageInspect {
    ImageInspect {
        sha256: base.sha256.clone(),
        path: PathField { path: base.path.display().to_string() },
        format: base.format.name(),
        length: base.length,
        size: base.allocated,
        virtual_size: base.virtual_size(),
        created: time(created(base)),
        sources: base.origins.iter().map(source).collect(),
        machines,
    }
}

fn source(origin: &Remembered) -> SourceInfo {
    SourceInfo {
        name: origin.source.clone(),
        stream: origin.stream.clone(),
        release: origin.release.clone(),
        arch: origin.arch.map(Arch::name),
        published_sha256: origin.source_sha256.clone(),
        verified: origin.verified.clone(),
    }
}
