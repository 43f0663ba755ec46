//! `--format`, as scripts that were written for podman use it.

use crate::common::Home;

fn two() -> Home {
    let home = Home::new();
    for name in ["nsvm-machine-default", "m2"] {
        let init = ["machine", "init", "-q", "--image", "/dev/null", "--disk-size", "2"];
        home.run(init.into_iter().chain(["--cpus", "1", "--memory", "512", name])).exits(0);
    }
    home
}

#[test]
fn inspect_prints_a_line_for_each_machine() {
    let home = two();
    let inspect = |format: &str| home.run(["machine", "inspect", "--format", format, "m2"]);
    inspect("{{.Name}}").exits(0).prints("m2\n");
    inspect("{{.Resources.CPUs}} {{.Resources.Memory}}\\t{{.State}}")
        .exits(0)
        .prints("1 512\tstopped\n");
    inspect("{{.LastUp.Format \"2006\"}} {{.LastUp.IsZero}} {{len .Mounts}}")
        .exits(0)
        .prints("0001 true 0\n");
    inspect("{{if .Rootful}}a{{else}}b{{end}}{{with .SSHConfig}}{{.RemoteUsername}}{{end}}")
        .exits(0)
        .prints("bcore\n");
    inspect("{{json .Resources}}")
        .exits(0)
        .prints("{\"CPUs\":1,\"DiskSize\":2,\"Memory\":512,\"Swap\":0}\n");
    inspect("table {{.Name}}\\t{{.Resources.CPUs}}").exits(0).prints("NAME  CPUS\nm2    1\n");
    let both = ["machine", "inspect", "--format", "{{.Name}}", "m2", "nsvm-machine-default"];
    home.run(both).exits(0).prints("m2\nnsvm-machine-default\n");
    let over_all = ["machine", "inspect", "--format", "{{range .}}{{.Name}},{{end}}", "m2", "m2"];
    home.run(over_all).exits(0).prints("m2,m2,\n");
    let some = ["machine", "inspect", "--format", "{{.Name}}", "ghost", "m2"];
    home.run(some).exits(125).prints("m2\n").complains(&["ghost: VM does not exist"]);
    // What JSON shows, a template shows too, in the same order.
    let whole = home.run(["machine", "inspect", "m2"]).exits(0).stdout();
    let line = inspect("{{json .}}").exits(0).stdout();
    let bare: String = whole.split_whitespace().collect();
    assert_eq!(format!("[{}]", line.split_whitespace().collect::<String>()), bare);
}

#[test]
fn a_wrong_field_is_podmans_error() {
    let home = two();
    home.run(["machine", "inspect", "--format", "{{.Nope}}", "m2"])
        .exits(125)
        .prints("")
        .complains(&[
            "Error: template: inspect:1:2: executing \"inspect\" at <.Nope>: \
         can't evaluate field Nope in type machine.InspectInfo",
            "Hint: Its fields are ConfigPath, ConfigDir, ",
        ]);
    home.run(["machine", "inspect", "--format", "{{.SSHConfig.User}}", "m2"])
        .exits(125)
        .prints("")
        .complains(&["Hint: Its fields are IdentityPath, Port, RemoteUsername."]);
    home.run(["machine", "inspect", "--format", "{{.Name", "m2"])
        .exits(125)
        .complains(&["template: inspect:1:", "unclosed action"]);
    home.run(["machine", "list", "--format", "{{.Nope}}"])
        .exits(125)
        .complains(&["can't evaluate field Nope in type *entities.ListReporter"]);
}

/// What podman 4.3.1 prints for such a machine, and what it says of mistakes:
/// format, standard output, the end of the error.
#[test]
fn a_format_prints_what_podman_prints() {
    type Said = (String, String, Option<String>);
    let home = Home::new();
    let init = ["machine", "init", "-q", "--image", "/dev/null", "--disk-size", "2"];
    home.run(init.into_iter().chain(["--cpus", "1", "--memory", "2048", "m1"])).exits(0);
    let said: Vec<Said> =
        serde_json::from_str(include_str!("../fixtures/podman/formats.json")).unwrap();
    assert!(said.len() > 75, "{}", said.len());
    for (format, stdout, error) in said {
        let ran = home.run(["machine", "inspect", "--format", &format, "m1"]);
        eprintln!("{format}");
        match error {
            None => drop(ran.exits(0).prints(&stdout)),
            Some(error) => drop(ran.exits(125).prints("").complains(&[&error])),
        }
    }
}

