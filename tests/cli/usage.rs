//! What helps while typing: completions, manual pages, suggestions, colours, logs.

use std::fs;

use crate::common::{Home, Ran};

fn home_with(names: &[&str]) -> Home {
    let home = Home::new();
    for name in names {
        let init = ["machine", "init", "-q", "--image", "/dev/null", "--disk-size", "1"];
        home.run([&init[..], &[name]].concat()).exits(0);
    }
    home
}

/// What bash would offer for the last of these words, as its script asks.
fn offered(home: &Home, words: &[&str]) -> Vec<String> {
    let mut command = home.nsvm(["--", "nsvm"]);
    command.args(words).env("NSVM_COMPLETE", "bash");
    command.env("_CLAP_COMPLETE_INDEX", words.len().to_string());
    command.env("_CLAP_COMPLETE_COMP_TYPE", "9").env("_CLAP_COMPLETE_SPACE", "true");
    command.env("_CLAP_IFS", "\n");
    let ran = Ran(command.output().unwrap()).exits(0);
    ran.stdout().lines().map(str::to_owned).collect()
}

#[test]
fn verbs_machines_and_images_are_completed() {
    let home = home_with(&["work", "play"]);
    fs::write(home.path().join("config/machine/cut.json"), "{").unwrap();
    fs::write(home.path().join("config/nsvm.toml"), "wrong").unwrap();
    let has = |words: &[&str], wanted: &[&str]| {
        let offered = offered(&home, words);
        for one in wanted {
            assert!(offered.iter().any(|o| o == one), "{words:?}: no {one} in {offered:?}");
        }
        offered
    };
    has(&["m"], &["machine"]);
    has(&["machine", "in"], &["init", "inspect"]);
    // One that cannot be read can still be removed.
    has(&["machine", "rm", ""], &["cut", "play", "work"]);
    assert_eq!(has(&["machine", "start", "w"], &["work"]), ["work"]);
    has(&["machine", "inspect", "play", "w"], &["work"]);
    has(&["--machine", "p"], &["play"]);
    has(&["machine", "ssh", "p"], &["play"]);
    let new = offered(&home, &["machine", "init", ""]);
    assert!(!new.iter().any(|o| o == "work"), "a new machine has a new name: {new:?}");
    has(&["machine", "init", "--image", "fedora"], &["fedora-coreos", "fedora-coreos:testing"]);
    has(&["image", "rm", ""], &["/dev/null", "debian"]);
    has(&["machine", "set", "--mem"], &["--memory"]);
    has(&["completion", ""], &["bash", "zsh", "fish", "powershell"]);
}

#[test]
fn each_shell_gets_a_script_that_it_can_read() {
    let home = Home::new();
    for (shell, check) in [("bash", "bash"), ("zsh", "zsh"), ("fish", "fish"), ("powershell", "")] {
        let script = home.run(["completion", shell]).exits(0).stdout();
        assert!(script.contains("NSVM_COMPLETE"), "{script}");
        // The program is found on PATH, wherever it was made.
        assert!(!script.contains(env!("CARGO_BIN_EXE_nsvm")), "{script}");
        let path = home.path().join(shell);
        fs::write(&path, &script).unwrap();
        let Ok(mut checked) = std::process::Command::new(check).arg("-n").arg(&path).spawn() else {
            eprintln!("skipped: no {shell} here to read it");
            continue;
        };
        assert!(checked.wait().unwrap().success(), "{script}");
    }
    home.run(["completion", "tcsh"]).exits(125).complains(&["tcsh", "powershell"]);
}

/// A page for each verb that is shown, with each of its options.
#[test]
fn every_verb_and_option_has_its_manual_page() {
    fn verbs(help: &str) -> Vec<String> {
        let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
        let verbs = lines.take_while(|line| !line.is_empty()).filter(|l| !l.starts_with("   "));
        verbs.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
    }
    fn check(home: &Home, path: &[String], pages: &std::path::Path, count: &mut usize) {
        let words: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
        let help = home.run(words).exits(0).stdout();
        let name = ["nsvm".to_owned()].iter().chain(path).cloned().collect::<Vec<_>>().join("-");
        let page = fs::read_to_string(pages.join(format!("{name}.1")));
        let page = page.unwrap_or_else(|e| panic!("{name}: {e}")).replace("\\-", "-");
        for line in help.lines().filter(|line| line.trim_start().starts_with('-')) {
            let long = line.split([' ', ',', '=', '[']).find(|word| word.starts_with("--"));
            let long = long.unwrap_or("--help");
            assert!(page.contains(long), "{long} is not in the page of {name}");
        }
        *count += 1;
        for verb in verbs(&help) {
            check(home, &[path, &[verb]].concat(), pages, count);
        }
    }
    let home = Home::new();
    let pages = home.path().join("man pages");
    home.run(["man", pages.to_str().unwrap()]).exits(0).prints("");
    let mut count = 0;
    check(&home, &[], &pages, &mut count);
    assert!(count > 30, "{count}");
    let written = fs::read_dir(&pages).unwrap().count();
    assert_eq!(written, count, "hidden verbs have no page");
}

