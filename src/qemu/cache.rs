//! What was learnt about QEMU programs on this host, kept between runs so that
//! only the first start after a boot pays for probes. Losing the file costs
//! those probes and nothing else, so one that cannot be read is an empty one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::accel::Candidate;
use super::version::Version;
use crate::fs::{Access, write_atomic};

/// Files of another schema are ignored.
const SCHEMA: u32 = 2;

/// How long a rejection holds, for the host may have been busy or another
/// hypervisor in the way; and any answer where the host has no boot id
/// (Windows).
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Which program an answer is about: an upgrade changes one of the three.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Identity {
    pub path: PathBuf,
    /// Modification time in nanoseconds since 1970.
    pub modified: u64,
    pub size: u64,
}

impl Identity {
    pub fn of(path: &Path) -> io::Result<Self> {
        let found = fs::metadata(path)?;
        let since = found.modified()?.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let modified = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        Ok(Self { path: path.to_owned(), modified, size: found.len() })
    }
}

/// What a program says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Features {
    pub version: Version,
    /// Whether it was built with seccomp, i.e. knows `-sandbox`.
    pub sandbox: bool,
    /// Whether it has the machine type microvm.
    pub microvm: bool,
}

/// How a probe VM fared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It did its work and ended, in so many milliseconds.
    Works { millis: u64 },
    /// It did not, for this reason.
    Fails { reason: String },
    /// It was still at work when it was stopped, twice.
    Slow { reason: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Program {
    identity: Identity,
    features: Features,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    identity: Identity,
    candidate: Candidate,
    boot: Option<String>,
    /// Seconds since 1970.
    at: u64,
    verdict: Verdict,
}

/// The cache's content. Changes stay in memory until [`Cache::save`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Cache {
    schema: u32,
    programs: Vec<Program>,
    answers: Vec<Answer>,
    #[serde(skip)]
    changed: bool,
}

impl Default for Cache {
    fn default() -> Self {
        Self { schema: SCHEMA, programs: Vec::new(), answers: Vec::new(), changed: false }
    }
}

impl Cache {
    pub fn load(path: &Path) -> Self {
        let read =
            fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        read.filter(|cache| cache.schema == SCHEMA).unwrap_or_default()
    }

    /// Writes the file if anything was learnt since it was read.
    pub fn save(&mut self, path: &Path) -> io::Result<()> {
        if self.changed {
            write_atomic(path, &serde_json::to_vec_pretty(self)?, Access::Default)?;
            self.changed = false;
        }
        Ok(())
    }

    pub fn features(&self, identity: &Identity) -> Option<Features> {
        self.programs.iter().find(|known| known.identity == *identity).map(|known| known.features)
    }

    /// Keeps `features`, and forgets what was known of that path before.
    pub fn learn_features(&mut self, identity: &Identity, features: Features) {
        self.programs.retain(|known| known.identity.path != identity.path);
        self.programs.push(Program { identity: identity.clone(), features });
        self.changed = true;
    }

    /// Forgets why accelerators were rejected, so that they are tried again.
    pub fn forget_rejections(&mut self) {
        self.answers.retain(|known| matches!(known.verdict, Verdict::Works { .. }));
        self.changed = true;
    }

    /// The answer for a candidate, unless the host booted or it is too old.
    pub fn verdict(&self, asked: &Asked<'_>, candidate: &Candidate) -> Option<&Verdict> {
        let known = self.answers.iter().find(|known| {
            known.identity == *asked.identity
                && known.candidate == *candidate
                && known.boot.as_deref() == asked.boot
        })?;
        still_holds(known, asked.now).then_some(&known.verdict)
    }

    /// Keeps a verdict; answers about an earlier program at that path go.
    pub fn learn(&mut self, asked: &Asked<'_>, candidate: &Candidate, verdict: Verdict) {
        self.answers.retain(|known| {
            known.identity.path != asked.identity.path
                || (known.identity == *asked.identity && known.candidate != *candidate)
        });
        self.answers.push(Answer {
            identity: asked.identity.clone(),
            candidate: candidate.clone(),
            boot: asked.boot.map(str::to_owned),
            at: seconds(asked.now),
            verdict,
        });
        self.changed = true;
    }
}

/// What an answer depends on beside the candidate.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub identity: &'a Identity,
    /// The host's boot id, where it has one.
    pub boot: Option<&'a str>,
    pub now: SystemTime,
}