#[test]
fn the_machine_that_was_up_last_comes_first() {
    let home = two();
    home.run(["machine", "init", "-q", "--image", "/dev/null", "--disk-size", "2", "a1"]).exits(0);
    let listed = || home.run(["machine", "list", "-q"]).exits(0).stdout();
    for (name, up) in [("a1", "2026-03-01T00:00:00Z"), ("m2", "2026-03-02T00:00:00Z")] {
        let path = home.path().join(format!("data/{name}/history.json"));
        let mut dates: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        dates["LastUp"] = up.into();
        std::fs::write(path, dates.to_string()).unwrap();
    }
    assert_eq!(listed(), "m2\na1\nnsvm-machine-default\n");
}

#[test]
fn lists_take_tables_and_templates() {
    let home = two();
    let list = |more: &[&'static str]| {
        home.run(["machine", "list"].into_iter().chain(more.iter().copied())).exits(0).stdout()
    };
    let table = list(&["--format", "table {{.Name}}\\t{{.CPUs}} {{.VMType}}\\t{{.DiskSize}}"]);
    let mut lines: Vec<_> = table.lines().collect();
    assert!(lines[0].starts_with("NAME                   CPUS  VM TYPE  DISK SIZE"), "{table}");
    lines.sort_unstable();
    assert_eq!(lines[1], "m2                     1     qemu     2GiB");
    assert_eq!(lines[2], "nsvm-machine-default*  1     qemu     2GiB");
    for short in ["-n", "--noheading"] {
        let bare = list(&[short, "--format", "table {{.Name}}"]);
        assert!(!bare.contains("NAME"), "{bare}");
    }
    assert_eq!(list(&["--quiet", "--noheading"]), list(&["-q"]));
    let mut names: Vec<_> = list(&["--format", "{{.Name}} {{.Default}} {{.LastUp}}"])
        .lines()
        .map(str::to_owned)
        .collect();
    names.sort();
    assert_eq!(names, ["m2 false Never", "nsvm-machine-default true Never"]);
    for json in ["json", "{{json}}", "{{ json }}"] {
        let text = home.run(["machine", "list", "--format", json]).exits(0).stdout();
        let all: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(all[0]["DiskSize"], "2147483648", "{text}");
    }
    assert_eq!(list(&["--format", "{{range .}}{{.CPUs}}{{end}}"]), "11\n");
    // A format says more than -q, as in podman.
    let both = list(&["-q", "--format", "table {{.CPUs}} {{.RemoteUsername}}"]);
    assert_eq!(both, "CPUS  REMOTE USERNAME\n1     core\n1     core\n");
    assert!(list(&["-q", "--format", "json"]).starts_with('['));
    assert_eq!(list(&["--format", "table {{.CPUs}}\\n"]), "CPUS\n1\n1\n");
    let rows = list(&["-n", "--format", "table {{range .}}{{.CPUs}}\\t{{.Swap}}\\n{{end}}"]);
    assert_eq!(rows, "1  0B\n1  0B\n");
    for none in ["{{.Name}}", "table {{.Name}}", "{{range .}}{{.Name}}{{else}}none{{end}}"] {
        let empty = Home::new();
        let ran = empty.run(["machine", "list", "--format", none]).exits(0).stdout();
        let wanted = match none.split_once(' ') {
            Some(("table", _)) => "NAME\n",
            Some(_) => "none\n",
            None => "",
        };
        assert_eq!(ran, wanted, "{none}");
        empty.run(["machine", "list", "-n", "--format", "table {{.Name}}"]).exits(0).prints("");
    }
    let images = home.run(["image", "list", "--format", "{{json .}}"]).exits(0);
    assert!(images.stdout().starts_with('{'));
}
