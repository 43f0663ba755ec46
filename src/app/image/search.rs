//! What `image search` shows: everything that `--image` knows by name.

use schemars::JsonSchema;
use serde::Serialize;

use super::Images;
use crate::app::Context;
use crate::image::{Base, Entry, Provisioner};

/// One name.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct FoundImage {
    pub name: String,
    pub summary: String,
    /// What may follow the name after a colon, the default first.
    pub versions: Vec<String>,
    pub arches: Vec<&'static str>,
    pub user: String,
    pub provisioner: Provisioner,
    /// Versions that need no download; the name itself where there are none.
    pub cached: Vec<String>,
}

/// Everything whose name, summary or version has the text, in any case. The
/// network is not asked.
pub fn search(context: &Context, text: Option<&str>) -> anyhow::Result<Vec<FoundImage>> {
    let images = Images::open(context)?;
    let bases = images.cache.bases()?;
    let text = text.unwrap_or_default().to_lowercase();
    let found = images.catalog.images.iter().filter(|entry| mentions(entry, &text));
    Ok(found.map(|entry| describe(entry, &bases)).collect())
}

fn mentions(entry: &Entry, text: &str) -> bool {
    // `debian:13` finds debian.
    let (name, version) = text.split_once(':').unwrap_or((text, ""));
    if !version.is_empty() {
        return entry.name == name && entry.stream(version).is_some();
    }
    entry.name.contains(name)
        || entry.summary.to_lowercase().contains(name)
        || entry.stream(name).is_some()
}

fn describe(entry: &Entry, bases: &[Base]) -> FoundImage {
    let is_cached = |name: &str| bases.iter().any(|base| base.names().contains(&name));
    let versions: Vec<String> = entry.streams().into_iter().map(str::to_owned).collect();
    let mut cached: Vec<String> =
        versions.iter().filter(|v| is_cached(&format!("{}:{v}", entry.name))).cloned().collect();
    if versions.is_empty() && is_cached(&entry.name) {
        cached.push(entry.name.clone());
    }
    FoundImage {
        name: entry.name.clone(),
        summary: entry.summary.clone(),
        versions,
        arches: entry.arches.iter().map(|arch| arch.name()).collect(),
        user: entry.user.clone(),
        provisioner: entry.provisioner,
        cached,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Catalog;

    #[test]
    fn names_summaries_and_versions_are_searched() {
        let found = |text: &str| -> Vec<String> {
            let images = &Catalog::embedded().images;
            images.iter().filter(|e| mentions(e, text)).map(|e| e.name.clone()).collect()
        };
        assert_eq!(found("debian"), ["debian", "debian-local", "micro", "debian-local-cloud"]);
        assert_eq!(found("debian:trixie"), ["debian"]);
        assert_eq!(found("debian:bogus"), [""; 0]);
        assert_eq!(found("noble"), ["ubuntu"]);
        assert_eq!(found("long-term"), ["ubuntu"]);
        assert_eq!(found("").len(), Catalog::embedded().images.len());
    }
}
