//! The recipes, embedded. A new file of a recipe is one more name here; a test
//! compares the names with the directory.

use crate::image::hashing::digest_of;

/// Name and content of each file.
pub type Files = &'static [(&'static str, &'static str)];

macro_rules! embedded {
    ($directory:literal: $($name:literal)*) => {
        &[$(($name, include_str!(concat!("../../../images/", $directory, "/", $name)))),*]
    };
}

const DEBIAN_LOCAL: Files = embedded!("debian-local":
    "build.sh"
    "config.sh"
    "disk.sh"
    "grub.cfg"
    "host-packages.txt"
    "init"
    "initramfs.sh"
    "kernel.sh"
    "modules.txt"
    "packages.txt"
    "root.sh"
    "units.sh"
);

/// The recipe of an image of the catalog.
pub fn of(image: &str) -> Option<Files> {
    match image {
        "debian-local" => Some(DEBIAN_LOCAL),
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
    use std::path::Path;

    use super::*;
    use crate::image::catalog::{Catalog, Kind};

    #[test]
    fn every_recipe_of_the_catalog_is_embedded_whole() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("images");
        for entry in Catalog::embedded().images.iter().filter(|entry| entry.kind == Kind::Recipe) {
            let files = of(&entry.name).unwrap();
            let mut names: Vec<String> = std::fs::read_dir(root.join(&entry.name))
                .unwrap()
                .map(|found| found.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            let embedded: Vec<&str> = files.iter().map(|&(name, _)| name).collect();
            assert_eq!(embedded, names, "{}", entry.name);
            assert!(embedded.contains(&"build.sh"));
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
