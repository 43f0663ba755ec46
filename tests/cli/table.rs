//! docs/podman.md and docs/contract.md: what they say is there.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::Home;

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn page() -> String {
    fs::read_to_string(at("docs/podman.md")).unwrap()
}

fn contract() -> String {
    fs::read_to_string(at("docs/contract.md")).unwrap()
}

/// Rows of tables, without what stands above them.
fn rows(page: &str) -> impl Iterator<Item = &str> {
    let heads = ["|--", "| podman |", "| promise |"];
    let row =
        move |line: &&str| line.starts_with('|') && !heads.iter().any(|h| line.starts_with(h));
    page.lines().filter(row)
}

/// The file of a module, below the directory of its sources.
fn module(below: &str, path: &str) -> PathBuf {
    let stem = format!("{below}/{}", path.replace("::", "/"));
    let files = [at(&format!("{stem}.rs")), at(&format!("{stem}/mod.rs"))];
    files.into_iter().find(|file| file.is_file()).unwrap_or_default()
}

/// What stands between backticks.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn cells(row: &str) -> Vec<&str> {
    row.trim_matches('|').split('|').map(str::trim).collect()
}

/// All that stands beside a story.
fn stories(file: &Path) -> String {
    let dir = fs::read_dir(file.parent().unwrap()).unwrap();
    let files = dir.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    files.map(|path| fs::read_to_string(path).unwrap()).collect()
}

#[test]
fn every_test_that_the_tables_name_is_there() {
    let pages = page() + &contract();
    let mut found = 0;
    for row in rows(&pages) {
        for named in spans(cells(row).last().unwrap()) {
            let Some((binary, path)) = named.split_once(' ') else { panic!("{named}: {row}") };
            let (path, test) = path.rsplit_once("::").unwrap();
            let below = if binary == "lib" { "src".to_owned() } else { format!("tests/{binary}") };
            let file = module(&below, path);
            let source = fs::read_to_string(&file).unwrap_or_default();
            assert!(source.contains(&format!("fn {test}(")), "{named} is not there: {row}");
            if binary == "vm" {
                let told = stories(&file).contains(&format!("{path}::{test}"))
                    || source.matches(test).count() > 1;
                assert!(told, "nobody tells {named}");
            }
            found += 1;
        }
    }
    assert!(found > 150, "{found}");
}

#[test]
fn every_place_that_the_contract_names_is_there() {
    let page = contract();
    let mut found = 0;
    for row in rows(&page) {
        let cells = cells(row);
        for named in cells[1..cells.len() - 1].iter().flat_map(|cell| spans(cell)) {
            assert!(module("src", named).is_file(), "there is no {named}: {row}");
            found += 1;
        }
    }
    assert!(found > 40, "{found}");
}

#[test]
fn every_option_that_the_table_names_is_taken() {
    let home = Home::new();
    let mut help = None;
    let mut checked = 0;
    for line in page().lines() {
        if let Some(verb) = line.strip_prefix("## ") {
            let known = verb.chars().all(|c| c.is_ascii_lowercase() || c == '-');
            help = known.then(|| home.run(["machine", verb, "--help"]).exits(0).stdout());
        }
        let Some(help) = help.as_ref().filter(|_| line.starts_with("| ")) else { continue };
        for option in spans(cells(line)[1]).filter(|span| span.starts_with("--") && span.len() > 2)
        {
            assert!(help.contains(option), "{option} is not in\n{help}");
            checked += 1;
        }
    }
    assert!(checked > 25, "{checked}");
}

/// The source of a test's file, `BINARY MODULE::TEST`.
fn source(named: &str) -> String {
    let (file, _) = named.split_once("::").unwrap_or_default();
    let path = format!("tests/{}.rs", file.replace(' ', "/"));
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap_or_default()
}

/// An option that no test of its row types is not proven by them.
#[test]
fn every_option_that_the_table_names_is_typed_by_a_test_of_its_row() {
    let mut unproven = Vec::new();
    let page = page();
    for row in page.lines().filter(|line| line.starts_with("| ")) {
        let cells = cells(row);
        let sources: Vec<String> = spans(cells[2]).map(source).collect();
        // What the help alone is for is tested with the help.
        let options = spans(cells[1]).filter(|span| span.starts_with("--"));
        for option in options.map(|span| span.split(' ').next().unwrap_or(span)) {
            if !sources.iter().any(|source| source.contains(option)) {
                unproven.push(format!("{option}: {row}"));
            }
        }
    }
    assert!(unproven.is_empty(), "{unproven:#?}");
}

/// A row either has a test or says why there is nothing to test.
#[test]
fn every_row_has_a_test_or_a_reason() {
    for row in rows(&page()) {
        let cells = cells(row);
        assert_eq!(cells.len(), 3, "{row}");
        assert!(!cells[2].is_empty() || cells[1].starts_with("none"), "{row}");
    }
    for row in rows(&contract()) {
        assert!(!cells(row).last().unwrap().is_empty(), "{row}");
    }
}