fn still_holds(known: &Answer, now: SystemTime) -> bool {
    let age = seconds(now).checked_sub(known.at).map(Duration::from_secs);
    // `None`: the clock went back, so the age is unknown.
    let fresh = age.is_some_and(|age| age < DAY);
    let works = matches!(known.verdict, Verdict::Works { .. });
    fresh || (works && known.boot.is_some())
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::config::Arch;

    const BOOT: Option<&str> = Some("boot-1");

    fn identity(size: u64) -> Identity {
        Identity { path: "/usr/bin/qemu-system-x86_64".into(), modified: 1, size }
    }

    fn at(hours: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + hours * 3600)
    }

    fn slow() -> Verdict {
        Verdict::Slow { reason: "too slow".into() }
    }

    #[test]
    fn an_answer_holds_for_its_program_and_boot_only() {
        let tcg = Candidate::tcg(Arch::X86_64);
        let (old, new) = (identity(1), identity(2));
        let mut cache = Cache::default();
        let asked = Asked { identity: &old, boot: BOOT, now: at(0) };
        cache.learn(&asked, &tcg, Verdict::Works { millis: 5 });
        let later = Asked { now: at(1000), ..asked };
        assert_eq!(cache.verdict(&later, &tcg), Some(&Verdict::Works { millis: 5 }));
        assert_eq!(cache.verdict(&Asked { boot: Some("boot-2"), ..asked }, &tcg), None);
        assert_eq!(cache.verdict(&Asked { identity: &new, ..asked }, &tcg), None);
        assert_eq!(cache.verdict(&asked, &Candidate::tcg(Arch::Aarch64)), None);
    }

    #[test]
    fn a_rejection_is_forgotten_after_a_day() {
        let tcg = Candidate::tcg(Arch::X86_64);
        let identity = identity(1);
        let asked = Asked { identity: &identity, boot: BOOT, now: at(0) };
        for rejection in [slow(), Verdict::Fails { reason: "no".into() }] {
            let mut cache = Cache::default();
            cache.learn(&asked, &tcg, rejection.clone());
            assert_eq!(cache.verdict(&Asked { now: at(23), ..asked }, &tcg), Some(&rejection));
            assert_eq!(cache.verdict(&Asked { now: at(25), ..asked }, &tcg), None);
        }
    }

    #[test]
    fn without_a_boot_id_everything_is_forgotten_after_a_day() {
        let tcg = Candidate::tcg(Arch::X86_64);
        let identity = identity(1);
        let asked = Asked { identity: &identity, boot: None, now: at(0) };
        let mut cache = Cache::default();
        cache.learn(&asked, &tcg, Verdict::Works { millis: 5 });
        assert!(cache.verdict(&Asked { now: at(23), ..asked }, &tcg).is_some());
        assert!(cache.verdict(&Asked { now: at(25), ..asked }, &tcg).is_none());
    }

    #[test]
    fn an_upgraded_program_replaces_what_was_known() {
        let (old, new) = (identity(1), identity(2));
        let features = Features { version: Version::new(7, 2, 0), sandbox: true, microvm: true };
        let tcg = Candidate::tcg(Arch::X86_64);
        let mut cache = Cache::default();
        for identity in [&old, &new] {
            cache.learn_features(identity, features);
            let asked = Asked { identity, boot: BOOT, now: at(0) };
            cache.learn(&asked, &tcg, slow());
        }
        assert_eq!(cache.features(&old), None);
        assert_eq!(cache.features(&new), Some(features));
        assert_eq!((cache.programs.len(), cache.answers.len()), (1, 1));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_an_empty_cache() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/accelerators.json");
        assert_eq!(Cache::load(&path), Cache::default());
        let mut cache = Cache::default();
        let features = Features { version: Version::new(9, 0, 1), sandbox: false, microvm: false };
        cache.learn_features(&identity(1), features);
        cache.save(&path).unwrap();
        assert_eq!(Cache::load(&path), cache);
        for broken in ["", "{", "[]", "{\"Schema\": 99, \"Programs\": [], \"Answers\": []}"] {
            fs::write(&path, broken).unwrap();
            assert_eq!(Cache::load(&path), Cache::default(), "{broken}");
        }
    }
}
