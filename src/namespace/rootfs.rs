//! Root file systems that a machine keeps for `nsvm run`: those that were sent
//! to it, and what programs have changed under a name.

use serde::{Deserialize, Serialize};

/// What is asked about them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootFsVerb {
    /// Tell them all.
    List,
    /// Remove these; the removed ones are told.
    Remove {
        /// Names of runs, or digests, or their first digits.
        names: Vec<String>,
        /// Also what a named run was made from; none of that name is no error.
        force: bool,
    },
}

/// What answers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RootFsAnswer {
    pub kept: Vec<Kept>,
    /// Why others were not removed, one sentence each.
    pub failures: Vec<String>,
}

/// How it came to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "host", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum KeptKind {
    /// The changes of `nsvm run --name`.
    Named,
    /// Sent by `nsvm run --rootfs`.
    Sent,
}

/// One of them. Keys are written as podman writes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "host", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase")]
pub struct Kept {
    /// The run's name, or the digest of what was sent.
    pub name: String,
    pub kind: KeptKind,
    /// What a named one was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Seconds since 1970, by the guest's clock.
    pub created: i64,
    /// Bytes on the guest's disk.
    pub size: u64,
    /// A program runs on it.
    pub in_use: bool,
    /// The named ones that were made from it.
    #[serde(default)]
    pub used_by: Vec<String>,
}

impl Kept {
    /// Whether nobody would miss it: what was sent is sent again when needed.
    pub fn can_be_pruned(&self) -> bool {
        self.kind == KeptKind::Sent && !self.in_use && self.used_by.is_empty()
    }
}

/// The one that is meant by `text`: a name, a digest, or the first digits of
/// only one.
pub fn find<'a>(all: &'a [Kept], text: &str) -> Result<&'a Kept, FindError> {
    if let Some(exact) = all.iter().find(|kept| kept.name == text) {
        return Ok(exact);
    }
    let short = |kept: &&Kept| kept.kind == KeptKind::Sent && kept.name.starts_with(text);
    let mut found = all.iter().filter(short);
    match (found.next(), found.next()) {
        _ if text.is_empty() => Err(FindError::None(text.to_owned())),
        (None, _) => Err(FindError::None(text.to_owned())),
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => Err(FindError::Several(text.to_owned())),
    }
}

/// Why nothing is meant by a text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    #[error("no root file system \"{0}\" is kept; `nsvm rootfs list` shows all")]
    None(String),
    #[error("the digests of several root file systems begin with \"{0}\": give more of it")]
    Several(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(name: &str, kind: KeptKind) -> Kept {
        let name = name.to_owned();
        let used_by = vec![];
        Kept { name, kind, from: None, created: 0, size: 0, in_use: false, used_by }
    }

    #[test]
    fn names_are_whole_and_digests_may_be_short() {
        let sent = [&"ab".repeat(32), &"ac".repeat(32), "a"].map(|n| kept(n, KeptKind::Sent));
        let all =
            [&sent[..2], &[kept("abc", KeptKind::Named), kept("ac", KeptKind::Named)]].concat();
        let name = |text| {
            find(&all, text).map(|kept| kept.name[..2].to_owned() + &kept.name.len().to_string())
        };
        assert_eq!(name("abab").as_deref(), Ok("ab64"));
        assert_eq!(name("abc").as_deref(), Ok("ab3"));
        assert_eq!(name("ac").as_deref(), Ok("ac2"), "a whole name comes first");
        assert_eq!(name("a"), Err(FindError::Several("a".into())));
        for none in ["", "ab-", "web", "b"] {
            assert_eq!(name(none), Err(FindError::None(none.into())));
        }
    }

    #[test]
    fn only_what_can_come_again_is_pruned() {
        let sent = kept("a", KeptKind::Sent);
        assert!(sent.can_be_pruned());
        assert!(!Kept { in_use: true, ..sent.clone() }.can_be_pruned());
        assert!(!Kept { used_by: vec!["web".into()], ..sent }.can_be_pruned());
        assert!(!kept("web", KeptKind::Named).can_be_pruned());
    }
}
