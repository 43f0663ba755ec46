//! JSON Schemas (draft 2020-12) of the JSON that nsvm keeps and prints, made from
//! the types. They are committed in `machine-config/`; a test compares.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::doctor::Finding;
use super::events::Stamped;
use super::image::inspect::ImageInspect;
use super::image::list::ListedImage;
use super::image::search::FoundImage;
use super::image::templates::ListedTemplate;
use super::info::Info;
use super::inspect::InspectInfo;
use super::kinds::KindInfo;
use super::list::Listed;
use super::snapshot::ListedSnapshot;
use crate::control::message::{Input, Reply, Request};
use crate::machine::config::MachineConfig;
use crate::namespace::listing::Column;
use crate::namespace::named::Named as NamedNamespace;
use crate::namespace::rootfs::Kept;

/// A schema and the name of its file.
pub struct Named {
    pub file: &'static str,
    pub schema: Value,
}

/// Every schema.
pub fn all() -> Vec<Named> {
    vec![
        Named { file: "config.schema.json", schema: read::<MachineConfig>() },
        Named { file: "inspect.schema.json", schema: printed::<Vec<InspectInfo>>() },
        Named { file: "list.schema.json", schema: printed::<Vec<Listed>>() },
        Named { file: "snapshot-list.schema.json", schema: printed::<Vec<ListedSnapshot>>() },
        Named { file: "image-inspect.schema.json", schema: printed::<Vec<ImageInspect>>() },
        Named { file: "image-list.schema.json", schema: printed::<Vec<ListedImage>>() },
        Named { file: "template-list.schema.json", schema: printed::<Vec<ListedTemplate>>() },
        Named { file: "image-search.schema.json", schema: printed::<Vec<FoundImage>>() },
        Named { file: "namespaces.schema.json", schema: printed::<Vec<KindInfo>>() },
        Named { file: "ns.schema.json", schema: printed::<Vec<NamedNamespace>>() },
        Named { file: "rootfs.schema.json", schema: printed::<Vec<Kept>>() },
        Named { file: "lsns.schema.json", schema: listing() },
        Named { file: "info.schema.json", schema: printed::<Info>() },
        Named { file: "doctor.schema.json", schema: printed::<Vec<Finding>>() },
        Named { file: "event.schema.json", schema: printed::<Stamped>() },
        Named { file: "control-request.schema.json", schema: read::<Request>() },
        Named { file: "control-input.schema.json", schema: read::<Input>() },
        Named { file: "control-reply.schema.json", schema: printed::<Reply>() },
    ]
}

/// Of what others may have written: what has a default may be absent.
fn read<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().for_deserialize();
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// Of what nsvm prints: every key is there.
fn printed<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// Of `lsns --json`, which has the columns that were asked for, null where
/// there is nothing, and with `--tree` namespaces below others.
fn listing() -> Value {
    let kind = |column: Column| if column.is_number() { "integer" } else { "string" };
    let columns = Column::ALL.into_iter().map(|column| {
        (column.name().to_ascii_lowercase(), json!({ "type": [kind(column), "null"] }))
    });
    let children = json!({ "type": "array", "items": { "$ref": "#/$defs/Namespace" } });
    let properties: serde_json::Map<String, Value> =
        columns.chain([("children".to_owned(), children.clone())]).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Listing",
        "type": "object",
        "properties": { "namespaces": children },
        "required": ["namespaces"],
        "additionalProperties": false,
        "$defs": {
            "Namespace": {
                "type": "object",
                "properties": properties,
                "additionalProperties": false,
            },
        },
    })
}
