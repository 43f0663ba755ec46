//! The templates in the cache.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::app::inspect::time;
use crate::app::{Context, Refusal};
use crate::image::{Cache, FoundTemplate, TemplateState};
use crate::machine::template::Template;

/// One template, or why there is none.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ListedTemplate {
    /// 32 hex digits.
    pub digest: String,
    pub image: Option<String>,
    pub username: Option<String>,
    #[serde(rename = "CPUs")]
    pub cpus: Option<u32>,
    /// MiB.
    pub memory: Option<u64>,
    /// GiB.
    pub disk_size: Option<u64>,
    pub accelerator: Option<String>,
    pub created: String,
    /// Bytes on the host's disk.
    pub size: u64,
    /// Why machines of this shape boot.
    pub unusable: Option<String>,
    /// For the table.
    #[serde(skip)]
    pub created_at: Option<Timestamp>,
}

pub fn list(context: &Context) -> anyhow::Result<Vec<ListedTemplate>> {
    let cache = Cache::open(&context.store.dirs().cache)?;
    Ok(cache.templates().iter().map(describe).collect())
}

/// Removes those whose digest begins so; guests that began on them go on.
pub fn remove(context: &Context, text: &str) -> anyhow::Result<Vec<ListedTemplate>> {
    let cache = Cache::open(&context.store.dirs().cache)?;
    let all = cache.templates();
    let meant: Vec<_> = all.iter().filter(|found| found.digest.starts_with(text)).collect();
    let several = meant.iter().any(|found| found.digest != meant[0].digest);
    if text.is_empty() || meant.is_empty() {
        return Err(Refusal::new(format!("there is no template \"{text}\""))
            .hint("See what there is with `nsvm image template list`")
            .into());
    }
    if several {
        return Err(Refusal::new(format!("several templates begin with \"{text}\""))
            .hint("Give more of its digits")
            .into());
    }
    cache.remove_template(&meant[0].digest)?;
    Ok(meant.into_iter().map(describe).collect())
}

/// Removes all of them.
pub fn remove_all(context: &Context) -> anyhow::Result<Vec<ListedTemplate>> {
    let cache = Cache::open(&context.store.dirs().cache)?;
    let all = cache.templates();
    all.iter().try_for_each(|found| cache.remove_template(&found.digest))?;
    Ok(all.iter().map(describe).collect())
}

fn describe(found: &FoundTemplate) -> ListedTemplate {
    let (whole, unusable) = match &found.what {
        TemplateState::Whole(template) => (Some(template), None),
        TemplateState::Refused(why) => (None, Some(why.clone())),
    };
    let hardware = whole.map(|template| &template.shape.hardware);
    let made = |template: &Template| template.made;
    ListedTemplate {
        digest: found.digest.clone(),
        image: whole.map(|template| template.image.clone()),
        username: whole.map(|template| template.username.clone()),
        cpus: hardware.map(|hardware| hardware.cpus),
        memory: hardware.map(|hardware| hardware.memory.0),
        disk_size: whole.map(|template| template.shape.disk_size.0),
        accelerator: hardware.map(|hardware| hardware.accelerator.clone()),
        created: time(whole.map(|template| made(template))),
        size: found.bytes,
        unusable,
        created_at: whole.map(|template| made(template)),
    }
}
