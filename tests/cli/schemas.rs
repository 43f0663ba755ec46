//! What nsvm prints as JSON is what its schemas say, and the schemas are those
//! that were committed.

use std::fs;

use serde_json::Value;

use crate::common::json::{PRINTERS, Printer, committed, valid};
use crate::common::{Home, INSPECT_KEYS};

/// `make schemas` writes them anew.
#[test]
fn committed_schemas_are_those_of_the_types() {
    for named in nsvm::app::schema::all() {
        let text = format!("{:#}\n", named.schema);
        let path = committed(named.file);
        if std::env::var_os("NSVM_WRITE_SCHEMAS").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let there = fs::read_to_string(&path).unwrap_or_default();
        assert!(there == text, "{} is not up to date: run `make schemas`", path.display());
    }
}

#[test]
fn everything_printed_as_json_is_what_its_schema_says() {
    let home = Home::new();
    valid("list.schema.json", &home.run(["machine", "list", "--format", "json"]).stdout());
    let init = ["machine", "init", "-q", "--image", "/dev/null", "--disk-size", "1"];
    home.run([&init[..], &["m1"]].concat()).exits(0);
    let merge = home.path().join("user data");
    fs::write(&merge, "#cloud-config\n{}\n").unwrap();
    let merge = merge.to_str().unwrap();
    let options = ["--rootful", "--swap", "64", "--cloud-init", merge, "m2"];
    home.run([&init[..], &options].concat()).exits(0);
    home.run(["machine", "default", "m1"]).exits(0);
    crate::snapshots::as_if_it_had_been_up(&home);
    home.run(["machine", "snapshot", "create", "m1", "a"]).exits(0);

    // One that could not be made.
    let templates = home.path().join("cache/images/templates");
    fs::create_dir(&templates).unwrap();
    fs::write(templates.join("00.refused"), "no sshd").unwrap();

    for Printer { verb, options, schema, of_guest } in PRINTERS {
        // Events have no end: they are followed in two_terminals.
        if of_guest || verb == "machine events" {
            continue;
        }
        let names: &[&str] = match verb {
            "machine inspect" => &["m1", "m2"],
            "machine doctor" => &["m1"],
            _ => &[],
        };
        let words: Vec<&str> = verb.split(' ').chain(options.iter().copied()).collect();
        let printed = home.run([&words[..], names].concat()).stdout();
        let value = valid(schema, &printed);
        assert!(value.as_array().is_none_or(|all| !all.is_empty()), "{verb}: {printed}");
        if options == ["--format", "json"] && !verb.ends_with("doctor") {
            // A template that is given a list is given its elements.
            let each = home.run(verb.split(' ').chain(["--format", "{{json .}}"])).exits(0);
            assert!(each.stdout().lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
        }
    }
    let inspected = home.run(["machine", "inspect", "m1", "m2"]).exits(0).stdout();
    assert_eq!(valid("inspect.schema.json", &inspected).as_array().unwrap().len(), 2);
    for name in ["m1", "m2"] {
        let config = home.path().join(format!("config/machine/{name}.json"));
        valid("config.schema.json", &fs::read_to_string(config).unwrap());
    }
}

/// A verb whose help speaks of JSON is one that the tests run.
#[test]
fn every_verb_that_prints_json_is_known() {
    fn walk(home: &Home, path: &[String], found: &mut Vec<String>) {
        let words: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
        let help = home.run(words).exits(0).stdout();
        let verbs = help.lines().skip_while(|line| *line != "Commands:").skip(1);
        let verbs = verbs.take_while(|line| !line.is_empty()).filter(|l| !l.starts_with("   "));
        let verbs: Vec<_> = verbs.filter_map(|line| line.split_whitespace().next()).collect();
        if verbs.is_empty() && help.to_lowercase().contains("json") {
            found.push(path.join(" "));
        }
        for verb in verbs {
            walk(home, &[path, &[verb.to_owned()]].concat(), found);
        }
    }
    let mut found = Vec::new();
    walk(&Home::new(), &[], &mut found);
    let mut known: Vec<_> = PRINTERS.iter().map(|printer| printer.verb.to_owned()).collect();
    found.sort();
    known.sort();
    assert_eq!(found, known);
}

/// Those that ask a guest ask this host's kernel, where it is one.
#[cfg(target_os = "linux")]
#[test]
fn kinds_and_listings_of_this_host_are_what_their_schemas_say() {
    let home = Home::new();
    let local = |args: &[&str]| home.run([&["--local"][..], args].concat()).exits(0).stdout();
    let kinds = valid("namespaces.schema.json", &local(&["namespaces", "--format", "json"]));
    assert_eq!(kinds.as_array().unwrap().len(), 8);
    for options in [&["-J"][..], &["-J", "--output-all"], &["-J", "--tree=process"]] {
        let listed = valid("lsns.schema.json", &local(&[&["lsns"][..], options].concat()));
        assert!(!listed["namespaces"].as_array().unwrap().is_empty());
    }
}

/// Keys at the margin of each element, in the order in which they are printed.
#[test]
fn inspect_has_the_keys_of_the_contract_in_their_order() {
    let home = Home::new();
    let init = ["machine", "init", "-q", "--image", "/dev/null", "--disk-size", "1", "m1"];
    home.run(init).exits(0);
    let text = home.run(["machine", "inspect", "m1"]).exits(0).stdout();
    let keys = |indent: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(indent));
        let keys = lines.filter_map(|line| line.strip_prefix('"')?.split_once("\":"));
        keys.map(|(key, _)| key.to_owned()).collect()
    };
    assert_eq!(keys("    "), INSPECT_KEYS);
    let inner = keys("      ");
    for group in [
        &["PodmanSocket", "PodmanPipe", "ControlSocket"][..],
        &["IgnitionFilePath", "ImageStream", "ImagePath", "BasePath", "Release", "SHA256"],
        &["CPUs", "DiskSize", "Memory", "Swap"],
        &["IdentityPath", "Port", "RemoteUsername"],
        &["InUse", "Rejected"],
        &["Version", "Ready"],
    ] {
        assert!(inner.windows(group.len()).any(|w| w == group), "{group:?} in {inner:?}");
    }
}
