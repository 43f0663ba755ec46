//! The recipes, embedded. A new file of a recipe is one more name here; a test
//! compares the names with the directory.

use crate::image::hashing::digest_of;

/// Name and content of each file.
pub type Files = &'static [(&'static str, &'static str)];

macro_rules! embedded {
    ($($directory:literal: $($name:literal)*;)*) => {
        &[$($(($name, include_str!(concat!("../../../images/", $directory, "/", $name)))),*),*]
    };
}

/// The files that all recipes share; those that say what runs in the image, of
/// `$system`, and those that say how it is provisioned, of `$own`. Their order is
/// part of the digest: another one means that everybody builds anew.
macro_rules! recipe {
    ($system:literal, $own:literal) => {
        embedded!(
            "debian-local":
                "arguments.txt" "build.sh" "config.sh" "disk.sh" "grub.cfg" "host-packages.txt" "init";
            $system:
                "early";
            "debian-local":
                "initramfs.sh" "kept.sh" "kernel.sh" "modules.txt";
            $system:
                "packages.txt";
            "debian-local":
                "root.sh";
            $system:
                "system.args" "units.sh";
            $own:
                "provisioner.args" "provisioner.sh" "provisioner.txt";
        )
    };
}

const DEBIAN_LOCAL: Files = recipe!("debian-local", "debian-local");
const DEBIAN_LOCAL_CLOUD: Files = recipe!("debian-local", "debian-local-cloud");
const MICRO: Files = recipe!("micro", "debian-local");

/// The recipe of an image of the catalog.
pub fn of(image: &str) -> Option<Files> {
    match image {
        "debian-local" => Some(DEBIAN_LOCAL),
        "debian-local-cloud" => Some(DEBIAN_LOCAL_CLOUD),
        "micro" => Some(MICRO),
        _ => None,
    }
}

/// Changes whenever a build may give something else.
pub fn digest(files: Files) -> String {
    let parts: Vec<String> = files
        .iter()
        .map(|(name, text)| format!("{name} {} {}\n", text.len(), digest_of(text.as_bytes())))
        .collect();
    digest_of(parts.concat().as_bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs::{self, DirEntry};
    use std::io;
    use std::path::Path;

    use super::*;
    use crate::image::catalog::{Catalog, Kind};

    /// Names and contents of `images/NAME/`.
    fn on_disk(image: &str) -> BTreeMap<String, String> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("images").join(image);
        let read = |found: io::Result<DirEntry>| {
            let found = found.unwrap();
            let text = fs::read_to_string(found.path()).unwrap();
            (found.file_name().into_string().unwrap(), text)
        };
        fs::read_dir(dir).unwrap().map(read).collect()
    }

    #[test]
    fn every_recipe_of_the_catalog_is_embedded_whole() {
        for entry in Catalog::embedded().images.iter().filter(|entry| entry.kind == Kind::Recipe) {
            let mut wanted = on_disk("debian-local");
            wanted.extend(on_disk(&entry.name));
            let embedded = of(&entry.name).unwrap().iter();
            let embedded: BTreeMap<String, String> =
                embedded.map(|&(name, text)| (name.to_owned(), text.to_owned())).collect();
            assert_eq!(embedded, wanted, "{}", entry.name);
            assert!(embedded.contains_key("build.sh"));
        }
    }

    #[test]
    fn the_digest_knows_names_and_contents() {
        let base = digest(&[("a", "1"), ("b", "2")]);
        assert_eq!(base, digest(&[("a", "1"), ("b", "2")]));
        assert_ne!(base, digest(&[("a", "1"), ("c", "2")]));
        assert_ne!(base, digest(&[("a", "1"), ("b", "3")]));
    }
}
