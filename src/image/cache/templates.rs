//! The templates in the cache: guests that were frozen after their first boot.
//!
//! ```text
//! <cache>/template-DIGEST.work/        being made, under that lock
//! <cache>/templates/DIGEST/            whole; only its owner may look into it
//!     template.json memory devices disk.qcow2
//! <cache>/templates/DIGEST.refused     why there is none of this shape
//! ```
//!
//! A template is never written again, and nothing depends on it: machines have a
//! copy of its disk, and go on when the memory's file has lost its name.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::left_overs::allocated;
use super::{Cache, Key, Lock};
use crate::fs::{Access, remove_if_there, sync_dir, write_atomic};
use crate::host;
use crate::machine::template::{Template, VERSION, Written};

/// So many stay, the newest: each takes some hundred MiB.
const KEPT: usize = 4;

/// The files of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateFiles(PathBuf);

impl TemplateFiles {
    /// Below a directory that is a template's, or will be.
    pub fn below(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    pub fn dir(&self) -> &Path {
        &self.0
    }

    pub fn header(&self) -> PathBuf {
        self.0.join("template.json")
    }

    pub fn memory(&self) -> PathBuf {
        self.0.join("memory")
    }

    pub fn devices(&self) -> PathBuf {
        self.0.join("devices")
    }

    pub fn disk(&self) -> PathBuf {
        self.0.join("disk.qcow2")
    }

    /// Returns when they are safe on the disk, the header apart.
    pub fn sync(&self) -> io::Result<()> {
        for file in [self.memory(), self.devices(), self.disk()] {
            // Windows flushes only what is open for writing.
            fs::File::options().write(true).open(file)?.sync_all()?;
        }
        Ok(())
    }
}

/// One that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundTemplate {
    pub digest: String,
    pub what: TemplateState,
    /// That it takes on the disk.
    pub bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateState {
    Whole(Box<Template>),
    /// It cannot be used, or could not be made: why.
    Refused(String),
}

/// A template that is being made; nobody else makes it meanwhile.
#[derive(Debug)]
pub struct Making<'a> {
    cache: &'a Cache,
    digest: String,
    work: PathBuf,
    _lock: Lock,
}

impl Cache {
    /// The template of this name, if it is whole and what it was when it was
    /// finished; else the reason, where it is worth a word.
    pub fn template(&self, digest: &str) -> Result<(Template, TemplateFiles), Option<String>> {
        let dir = self.templates_dir();
        if let Ok(reason) = fs::read_to_string(self.refusal(digest)) {
            return Err(Some(reason));
        }
        let files = TemplateFiles::below(&dir.join(digest));
        if !files.header().exists() {
            return Err(None);
        }
        // Whoever can write there could make any guest of ours theirs.
        host::create_private_dir(&dir).map_err(|e| Some(e.to_string()))?;
        match whole(&files) {
            Ok(template) => Ok((template, files)),
            Err(e) => Err(Some(e.to_string())),
        }
    }

    /// All of them, in the order of their names.
    pub fn templates(&self) -> Vec<FoundTemplate> {
        let entries = fs::read_dir(self.templates_dir()).into_iter().flatten().flatten();
        let mut found: Vec<FoundTemplate> =
            entries.filter_map(|entry| found(&entry.path())).collect();
        found.sort_by(|a, b| a.digest.cmp(&b.digest));
        found
    }

    /// Begins to make one; `None` where somebody does so already.
    pub fn make_template(&self, digest: &str) -> io::Result<Option<Making<'_>>> {
        let key = Key(format!("template-{digest}"));
        let Some(lock) = Lock::try_acquire(&self.lock_path(&key.0))? else { return Ok(None) };
        host::create_private_dir(&self.templates_dir())?;
        let work = self.work(&key);
        remove_if_there(&work)?;
        host::create_private_dir(&work)?;
        Ok(Some(Making { cache: self, digest: digest.to_owned(), work, _lock: lock }))
    }

    /// Says that there is none of this shape, and why, so that nobody tries
    /// again in vain; one that was there goes.
    pub fn refuse_template(&self, digest: &str, reason: &str) -> io::Result<()> {
        write_atomic(&self.refusal(digest), reason.as_bytes(), Access::Owner)?;
        remove_if_there(&self.templates_dir().join(digest))
    }

    /// Removes what is there of it. Guests that began on it go on.
    pub fn remove_template(&self, digest: &str) -> io::Result<()> {
        remove_if_there(&self.refusal(digest))?;
        remove_if_there(&self.templates_dir().join(digest))
    }

    /// Removes those upon this base: they are worth nothing without.
    pub(super) fn remove_templates_of(&self, sha256: &str) -> io::Result<()> {
        for found in self.templates() {
            match found.what {
                TemplateState::Whole(template) if template.shape.image_sha256 != sha256 => {}
                _ => self.remove_template(&found.digest)?,
            }
        }
        Ok(())
    }

    pub(super) fn templates_dir(&self) -> PathBuf {
        self.dir.join("templates")
    }

    fn refusal(&self, digest: &str) -> PathBuf {
        self.templates_dir().join(format!("{digest}.refused"))
    }
}

