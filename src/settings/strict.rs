//! Unknown keys in entries of the catalog. What an entry may have depends on
//! its kind, so serde flattens it, and then it lets unknown keys pass: a key
//! counts as known if the entry, written again, has it.

use toml::Table;
use toml::de::DeTable;

use super::{Fault, Settings};

/// Refuses the first key of `[[image.catalog]]` that no entry has.
pub(super) fn check(text: &str, settings: &Settings) -> Result<(), Fault> {
    let file = DeTable::parse(text).map_err(Fault::from)?;
    let image = file.get_ref().get("image").and_then(|image| image.get_ref().get("catalog"));
    let entries = image.and_then(|entries| entries.get_ref().as_array());
    for (raw, entry) in entries.into_iter().flatten().zip(&settings.image.catalog) {
        let known = Table::try_from(entry).unwrap_or_default();
        for key in raw.get_ref().as_table().into_iter().flat_map(DeTable::keys) {
            if !known.contains_key(key.get_ref().as_ref()) {
                let reason =
                    format!("unknown field `{}` in the entry \"{}\"", key.get_ref(), entry.name);
                return Err(Fault { at: key.span().start, reason });
            }
        }
    }
    Ok(())
}
