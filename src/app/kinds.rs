//! The eight kinds of namespaces, and what a kernel has of them.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Place, run};
use crate::namespace::kind::Kind;
use crate::protocol::outcome::Info;

/// One kind, with what the kernel there says about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct KindInfo {
    pub name: &'static str,
    pub option: String,
    pub short_option: String,
    pub clone_flag: &'static str,
    pub clone_value: u32,
    pub manual: &'static str,
    pub isolates: &'static str,
    pub supported: bool,
    /// How many each user may have; none: the kernel does not say.
    pub limit: Option<u64>,
}

/// All eight, as they are there.
pub fn list(place: &Place) -> anyhow::Result<Vec<KindInfo>> {
    let info = run::info(place)?;
    Ok(Kind::ALL.into_iter().map(|kind| KindInfo::of(kind, &info)).collect())
}

impl KindInfo {
    pub fn of(kind: Kind, info: &Info) -> Self {
        let name = kind.option();
        Self {
            name,
            option: format!("--{name}"),
            short_option: format!("-{}", kind.short_option()),
            clone_flag: kind.clone_name(),
            clone_value: kind.clone_flag(),
            manual: kind.manual(),
            isolates: kind.isolates(),
            supported: info.namespaces.iter().any(|supported| supported == name),
            limit: info.limits.iter().find(|(limited, _)| limited == name).map(|(_, limit)| *limit),
        }
    }
}