impl Making<'_> {
    /// A directory for what is needed meanwhile.
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// Makes the files in `finished`, below the work directory, the template.
    /// They are safe on the disk already; the header comes last. Those that it supersedes go.
    pub fn publish(&self, finished: &TemplateFiles, template: &Template) -> io::Result<()> {
        let header = serde_json::to_vec_pretty(template).map_err(io::Error::from)?;
        write_atomic(&finished.header(), &header, Access::Owner)?;
        let place = self.cache.templates_dir().join(&self.digest);
        remove_if_there(&place)?;
        fs::rename(finished.dir(), &place)?;
        sync_dir(&self.cache.templates_dir())?;
        self.cache.remove_superseded(template)
    }
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        let _ = crate::fs::remove(&self.work);
    }
}

impl Cache {
    fn remove_superseded(&self, by: &Template) -> io::Result<()> {
        let mut others = Vec::new();
        for found in self.templates() {
            match found.what {
                TemplateState::Whole(other) if by.supersedes(&other) => {
                    self.remove_template(&found.digest)?;
                }
                TemplateState::Whole(other) => others.push((other.made, found.digest)),
                TemplateState::Refused(_) => {}
            }
        }
        others.sort();
        let old = others.len().saturating_sub(KEPT);
        others[..old].iter().try_for_each(|(_, digest)| self.remove_template(digest))
    }
}

/// The present state of a file.
pub fn written(path: &Path) -> io::Result<Written> {
    let found = fs::metadata(path)?;
    let since = found.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let modified = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
    Ok(Written { length: found.len(), modified })
}

fn whole(files: &TemplateFiles) -> io::Result<Template> {
    let template: Template = serde_json::from_slice(&fs::read(files.header())?)?;
    if template.version != VERSION {
        let text = format!("it has the form {}, this nsvm reads {VERSION}", template.version);
        return Err(io::Error::other(text));
    }
    for (path, was) in [(files.memory(), template.memory), (files.disk(), template.disk)] {
        if written(&path)? != was {
            return Err(io::Error::other(format!("\"{}\" was written to", path.display())));
        }
    }
    Ok(template)
}

