//! JSON Schemas (draft 2020-12) of the JSON that nsvm keeps and prints, made from
//! the types. They are committed in `machine-config/`; a test compares.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::doctor::Finding;
use super::events::Stamped;
use super::image::inspect::ImageInspect;
use super::image::list::ListedImage;
use super::info::Info;
use super::inspect::InspectInfo;
use super::list::Listed;
use crate::control::message::{Reply, Request};
use crate::machine::config::MachineConfig;

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
        Named { file: "image-inspect.schema.json", schema: printed::<Vec<ImageInspect>>() },
        Named { file: "image-list.schema.json", schema: printed::<Vec<ListedImage>>() },
        Named { file: "info.schema.json", schema: printed::<Info>() },
        Named { file: "doctor.schema.json", schema: printed::<Vec<Finding>>() },
        Named { file: "event.schema.json", schema: printed::<Stamped>() },
        Named { file: "control-request.schema.json", schema: read::<Request>() },
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
