//! JSON that nsvm prints, and the schemas that it keeps to.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

/// A schema in the repository.
pub fn committed(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("machine-config").join(file)
}

/// Panics unless the text is JSON that the committed schema allows.
#[track_caller]
pub fn valid(file: &str, text: &str) -> Value {
    let schema: Value = serde_json::from_slice(&fs::read(committed(file)).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let value: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
    let wrong: Vec<_> =
        validator.iter_errors(&value).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(wrong.is_empty(), "{file}: {wrong:#?}\n{text}");
    value
}

/// A verb that prints JSON.
pub struct Printer {
    pub verb: &'static str,
    /// What it is asked for JSON by.
    pub options: &'static [&'static str],
    pub schema: &'static str,
    /// Whether it asks a guest.
    pub of_guest: bool,
}

const FORMAT: &[&str] = &["--format", "json"];

const fn here(
    verb: &'static str,
    options: &'static [&'static str],
    schema: &'static str,
) -> Printer {
    Printer { verb, options, schema, of_guest: false }
}

const fn there(
    verb: &'static str,
    options: &'static [&'static str],
    schema: &'static str,
) -> Printer {
    Printer { verb, options, schema, of_guest: true }
}

/// All of them; a test looks for others in the help.
pub const PRINTERS: [Printer; 15] = [
    here("machine list", FORMAT, "list.schema.json"),
    here("machine inspect", &[], "inspect.schema.json"),
    here("machine info", FORMAT, "info.schema.json"),
    here("machine doctor", FORMAT, "doctor.schema.json"),
    here("machine snapshot list", FORMAT, "snapshot-list.schema.json"),
    here("machine events", FORMAT, "event.schema.json"),
    here("image list", FORMAT, "image-list.schema.json"),
    here("image search", FORMAT, "image-search.schema.json"),
    here("image template list", FORMAT, "template-list.schema.json"),
    here("image inspect", &[], "image-inspect.schema.json"),
    there("namespaces", FORMAT, "namespaces.schema.json"),
    there("ns list", FORMAT, "ns.schema.json"),
    there("ns inspect", &[], "ns.schema.json"),
    there("rootfs list", FORMAT, "rootfs.schema.json"),
    there("lsns", &["--json"], "lsns.schema.json"),
];
