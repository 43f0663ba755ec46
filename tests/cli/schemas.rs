//! What nsvm prints as JSON is what its schemas say, and the schemas are those
//! that were committed.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::common::Home;

fn committed(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("machine-config").join(file)
}

/// Panics unless the text is JSON that the committed schema allows.
#[track_caller]
pub fn valid(file: &str, text: &str) -> Value {
    let schema: Value = serde_json::from_slice(&fs::read(committed(file)).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let value: Value = serde_json::from_str(text).unwrap();
    let wrong: Vec<_> =
        validator.iter_errors(&value).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(wrong.is_empty(), "{file}: {wrong:#?}\n{text}");
    value
}

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
    for format in ["json", "{{json .}}"] {
        home.run(["machine", "list", "--format", format]).exits(0);
    }
    valid("list.schema.json", &home.run(["machine", "list", "--format", "json"]).stdout());
    let init = ["machine", "init", "-q", "--image", "/dev/null", "--disk-size", "1"];
    home.run([&init[..], &["m1"]].concat()).exits(0);
    let merge = home.path().join("user data");
    fs::write(&merge, "#cloud-config\n{}\n").unwrap();
    let merge = merge.to_str().unwrap();
    let options = ["--rootful", "--swap", "64", "--cloud-init", merge, "m2"];
    home.run([&init[..], &options].concat()).exits(0);

    let inspected = home.run(["machine", "inspect", "m1", "m2"]).exits(0).stdout();
    assert_eq!(valid("inspect.schema.json", &inspected).as_array().unwrap().len(), 2);
    let listed = home.run(["machine", "list", "--format", "json"]).exits(0).stdout();
    assert_eq!(valid("list.schema.json", &listed).as_array().unwrap().len(), 2);
    let images = home.run(["image", "list", "--format", "json"]).exits(0).stdout();
    valid("image-list.schema.json", &images);
    let images = home.run(["image", "inspect"]).exits(0).stdout();
    valid("image-inspect.schema.json", &images);
    valid("info.schema.json", &home.run(["machine", "info", "-f", "json"]).exits(0).stdout());
    valid("doctor.schema.json", &home.run(["machine", "doctor", "-f", "json", "m1"]).stdout());
    for name in ["m1", "m2"] {
        let config = home.path().join(format!("config/machine/{name}.json"));
        valid("config.schema.json", &fs::read_to_string(config).unwrap());
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
    let outer = [
        "ConfigPath",
        "ConfigDir",
        "ConnectionInfo",
        "Created",
        "Image",
        "LastUp",
        "Name",
        "Resources",
        "SSHConfig",
        "State",
        "UserModeNetworking",
        "Rootful",
        "Accelerator",
        "Mounts",
        "Ports",
        "Agent",
    ];
    assert_eq!(keys("    "), outer);
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