fn found(path: &Path) -> Option<FoundTemplate> {
    let name = path.file_name()?.to_str()?;
    let bytes = allocated(path);
    if let Some(digest) = name.strip_suffix(".refused") {
        let what = TemplateState::Refused(fs::read_to_string(path).ok()?);
        return Some(FoundTemplate { digest: digest.to_owned(), what, bytes });
    }
    if !path.is_dir() {
        return None;
    }
    let what = match whole(&TemplateFiles::below(path)) {
        Ok(template) => TemplateState::Whole(Box::new(template)),
        Err(e) => TemplateState::Refused(e.to_string()),
    };
    Some(FoundTemplate { digest: name.to_owned(), what, bytes })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::machine::suspended::{Hardware, Memory};
    use crate::machine::template::Shape;
    use crate::machine::units::GiB;

    fn template(files: &TemplateFiles, agent: &str, made: i64) -> Template {
        let hardware = Hardware { keeps_memory: true, ..Hardware::example() };
        Template {
            version: VERSION,
            made: Timestamp::from_second(made).unwrap(),
            image: "i".into(),
            username: "core".into(),
            shape: Shape {
                hardware,
                image_sha256: "base".into(),
                disk_size: GiB(12),
                guest_sha256: String::new(),
                agent_sha256: agent.into(),
                environment_sha256: String::new(),
            },
            memory: written(&files.memory()).unwrap(),
            disk: written(&files.disk()).unwrap(),
            devices: Memory { length: 1 },
        }
    }

    fn make(cache: &Cache, agent: &str, image: &str, made: i64) -> String {
        let digest = format!("digest-{agent}-{image}");
        let making = cache.make_template(&digest).unwrap().expect("nobody else makes it");
        assert!(cache.make_template(&digest).unwrap().is_none(), "one at a time");
        let files = TemplateFiles::below(&making.work().join("x"));
        fs::create_dir(files.dir()).unwrap();
        for file in [files.memory(), files.devices(), files.disk()] {
            fs::write(file, b"x").unwrap();
        }
        files.sync().unwrap();
        let template = Template { image: image.into(), ..template(&files, agent, made) };
        assert_eq!(cache.template(&digest), Err(None));
        making.publish(&files, &template).unwrap();
        let work = making.work().to_owned();
        drop(making);
        assert!(!work.exists());
        digest
    }

    fn cache() -> (tempfile::TempDir, Cache) {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        (dir, cache)
    }

    fn names(cache: &Cache) -> Vec<String> {
        cache.templates().into_iter().map(|found| found.digest).collect()
    }

    #[test]
    fn one_is_there_when_it_is_whole_until_it_is_removed() {
        let (_dir, cache) = cache();
        let digest = make(&cache, "a", "i", 1);
        let (template, files) = cache.template(&digest).unwrap();
        assert_eq!(template.shape.agent_sha256, "a");
        assert_eq!(fs::read(files.memory()).unwrap(), b"x");
        // What killed makers leave is known to everybody who tidies up.
        assert!(cache.left_overs(false).is_empty());
        assert_eq!(cache.left_overs(true).len(), 1);
        cache.remove_template(&digest).unwrap();
        assert_eq!(cache.template(&digest), Err(None));
        assert_eq!(names(&cache), Vec::<String>::new());
    }

    #[test]
    fn one_that_was_written_to_is_not_used() {
        let (_dir, cache) = cache();
        let digest = make(&cache, "a", "i", 1);
        let (_, files) = cache.template(&digest).unwrap();
        fs::write(files.disk(), b"y").unwrap();
        let why = cache.template(&digest).unwrap_err().unwrap();
        assert!(why.contains("disk.qcow2\" was written to"), "{why}");
    }

    #[test]
    fn a_refusal_is_remembered_until_it_is_removed() {
        let (_dir, cache) = cache();
        let digest = make(&cache, "a", "i", 1);
        cache.refuse_template(&digest, "no port").unwrap();
        assert_eq!(cache.template(&digest), Err(Some("no port".into())));
        let refused = TemplateState::Refused("no port".into());
        assert_eq!(cache.templates()[0].what, refused);
        cache.remove_template(&digest).unwrap();
        assert_eq!(cache.template(&digest), Err(None));
    }

    #[test]
    fn old_ones_make_room_and_those_of_a_base_go_with_it() {
        let (_dir, cache) = cache();
        make(&cache, "a", "i", 1);
        let newer = make(&cache, "b", "i", 2);
        assert_eq!(names(&cache), [newer.as_str()], "the older agent's has had its day");
        let others: Vec<String> =
            (3..7).map(|at| make(&cache, "b", &format!("i{at}"), at)).collect();
        assert_eq!(names(&cache), others, "and so has the oldest of too many");
        cache.remove_templates_of("another").unwrap();
        assert_eq!(names(&cache).len(), 4);
        cache.remove_templates_of("base").unwrap();
        assert!(names(&cache).is_empty());
    }

    #[test]
    fn what_a_killed_maker_left_is_swept() {
        let (_dir, cache) = cache();
        let making = cache.make_template("d").unwrap().unwrap();
        fs::write(making.work().join("memory"), b"x").unwrap();
        assert!(cache.left_overs(false).is_empty(), "somebody works on it");
        let left = making.work().with_file_name("template-killed.work");
        fs::create_dir_all(&left).unwrap();
        let found = cache.left_overs(false);
        assert_eq!(found.iter().map(|left| &left.path).collect::<Vec<_>>(), [&left]);
        drop(making);
    }
}
