//! The options' values, read as util-linux reads them.

use super::OptionError;
use crate::namespace::spec::{MapRange, MapTarget, Propagation, SetGroups};
use crate::protocol::signal;

pub fn map_target(text: &str) -> MapTarget {
    text.parse().map_or_else(|_| MapTarget::Name(text.to_owned()), MapTarget::Id)
}

/// `INNER:OUTER:COUNT`, or `OUTER,INNER,COUNT` as util-linux 2.38 wrote it.
pub fn map_range(text: &str) -> Result<MapRange, OptionError> {
    match text {
        "auto" => return Ok(MapRange::Auto),
        "subids" => return Ok(MapRange::Subids),
        "all" => return Ok(MapRange::All),
        _ => {}
    }
    let numbers = |separator| {
        let fields: Option<Vec<u32>> = text.split(separator).map(|n| n.parse().ok()).collect();
        fields.and_then(|fields| <[u32; 3]>::try_from(fields).ok())
    };
    if let Some([inner, outer, count]) = numbers(':') {
        return Ok(MapRange::Range { inner, outer, count });
    }
    if let Some([outer, inner, count]) = numbers(',') {
        return Ok(MapRange::Range { inner, outer, count });
    }
    Err(OptionError::Mapping(text.to_owned()))
}

/// `UID:GID`.
pub fn parse_owner(text: &str) -> Result<(u32, u32), OptionError> {
    let numbers =
        text.split_once(':').and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)));
    numbers.ok_or(OptionError::Owner)
}

pub fn parse_signal(text: &str) -> Result<u8, OptionError> {
    signal::parse(text).ok_or_else(|| OptionError::Signal(text.to_owned()))
}

pub fn parse_setgroups(text: &str) -> Result<SetGroups, OptionError> {
    match text {
        "allow" => Ok(SetGroups::Allow),
        "deny" => Ok(SetGroups::Deny),
        _ => Err(OptionError::SetGroups(text.to_owned())),
    }
}

pub fn parse_propagation(text: &str) -> Result<Propagation, OptionError> {
    match text {
        "slave" => Ok(Propagation::Slave),
        "private" => Ok(Propagation::Private),
        "shared" => Ok(Propagation::Shared),
        "unchanged" => Ok(Propagation::Unchanged),
        _ => Err(OptionError::Propagation(text.to_owned())),
    }
}

pub fn number<T: std::str::FromStr>(
    text: Option<&str>,
    what: &'static str,
) -> Result<Option<T>, OptionError> {
    let parse =
        |text: &str| text.parse().map_err(|_| OptionError::Number { what, text: text.to_owned() });
    text.map(parse).transpose()
}
