//! Imports go down the layers only (DESIGN: layers).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Every module below `src/` and its layer.
const LAYERS: [(&str, u8); 18] = [
    ("fs", 0),
    ("host", 0),
    ("machine", 1),
    ("namespace", 1),
    ("protocol", 1),
    ("control", 2),
    ("image", 2),
    ("link", 2),
    ("options", 2),
    ("provision", 2),
    ("qemu", 2),
    ("settings", 2),
    ("store", 2),
    ("app", 3),
    ("supervisor", 3),
    ("agent", 3),
    ("cli", 4),
    ("bin", 4),
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|suffix| suffix == "rs") {
            found.push(path);
        }
    }
}

/// The modules that a source names by `crate::NAME` or `nsvm::NAME`.
fn imports(text: &str) -> Vec<&str> {
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or(line));
    lines
        .flat_map(|line| line.split("crate::").skip(1).chain(line.split("nsvm::").skip(1)))
        .map(|rest| rest.split(|c: char| !c.is_ascii_lowercase() && c != '_').next().unwrap_or(""))
        .collect()
}

#[test]
fn imports_go_down_only() {
    let layers: BTreeMap<_, _> = LAYERS.into_iter().collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut wrong = Vec::new();
    let mut checked = 0;
    for file in files {
        let inner = file.strip_prefix(&root).unwrap();
        let first = inner.components().next().unwrap().as_os_str().to_str().unwrap();
        let Some(own) = layers.get(first) else {
            assert!(matches!(first, "main.rs" | "lib.rs"), "{first} has no layer");
            continue;
        };
        let text = fs::read_to_string(&file).unwrap();
        for import in imports(&text) {
            if let Some(other) = layers.get(import) {
                checked += 1;
                if other > own {
                    wrong.push(format!("{} imports {import}", inner.display()));
                }
            }
        }
    }
    assert!(checked > 100, "only {checked} imports were found: is the search broken?");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn unsafe_code_stays_where_a_kernel_is_talked_to() {
    /// The link's file registers a socket with the kernel's poller.
    const ALLOWED: [&str; 3] = ["host/", "agent/sys", "link/pump.rs"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        if text.contains("allow(unsafe_code)") {
            let inner = file.strip_prefix(&root).unwrap().to_str().unwrap();
            assert!(ALLOWED.iter().any(|allowed| inner.starts_with(allowed)), "{inner}");
        }
    }
}

/// Lines of a source that ask for an operating system and do more by it than
/// choose a file.
fn asks_for_a_system(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let asks = |line: &str| line.contains("target_os") && !line.starts_with("//");
    let chooses_a_file = |after: &[&str]| {
        let item = after.iter().find(|line| !line.starts_with("#["));
        let words: Vec<&str> = item.into_iter().flat_map(|line| line.split(' ')).collect();
        let (visible, item) = match words[..] {
            ["pub", item, ..] => (true, item),
            [item, ..] => (false, item),
            [] => return false,
        };
        item == "mod" || (visible && item == "use")
    };
    let wrong = (0..lines.len()).filter(|&at| {
        asks(lines[at]) && !(lines[at].starts_with("#[cfg(") && chooses_a_file(&lines[at + 1..]))
    });
    wrong.map(|at| lines[at]).collect()
}

#[test]
fn systems_differ_by_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    for file in files {
        let inner = file.strip_prefix(&root).unwrap();
        if inner.starts_with("host") || inner.starts_with("agent") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let wrong = asks_for_a_system(&text);
        assert!(wrong.is_empty(), "{}: {wrong:#?}", inner.display());
    }
}

#[test]
fn the_search_for_systems_finds_them() {
    let lines = asks_for_a_system(
        "#[cfg(target_os = \"linux\")]\npub mod agent;\n\
         #[cfg(not(target_os = \"linux\"))]\n#[path = \"x.rs\"]\nmod agent;\n\
         #[cfg(target_os = \"macos\")]\npub use macos::*;\n\
         #[cfg(target_os = \"macos\")]\nfn f() {}\n\
         if cfg!(target_os = \"windows\") {}\n",
    );
    let wrong = ["#[cfg(target_os = \"macos\")]", "if cfg!(target_os = \"windows\") {}"];
    assert_eq!(lines, wrong);
}
