//! What a named namespace outlives, and how it is known afterwards.

use std::fs;

use nsvm::namespace::kind::Kind;
use nsvm::namespace::named::{Named, State};
use nsvm::protocol::request::NamedVerb;

use super::{LINKS, create, exec, has_ended, inspect, of, refusal, remove, whole};
use crate::client::Agent;
use crate::namespaces::kinds;
use crate::needs_root;

#[test]
fn the_agent_may_die() {
    needs_root!();
    let mut agent = Agent::start();
    let link = agent.attach();
    for (text, spec) in [("a", whole()), ("b", of(kinds(&[Kind::Net])))] {
        create(&link, "root", text, spec).unwrap();
    }
    let before = link.named(NamedVerb::List).unwrap();
    let links = exec(&link, "root", "a", LINKS).stdout;
    drop(link);
    agent.kill_and_start_again();
    let link = agent.attach();
    assert_eq!(link.named(NamedVerb::List).unwrap(), before);
    assert_eq!(exec(&link, "root", "a", LINKS).stdout, links);
    assert!(create(&link, "root", "a", whole()).unwrap_err().message.contains("exists already"));
    for text in ["a", "b"] {
        remove(&link, text).unwrap();
    }
    for named in before {
        assert!(has_ended(named.pid.unwrap()));
    }
}

/// Changes the record of `text` on the disk.
fn edit(agent: &Agent, text: &str, change: impl FnOnce(&mut serde_json::Value)) {
    let path = agent.state().join(format!("ns/{text}.json"));
    let mut record = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut record);
    fs::write(path, serde_json::to_vec(&record).unwrap()).unwrap();
}

fn kill(holder: &Named) {
    let pid = holder.pid.unwrap().to_string();
    std::process::Command::new("kill").args(["-9", &pid]).status().unwrap();
}

#[test]
fn after_a_reboot_it_is_gone_and_not_broken() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let made = create(&link, "nobody", "x", whole()).unwrap();
    edit(&agent, "x", |record| record["boot_id"] = "of another boot".into());
    let gone = inspect(&link, "x");
    assert_eq!((gone.state, gone.pid, gone.processes.len()), (State::Gone, None, 0));
    assert_eq!(gone.reason.as_deref(), Some("the machine has been started since it was made"));
    let done = exec(&link, "nobody", "x", "true");
    let text = "namespace \"x\" is gone: the machine has been started since it was made; \
                make it again with `nsvm ns create x`";
    assert_eq!(refusal(&done), text);
    // What has its holder's number by now is not touched.
    remove(&link, "x").unwrap();
    assert!(!has_ended(made.pid.unwrap()));
    kill(&made);

    let made = create(&link, "nobody", "y", whole()).unwrap();
    edit(&agent, "y", |record| record["holder"]["started"] = 1.into());
    assert_eq!(inspect(&link, "y").reason.as_deref(), Some("the process that held it has ended"));
    assert!(create(&link, "4242", "y", whole()).unwrap_err().message.contains("belongs to"));
    let again = create(&link, "nobody", "y", whole()).unwrap();
    assert_eq!(again.state, State::Running);
    kill(&made);
}

#[test]
fn a_holder_nobody_knows_of_ends() {
    needs_root!();
    let mut hold = std::process::Command::new(crate::client::program())
        .args(["hold", "x"])
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    drop(hold.stdin.take());
    assert!(!crate::client::within_deadline(move || hold.wait().unwrap()).success());
}

#[test]
fn broken_records_hide_nothing_and_can_be_removed() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    create(&link, "root", "good", of(kinds(&[Kind::Uts]))).unwrap();
    fs::write(agent.state().join("ns/bad.json"), "{").unwrap();
    let all = link.named(NamedVerb::List).unwrap();
    let states: Vec<_> = all.iter().map(|n| (n.name.as_str(), n.state)).collect();
    assert_eq!(states, [("bad", State::Gone), ("good", State::Running)]);
    let read = exec(&link, "root", "bad", "true");
    assert!(refusal(&read).starts_with("cannot read the record of namespace \"bad\""), "{read:?}");
    remove(&link, "bad").unwrap();
    assert_eq!(link.named(NamedVerb::List).unwrap().len(), 1);
}
