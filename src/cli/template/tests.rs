use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const SHAPE: Shape = Shape { name: "machine.InspectInfo", times: &["LastUp"] };

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct One {
    name: &'static str,
    last_up: &'static str,
    resources: Resources,
    mounts: Vec<Value>,
    words: Vec<&'static str>,
    rootful: bool,
    pipe: Option<u8>,
}

#[derive(Debug, Clone, Serialize)]
struct Resources {
    #[serde(rename = "CPUs")]
    cpus: u32,
    #[serde(rename = "Memory")]
    memory: u64,
}

fn one() -> One {
    One {
        name: "work",
        last_up: "2023-11-14T22:13:20.120000000Z",
        resources: Resources { cpus: 2, memory: 2048 },
        mounts: vec![json!({"Source": "/a b"}), json!({"Source": "/c"})],
        words: vec!["b", "a"],
        rootful: false,
        pipe: None,
    }
}

fn run(text: &str) -> Result<String, String> {
    let template = Template::parse("inspect", text).map_err(|e| e.to_string())?;
    template.render(&one(), SHAPE).map_err(|e| e.to_string())
}

#[test]
fn templates_say_what_they_say_in_podman() {
    for (text, printed) in [
        ("plain {{.Name}}", "plain work"),
        ("{{.Resources.CPUs}}\\t{{.Resources.Memory}}\\n", "2\t2048"),
        ("{{json .Resources}}", r#"{"CPUs":2,"Memory":2048}"#),
        ("{{.Resources}}", "{2 2048}"),
        ("{{json .Words}} {{.Words}}", r#"["b","a"] [b a]"#),
        ("{{range .Mounts}}<{{.Source}}>{{end}}", "</a b></c>"),
        ("{{range $i, $m := .Mounts}}{{$i}}={{$m.Source}},{{end}}", "0=/a b,1=/c,"),
        ("{{if .Rootful}}root{{else if gt .Resources.CPUs 1}}many{{else}}few{{end}}", "many"),
        ("{{with .Resources}}{{.CPUs}}{{end}}", "2"),
        ("{{with $r := .Resources}}{{$r.CPUs}} {{$.Name}}{{end}}", "2 work"),
        ("{{.Name | upper | printf \"%-6s|\"}}", "WORK  |"),
        ("{{lower \"AB\"}} {{title \"ab cd\"}} {{join .Words \"+\"}}", "ab Ab Cd b+a"),
        ("{{index (split \"a:b\" \":\") 1}} {{len .Words}} {{index .Words 0}}", "b 2 b"),
        ("[{{pad .Name 1 2}}] {{truncate .Name 2}}", "[ work  ] wo"),
        ("{{eq .Name \"x\" \"work\"}} {{and .Rootful true}} {{not .Rootful}}", "true false true"),
        ("{{.LastUp}}", "2023-11-14 22:13:20.12 +0000 UTC"),
        ("{{.LastUp.Format \"2006-01-02\"}} {{.LastUp.Unix}}", "2023-11-14 1700000000"),
        ("{{.LastUp.UTC.Format \"15:04\"}} {{.LastUp.IsZero}}", "22:13 false"),
        ("{{\"15h\" | .LastUp.Format}}", "22h"),
        ("{{json .LastUp}}", "\"2023-11-14T22:13:20.120000000Z\""),
        ("{{printf \"%s %v\" .LastUp .Pipe}}", "2023-11-14 22:13:20.12 +0000 UTC <nil>"),
        ("{{.Pipe}}{{json .Pipe}}{{/* nothing */}}", "<nil>null"),
        ("{{define \"x\"}}<{{.CPUs}}>{{end}}{{template \"x\" .Resources}}", "<2>"),
        ("{{(index .Mounts 1).Source}}  {{- \" x\"}}", "/c x"),
        ("{{println .Name}}", "work\n"),
        ("{{len .Name}} {{slice .Name 1 3}} {{index .Words 1}}", "4 or a"),
        ("{{.LastUp.YearDay}} {{.LastUp.Nanosecond}}", "318 120000000"),
        ("{{.LastUp.Before .LastUp}} {{.LastUp.Equal .LastUp}}", "false true"),
        ("{{block \"B\" .}}{{.Name}}{{end}}{{/* c */ -}}  x", "workx"),
    ] {
        assert_eq!(run(text), Ok(format!("{printed}\n")), "{text}");
    }
    let whole = run("{{json .}}").unwrap();
    let keys = ["Name", "LastUp", "Resources", "Mounts", "Words", "Rootful", "Pipe"];
    let places: Vec<_> = keys.iter().map(|key| whole.find(&format!("\"{key}\":"))).collect();
    assert!(places.is_sorted() && places[0] == Some(1), "{whole}");
}

#[test]
fn mistakes_are_worded_as_go_words_them() {
    for (text, said) in [
        (
            "{{.Nme}}",
            "template: inspect:1:2: executing \"inspect\" at <.Nme>: \
             can't evaluate field Nme in type machine.InspectInfo",
        ),
        ("a\\n{{ .Resources.X }}", "template: inspect:2:"),
        ("{{.Resources.X}}", "can't evaluate field X in type vmconfigs.ResourceConfig"),
        ("{{.Name.X}}", "can't evaluate field X in type string"),
        ("{{.LastUp.Frmat}}", "can't evaluate field Frmat in type time.Time"),
        ("{{.LastUp.Format}}", "wrong number of args for Format: want 1 got 0"),
        ("{{range .Mounts}}{{.X}}{{end}}", "can't evaluate field X in type machine.Mounts"),
        ("{{$x := .}}{{$x.X}}", "can't evaluate field X in type machine.InspectInfo"),
        ("{{.Pipe.Path}}", "nil pointer evaluating interface {}.Path"),
        ("{{.Name \"x\"}}", "Name has arguments but cannot be invoked as function"),
        (
            "{{range .Name}}{{end}}",
            "template: inspect:1:2: executing \"inspect\" at <range>: range can't iterate over work",
        ),
        ("{{range .Resources}}{{end}}", "range can't iterate over {2 2048}"),
        ("{{nope .Name}}", "template: inspect:1: function \"nope\" not defined"),
        ("a\\n{{if true}}{{.Name | nope}}{{end}}", "inspect:2: function \"nope\" not defined"),
        ("{{json (index (nope) 1)}}", "function \"nope\" not defined"),
        (
            "{{json .Name .Name}}",
            "template: inspect:1:2: executing \"inspect\" at <json>: \
             wrong number of args for json: want 1 got 2",
        ),
        ("{{.Name | truncate 1}}", "at <truncate>: wrong type for value; expected string; got int"),
        ("{{len .Resources}}", "error calling len: len of type vmconfigs.ResourceConfig"),
        ("{{index .Resources 0}}", "can't index item of type vmconfigs.ResourceConfig"),
        ("{{slice .LastUp 0}}", "can't slice item of type time.Time"),
        ("{{index .Words 9}}", "error calling index: "),
        ("{{.LastUp.Format 1}}", "expected string; found 1"),
        ("{{.LastUp.Before .Name}}", "expected time.Time; got string"),
        ("{{.Name", "unclosed action"),
        ("{{if .Name}}x", "template: inspect:1: unexpected EOF"),
        ("a{{end}}b", "unexpected {{end}}"),
        ("{{range .Mounts}}{{end}}{{else}}", "unexpected {{end}} or"),
        ("{{upper .Rootful}}", "expected string; got bool"),
        ("{{pad .Name -1 0}}", "no length"),
    ] {
        let error = run(text).unwrap_err();
        assert!(error.contains(said), "{text}: {error}");
        assert!(error.starts_with("template: "), "{text}: {error}");
    }
}

#[test]
fn a_template_cannot_run_away() {
    let doubling = "{{$x := \"aaaaaaaa\"}}{{range 100}}{{$x = print $x $x}}{{end}}";
    let rounds = "{{range 100000}}{{range 100000}}x{{end}}{{end}}";
    let calls: String = (0..40)
        .map(|n| format!("{{{{define \"t{n}\"}}}}{{{{template \"t{0}\"}}}}{{{{template \"t{0}\"}}}}{{{{end}}}}", n + 1))
        .collect();
    let calls = format!("{calls}{{{{define \"t40\"}}}}{{{{end}}}}{{{{template \"t0\"}}}}");
    let padding = "{{range 100000}}{{printf \"%60000d\" 1}}{{end}}";
    for text in [
        doubling,
        rounds,
        &calls,
        padding,
        "{{define \"a\"}}{{template \"a\"}}{{end}}{{template \"a\"}}",
    ] {
        assert!(run(text).is_err(), "{text}");
    }
}

#[test]
fn one_result_each_unless_the_template_goes_over_all() {
    let all = [one(), One { name: "play", ..one() }];
    let each = |text: &str| Template::parse("x", text).unwrap().render_each(&all, SHAPE).unwrap();
    assert_eq!(each("{{.Name}}"), ["work\n", "play\n"]);
    assert_eq!(each("{{.Name}}\\n"), ["work\n", "play\n"]);
    assert_eq!(each("{{range .}}{{.Name}},{{end}}"), ["work,play,\n"]);
    assert_eq!(each("{{len .Words}}{{range .Words}}{{.}}{{end}}"), ["2ba\n", "2ba\n"]);
}

#[test]
fn a_table_has_its_fields_as_heading() {
    let Ok(Format::Table(template)) =
        Format::parse("list", "table {{.Name}} {{.LastUp}}\\t{{.Resources.CPUs}}")
    else {
        panic!("no table")
    };
    assert_eq!(template.heading().unwrap(), "NAME\tLAST UP\tCPUS\n");
    let rows = template.render_each(&[one()], SHAPE).unwrap();
    assert_eq!(rows, ["work\t2023-11-14 22:13:20.12 +0000 UTC\t2\n"]);
}

#[test]
fn a_heading_is_a_text_to_functions() {
    for (text, heading) in [
        ("{{.SSHConfig.RemoteUsername}} {{.VMType}}", "REMOTE USERNAME\tVM TYPE"),
        ("{{len .Name}} {{slice .Name 0 2}}", "4\tNA"),
        ("{{upper .Name}} {{truncate .Name 3}} {{printf \"%.2s\" .Name}}", "NAME\tNAM\tNA"),
        ("{{range .Mounts}}{{.Source}} {{end}}", "SOURCE\t"),
        ("{{if .Rootful}}a{{else}}b{{end}} {{with .Name}}{{.}}{{end}}", "a\tNAME"),
    ] {
        let Ok(Format::Table(template)) = Format::parse("list", &format!("table {text}")) else {
            panic!("no table: {text}")
        };
        assert_eq!(template.heading().unwrap(), format!("{heading}\n"), "{text}");
    }
}

#[test]
fn json_has_podmans_spellings() {
    for json in ["json", " json ", "{{json}}", "{{ json }}", "{{json.}}", " {{json. }}"] {
        assert!(matches!(Format::parse("list", json), Ok(Format::Json)), "{json}");
    }
    for template in ["{{json .}}", "{{ json . }}", "jsonx"] {
        assert!(matches!(Format::parse("list", template), Ok(Format::Plain(_))), "{template}");
    }
}

/// Pieces that templates are made of, to get further than noise would.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("{{"),
        Just("}}"),
        Just("{{end}}"),
        Just("{{range ."),
        Just("{{if "),
        Just("{{with "),
        Just("{{else}}"),
        Just(".Name"),
        Just(".LastUp"),
        Just(".Format"),
        Just(" \"2006\""),
        Just(".Mounts"),
        Just("|"),
        Just(" json "),
        Just(" printf \"%*d\" "),
        Just("$x := "),
        Just("$x"),
        Just(" index "),
        Just("("),
        Just(")"),
        Just(" 99999999"),
        Just(" -1 "),
        Just("{{define \"a\"}}"),
        Just("{{template \"a\" .}}"),
        Just(" slice "),
        Just(" call "),
        Just("{{-"),
        Just("-}}"),
        Just(" pad "),
        Just(" truncate "),
        Just(" split "),
        Just("ü"),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|all| all.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn nothing_panics(text in pieces()) {
        let _ = run(&text);
    }

    #[test]
    fn noise_does_not_panic(text in "\\PC{0,60}") {
        let _ = run(&text);
        let _ = Format::parse("x", &text);
    }
}
