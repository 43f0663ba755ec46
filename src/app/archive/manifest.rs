//! What is in an archive of a machine, and whether it came through whole.

use serde::{Deserialize, Serialize};

/// The format that this program writes; newer ones are refused.
pub const VERSION: u32 = 1;

const FORMAT: &str = "nsvm-machine";

/// The last file of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Manifest {
    pub format: String,
    pub version: u32,
    pub files: Vec<Entry>,
}

/// One file before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Entry {
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Lower-case hex.
    #[serde(rename = "SHA256")]
    pub sha256: String,
}

impl Manifest {
    pub fn new(files: Vec<Entry>) -> Self {
        Self { format: FORMAT.to_owned(), version: VERSION, files }
    }

    /// Why what was found is not what was written.
    pub fn differs(&self, found: &[Entry]) -> Option<String> {
        if self.format != FORMAT {
            return Some("it is no archive of a machine".to_owned());
        }
        if self.version > VERSION {
            let newer = self.version;
            return Some(format!("it has version {newer}; this nsvm reads up to {VERSION}"));
        }
        for wanted in &self.files {
            let name = &wanted.name;
            match found.iter().find(|one| one.name == *name) {
                None => return Some(format!("\"{name}\" is missing in it")),
                Some(one) if one != wanted => {
                    return Some(format!("\"{name}\" in it is damaged (its SHA-256 differs)"));
                }
                Some(_) => {}
            }
        }
        let extra = found.iter().find(|one| self.files.iter().all(|f| f.name != one.name));
        extra.map(|one| format!("\"{}\" in it was not written by nsvm", one.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, sha256: &str) -> Entry {
        Entry { name: name.into(), size: 1, sha256: sha256.into() }
    }

    #[test]
    fn each_file_is_there_as_it_was_written_and_no_other() {
        let manifest = Manifest::new(vec![entry("a", "00"), entry("b", "11")]);
        let differs = |found: &[Entry]| manifest.differs(found).unwrap_or_default();
        assert_eq!(manifest.differs(&[entry("b", "11"), entry("a", "00")]), None);
        assert!(differs(&[entry("a", "00")]).contains("\"b\" is missing"));
        assert!(differs(&[entry("a", "00"), entry("b", "12")]).contains("\"b\" in it is damaged"));
        let more = [entry("a", "00"), entry("b", "11"), entry("c", "")];
        assert!(differs(&more).contains("\"c\" in it was not written"));
    }

    #[test]
    fn a_newer_format_is_refused() {
        let newer = Manifest { version: VERSION + 1, ..Manifest::new(vec![]) };
        assert!(newer.differs(&[]).unwrap().contains("version 2"));
        let other = Manifest { format: "x".into(), ..Manifest::new(vec![]) };
        assert!(other.differs(&[]).unwrap().contains("no archive"));
    }
}
