//! Which ids a plan maps, and who writes the maps.

use super::{Credentials, Directory, IdMaps, Ids, Refusal};
use crate::namespace::idmap::{self, Block, IdRange};
use crate::namespace::spec::{MapRange, MapTarget, NamespaceSpec, SetGroups};

/// Id maps, split by who may write them: a single id the process itself,
/// anything else a helper outside. Where somebody else owns the namespace, the
/// process's own id is a stranger's too.
pub struct Maps {
    pub user: Option<IdRange>,
    pub group: Option<IdRange>,
    pub by_helper: IdMaps,
}

impl Maps {
    pub fn resolve(
        spec: &NamespaceSpec,
        caller: &Credentials,
        directory: &dyn Directory,
    ) -> Result<Self, Refusal> {
        let resolve = |ids, own: &Option<MapTarget>, current, ranges: &[MapRange]| {
            let inner = target(ids, own.as_ref(), current, directory)?;
            let single = inner.map(|inner| (inner, current));
            if ranges.is_empty() && (spec.owner.is_none() || single.is_none()) {
                return Ok((single.map(|(i, o)| IdRange::single(i, o)), Vec::new()));
            }
            let blocks = blocks(ids, ranges, caller.uid, directory)?;
            Ok((None, idmap::with_single(&blocks, single)))
        };
        let (user, users) = resolve(Ids::Users, &spec.map_user, caller.uid, &spec.map_users)?;
        let (group, groups) = resolve(Ids::Groups, &spec.map_group, caller.gid, &spec.map_groups)?;
        if group.is_some() && spec.setgroups == Some(SetGroups::Allow) {
            let text = "options --setgroups=allow and --map-group are mutually exclusive";
            return Err(Refusal(text.to_owned()));
        }
        Ok(Self { user, group, by_helper: IdMaps { users, groups } })
    }

    pub const fn need_helper(&self) -> bool {
        !self.by_helper.users.is_empty() || !self.by_helper.groups.is_empty()
    }
}

fn target(
    ids: Ids,
    own: Option<&MapTarget>,
    current: u32,
    directory: &dyn Directory,
) -> Result<Option<u32>, Refusal> {
    let what = if ids == Ids::Users { "uid" } else { "gid" };
    match own {
        None => Ok(None),
        Some(MapTarget::Current) => Ok(Some(current)),
        Some(MapTarget::Id(id)) => Ok(Some(*id)),
        Some(MapTarget::Name(name)) => match directory.id_of(ids, name) {
            Some(id) => Ok(Some(id)),
            None => Err(Refusal(format!("failed to parse {what} '{name}'"))),
        },
    }
}

fn blocks(
    ids: Ids,
    ranges: &[MapRange],
    uid: u32,
    directory: &dyn Directory,
) -> Result<Vec<Block>, Refusal> {
    let mut blocks = Vec::new();
    for range in ranges {
        match *range {
            MapRange::Range { inner, outer, count } => {
                blocks.push(Block { inner: Some(inner), outer, count });
            }
            MapRange::Auto | MapRange::Subids => {
                let (outer, count) = directory.subordinate(ids, uid).map_err(Refusal)?;
                let inner = (*range == MapRange::Subids).then_some(outer);
                blocks.push(Block { inner, outer, count });
            }
            MapRange::All => {
                let all = directory.available(ids).map_err(Refusal)?;
                let same = |(id, count)| Block { inner: Some(id), outer: id, count };
                blocks.extend(all.into_iter().map(same));
            }
        }
    }
    Ok(blocks)
}
