//! The options about the ids of a new user namespace.

use clap::ArgMatches;
use clap::parser::ValueSource;

use super::OptionError;
use super::values::{map_range, map_target, parse_owner, parse_setgroups};
use crate::namespace::spec::{MapRange, MapTarget, NamespaceSpec};

/// The options and, where it matters, their order.
#[derive(Debug, Clone, Default)]
pub struct IdMapOptions {
    typed: Typed,
    /// The last place of each option that maps the caller's own ids: of
    /// several, the last one counts.
    order: Vec<OwnMap>,
}

/// Each option alone.
#[derive(Debug, Clone, Default, clap::Args)]
struct Typed {
    /// Map the current user to UID (implies --user)
    #[arg(long, value_name = "UID|NAME")]
    map_user: Option<String>,
    /// Map the current group to GID (implies --user)
    #[arg(long, value_name = "GID|NAME")]
    map_group: Option<String>,
    /// Map the current user to root (implies --user)
    #[arg(short = 'r', long)]
    map_root_user: bool,
    /// Map the current user to itself (implies --user)
    #[arg(short = 'c', long)]
    map_current_user: bool,
    /// Map subordinate users and groups automatically (implies --user)
    #[arg(long)]
    map_auto: bool,
    /// Map subordinate users and groups to themselves (implies --user)
    #[arg(long)]
    map_subids: bool,
    /// Map users: auto, subids, all or INNER:OUTER:COUNT (repeatable)
    #[arg(long, value_name = "RANGE", action = clap::ArgAction::Append)]
    map_users: Vec<String>,
    /// Map groups: auto, subids, all or INNER:OUTER:COUNT (repeatable)
    #[arg(long, value_name = "RANGE", action = clap::ArgAction::Append)]
    map_groups: Vec<String>,
    /// Who owns the user namespace, by numbers outside (implies --user)
    #[arg(long, value_name = "UID:GID")]
    owner: Option<String>,
    /// Whether setgroups(2) is allowed in the user namespace: allow or deny
    #[arg(long, value_name = "allow|deny")]
    setgroups: Option<String>,
}

/// An option that says what the caller's own ids become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OwnMap {
    Root,
    Current,
    User,
    Group,
}

impl clap::Args for IdMapOptions {
    fn augment_args(cmd: clap::Command) -> clap::Command {
        Typed::augment_args(cmd)
    }

    fn augment_args_for_update(cmd: clap::Command) -> clap::Command {
        Typed::augment_args_for_update(cmd)
    }
}

impl clap::FromArgMatches for IdMapOptions {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self { typed: Typed::from_arg_matches(matches)?, order: order_of(matches) })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.typed.update_from_arg_matches(matches)?;
        self.order = order_of(matches);
        Ok(())
    }
}

fn order_of(matches: &ArgMatches) -> Vec<OwnMap> {
    let mut places: Vec<(usize, OwnMap)> = [
        ("map_root_user", OwnMap::Root),
        ("map_current_user", OwnMap::Current),
        ("map_user", OwnMap::User),
        ("map_group", OwnMap::Group),
    ]
    .into_iter()
    .filter(|(id, _)| matches.value_source(id) == Some(ValueSource::CommandLine))
    .filter_map(|(id, map)| Some((matches.indices_of(id)?.max()?, map)))
    .collect();
    places.sort_by_key(|(place, _)| *place);
    places.into_iter().map(|(_, map)| map).collect()
}

impl IdMapOptions {
    /// Whether one of them implies a user namespace.
    pub const fn imply_user(&self) -> bool {
        let typed = &self.typed;
        typed.owner.is_some()
            || typed.map_user.is_some()
            || typed.map_group.is_some()
            || typed.map_root_user
            || typed.map_current_user
            || typed.map_auto
            || typed.map_subids
            || !typed.map_users.is_empty()
            || !typed.map_groups.is_empty()
    }

    /// Nothing but the ids.
    pub fn spec(&self) -> Result<NamespaceSpec, OptionError> {
        let typed = &self.typed;
        let (map_user, map_group) = self.own_maps();
        Ok(NamespaceSpec {
            owner: typed.owner.as_deref().map(parse_owner).transpose()?,
            map_user,
            map_group,
            map_users: self.ranges(&typed.map_users)?,
            map_groups: self.ranges(&typed.map_groups)?,
            setgroups: typed.setgroups.as_deref().map(parse_setgroups).transpose()?,
            ..NamespaceSpec::default()
        })
    }

    /// What the caller's user and group become: each option overrides those
    /// before it.
    fn own_maps(&self) -> (Option<MapTarget>, Option<MapTarget>) {
        let named = |text: &Option<String>| text.as_deref().map(map_target);
        let (mut user, mut group) = (None, None);
        for map in &self.order {
            match map {
                OwnMap::Root => (user, group) = (Some(MapTarget::Id(0)), Some(MapTarget::Id(0))),
                OwnMap::Current => {
                    (user, group) = (Some(MapTarget::Current), Some(MapTarget::Current));
                }
                OwnMap::User => user = named(&self.typed.map_user),
                OwnMap::Group => group = named(&self.typed.map_group),
            }
        }
        (user, group)
    }

    /// The blocks of one of the two range options.
    fn ranges(&self, texts: &[String]) -> Result<Vec<MapRange>, OptionError> {
        let mut all = texts.iter().map(|text| map_range(text)).collect::<Result<Vec<_>, _>>()?;
        all.extend(self.typed.map_auto.then_some(MapRange::Auto));
        all.extend(self.typed.map_subids.then_some(MapRange::Subids));
        Ok(all)
    }
}