#[test]
fn what_was_nearly_typed_is_suggested() {
    let home = home_with(&["work"]);
    home.run(["machine", "strat"]).exits(125).complains(&["strat", "'start'"]);
    home.run(["machin"]).exits(125).complains(&["machin", "'machine'"]);
    home.run(["machine", "set", "--memry", "1"]).exits(125).complains(&["--memry", "--memory"]);
    home.run(["machine", "start", "wrok"]).exits(125).complains(&[
        "Error: wrok: VM does not exist",
        "Did you mean \"work\"? Otherwise create it with `nsvm machine init --now wrok`",
    ]);
    let far = home.run(["machine", "start", "zzz"]).exits(125);
    assert!(!far.stderr().contains("Did you mean"), "{}", far.stderr());
}

#[test]
fn colours_only_where_they_are_wanted() {
    let home = Home::new();
    let failing = |before: &[&str], variables: &[(&str, &str)]| {
        let mut command = home.nsvm(before.iter().copied());
        command.args(["machine", "stop", "x"]).envs(variables.iter().copied());
        Ran(command.output().unwrap()).exits(125).stderr()
    };
    let (plain, coloured) = ("Error: x", "\x1b[1;31mError:\x1b[0m x");
    assert!(failing(&[], &[]).starts_with(plain), "no terminal");
    assert!(failing(&["--color", "always"], &[]).starts_with(coloured));
    assert!(failing(&["--color=always"], &[("NO_COLOR", "1")]).starts_with(coloured));
    assert!(failing(&[], &[("CLICOLOR_FORCE", "1")]).starts_with(coloured));
    assert!(failing(&[], &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]).starts_with(plain));
    assert!(failing(&["--color=never"], &[("CLICOLOR_FORCE", "1")]).starts_with(plain));
    let help = home.run(["machine", "--help", "--color", "always"]).exits(0).stdout();
    assert!(help.contains("\x1b["), "{help}");
    home.run(["--color", "sometimes", "machine", "list"]).exits(125).complains(&["sometimes"]);
    // Behind a verb, too, but not behind one that runs programs.
    home.run(["machine", "list", "--color", "never"]).exits(0);
    home.run(["exec", "--color", "never", "true"]).exits(125).complains(&["--color"]);
}

#[test]
fn what_happens_is_logged_when_asked_for() {
    let home = home_with(&["m1"]);
    assert_eq!(home.run(["machine", "stop", "m1"]).exits(0).stderr(), "");
    for words in [
        &["--log-level", "trace", "machine", "inspect", "m1"][..],
        &["machine", "inspect", "m1", "--log-level=warning"],
    ] {
        home.run(words.iter().copied()).exits(0);
    }
    let mut start = home.nsvm(["--log-level", "debug", "machine", "start", "m1"]);
    Ran(start.env("NSVM_QEMU", "/dev/null").output().unwrap())
        .exits(125)
        .complains(&["DEBUG", "asking the supervisor"]);
    home.run(["--log-level", "loud", "machine", "list"]).exits(125).complains(&["loud"]);
}

#[test]
fn yes_is_an_answer_and_no_force() {
    let home = home_with(&["m1"]);
    let answered = |answer: &str| {
        let mut rm = home.nsvm(["machine", "rm", "m1"]);
        Ran(rm.write_stdin(answer).output().unwrap())
    };
    let data = std::path::Path::new("data").join("m1");
    let asked = ["m1.json", data.to_str().unwrap(), "Are you sure"];
    answered("n\n").exits(0).complains(&asked);
    // Nobody there is no answer, and nothing that a script may take for done.
    answered("").exits(125).complains(&["Are you sure", "nothing was deleted", "--yes"]);
    assert!(home.path().join("config/machine/m1.json").exists());
    let said = home.run(["machine", "rm", "--yes", "m1"]).exits(0);
    assert_eq!((said.stdout(), said.stderr()), (String::new(), String::new()));
    assert_eq!(home.traces_of("m1"), Vec::<std::path::PathBuf>::new());
    home.run(["machine", "reset", "-y"]).exits(0);
}
