//! What is wrong with a workflow file. Pure but for `sh -n` and for looking
//! whether files are there.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use github_actions_expressions::Expr;
use github_actions_models::workflow::Workflow;
use serde_json::{Map, Value};

/// What GitHub knows at each level; its own parser refuses other keys, the
/// models do not.
const OF_WORKFLOW: &[&str] =
    &["name", "run-name", "on", "permissions", "env", "defaults", "concurrency", "jobs"];
const OF_JOB: &[&str] = &[
    "name",
    "needs",
    "if",
    "runs-on",
    "container",
    "services",
    "permissions",
    "environment",
    "concurrency",
    "outputs",
    "env",
    "defaults",
    "timeout-minutes",
    "strategy",
    "continue-on-error",
    "steps",
];
const OF_STEP: &[&str] = &[
    "name",
    "id",
    "if",
    "uses",
    "with",
    "run",
    "shell",
    "working-directory",
    "env",
    "timeout-minutes",
    "continue-on-error",
];

/// What a job may be allowed.
const SCOPES: &[&str] = &[
    "actions",
    "artifact-metadata",
    "attestations",
    "checks",
    "contents",
    "deployments",
    "discussions",
    "id-token",
    "issues",
    "models",
    "packages",
    "pages",
    "pull-requests",
    "security-events",
    "statuses",
];

/// Runners that GitHub hosts and this workflow may take.
const RUNNERS: [&str; 5] =
    ["ubuntu-24.04", "ubuntu-24.04-arm", "macos-15", "macos-15-intel", "windows-2025"];

/// Contexts that expressions may look into (docs.github.com, "Contexts").
const CONTEXTS: [&str; 8] =
    ["github", "env", "matrix", "needs", "steps", "runner", "strategy", "job"];

/// One sentence for each.
pub fn problems(text: &str, root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let whole: Value = match yaml_serde::from_str(text) {
        Ok(whole) => whole,
        Err(e) => return vec![format!("not YAML: {e}")],
    };
    if let Err(e) = yaml_serde::from_str::<Workflow>(text) {
        found.push(format!("not what GitHub takes: {e}"));
    }
    unknown_keys(&whole, OF_WORKFLOW, "the workflow", &mut found);
    if whole["permissions"] != serde_json::json!({}) {
        found.push("the workflow's own permissions are not empty".to_owned());
    }
    expressions(&whole["concurrency"], &BTreeSet::new(), "concurrency", &mut found);
    let none = Map::new();
    let jobs = whole["jobs"].as_object().unwrap_or(&none);
    for (name, job) in jobs {
        of_job(name, job, jobs, root, &mut found);
    }
    found
}

fn of_job(
    name: &str,
    job: &Value,
    jobs: &Map<String, Value>,
    root: &Path,
    found: &mut Vec<String>,
) {
    unknown_keys(job, OF_JOB, name, found);
    for wanted in ["runs-on", "timeout-minutes", "permissions", "steps"] {
        if job.get(wanted).is_none() {
            found.push(format!("{name}: no {wanted}"));
        }
    }
    unknown_keys(&job["permissions"], SCOPES, &format!("{name}: permissions"), found);
    for needed in needs(job).iter().filter(|needed| !jobs.contains_key(**needed)) {
        found.push(format!("{name}: needs \"{needed}\", which is no job"));
    }
    let before = all_before(name, jobs);
    if before.contains(name) {
        found.push(format!("{name}: needs itself"));
    }
    let matrix = matrix(job);
    let keys: BTreeSet<&str> = matrix.keys().copied().collect();
    expressions(job, &keys, name, found);
    runners(job, &matrix, name, found);
    for step in job["steps"].as_array().into_iter().flatten() {
        of_step(step, name, root, found);
    }
    for artifact in artifacts(job, "actions/download-artifact@") {
        let made = |job: &str| artifacts(&jobs[job], "actions/upload-artifact@").contains(artifact);
        if !before.iter().any(|job| jobs.contains_key(*job) && made(job)) {
            found.push(format!("{name}: nothing before it makes the artifact \"{artifact}\""));
        }
    }
}

fn of_step(step: &Value, job: &str, root: &Path, found: &mut Vec<String>) {
    unknown_keys(step, OF_STEP, &format!("{job}, a step"), found);
    match (step["uses"].as_str(), step["run"].as_str()) {
        (Some(uses), None) => {
            let commit = uses.split_once('@').map_or("", |(_, commit)| commit);
            if commit.len() != 40 || !commit.bytes().all(|b| b.is_ascii_hexdigit()) {
                found.push(format!("{job}: \"{uses}\" is not a commit of an action"));
            }
        }
        (None, Some(script)) => of_script(script, step["shell"].as_str(), job, root, found),
        _ => found.push(format!("{job}: a step has to have one of `uses` and `run`")),
    }
}

fn of_script(script: &str, shell: Option<&str>, job: &str, root: &Path, found: &mut Vec<String>) {
    if script.contains("${{") {
        found.push(format!("{job}: an expression in a script, where its value would be code"));
    }
    // PowerShell's syntax is not known here.
    if shell.is_none()
        && let Err(why) = shell_reads(script)
    {
        found.push(format!("{job}: sh -n: {why}"));
    }
    let words: Vec<&str> = script.split_whitespace().collect();
    for word in &words {
        let path = word.trim_matches(|c| matches!(c, '(' | ')' | '"' | ';'));
        let ours = path.starts_with("packaging/") || path.starts_with("scripts/");
        if ours && !root.join(path).is_file() {
            found.push(format!("{job}: there is no file \"{path}\""));
        }
    }
    let after = |word: &'static str| {
        words.windows(2).filter(move |pair| pair[0] == word).map(|pair| pair[1])
    };
    let makefile = std::fs::read_to_string(root.join("Makefile")).unwrap();
    for target in after("make").filter(|word| word.bytes().all(|b| b.is_ascii_lowercase())) {
        if !makefile.lines().any(|line| line.starts_with(&format!("{target}:"))) {
            found.push(format!("{job}: make has no \"{target}\""));
        }
    }
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let manifest: Value = toml::from_str(&manifest).unwrap();
    for test in after("--test") {
        let tests = manifest["test"].as_array().unwrap();
        if !tests.iter().any(|known| known["name"] == test) {
            found.push(format!("{job}: there is no test \"{test}\""));
        }
    }
}

/// Whether a shell can read it, without running it.
fn shell_reads(script: &str) -> Result<(), String> {
    let mut shell = Command::new("sh");
    shell.arg("-n").stdin(Stdio::piped()).stderr(Stdio::piped()).stdout(Stdio::null());
    let mut shell = shell.spawn().unwrap();
    shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = shell.wait_with_output().unwrap();
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

fn unknown_keys(value: &Value, known: &[&str], place: &str, found: &mut Vec<String>) {
    for key in value.as_object().into_iter().flat_map(Map::keys) {
        if !known.contains(&key.as_str()) {
            found.push(format!("{place} has \"{key}\", which GitHub does not know there"));
        }
    }
}

fn needs(job: &Value) -> Vec<&str> {
    match &job["needs"] {
        Value::String(one) => vec![one],
        several => several.as_array().into_iter().flatten().filter_map(Value::as_str).collect(),
    }
}

/// The jobs that have ended before this one begins; itself, if they wait for it.
fn all_before<'a>(name: &'a str, jobs: &'a Map<String, Value>) -> BTreeSet<&'a str> {
    let mut before = BTreeSet::new();
    let mut open = vec![name];
    while let Some(next) = open.pop() {
        for needed in jobs.get(next).map(needs).unwrap_or_default() {
            if before.insert(needed) {
                open.push(needed);
            }
        }
    }
    before
}

/// The names of the matrix, each with its values.
fn matrix(job: &Value) -> BTreeMap<&str, Vec<&str>> {
    let mut names = BTreeMap::<&str, Vec<&str>>::new();
    for one in job["strategy"]["matrix"]["include"].as_array().into_iter().flatten() {
        for (name, value) in one.as_object().into_iter().flatten() {
            names.entry(name).or_default().push(value.as_str().unwrap_or_default());
        }
    }
    names
}

/// A runner that does not exist is waited for, for a day.
fn runners(job: &Value, matrix: &BTreeMap<&str, Vec<&str>>, name: &str, found: &mut Vec<String>) {
    let label = job["runs-on"].as_str().unwrap_or_default();
    let from_matrix = label.strip_prefix("${{ matrix.").and_then(|rest| rest.strip_suffix(" }}"));
    let labels = match from_matrix {
        Some(key) => matrix.get(key).cloned().unwrap_or_default(),
        None => vec![label],
    };
    for label in labels.iter().filter(|label| !RUNNERS.contains(label)) {
        found.push(format!("{name}: runs on \"{label}\", which is no runner of GitHub's"));
    }
}

/// The names that steps with this action give; a download without one takes all.
fn artifacts<'a>(job: &'a Value, action: &str) -> BTreeSet<&'a str> {
    let steps = job["steps"].as_array().into_iter().flatten();
    let of_action =
        steps.filter(|step| step["uses"].as_str().is_some_and(|uses| uses.starts_with(action)));
    of_action.filter_map(|step| step["with"]["name"].as_str()).collect()
}

/// All expressions in the texts of a value.
fn expressions(value: &Value, matrix: &BTreeSet<&str>, place: &str, found: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            for inside in text.split("${{").skip(1) {
                match inside.split_once("}}") {
                    Some((expression, _)) => of_expression(expression.trim(), matrix, place, found),
                    None => found.push(format!("{place}: an expression has no end: \"{text}\"")),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|v| expressions(v, matrix, place, found)),
        Value::Object(map) => map.values().for_each(|v| expressions(v, matrix, place, found)),
        _ => {}
    }
}

fn of_expression(text: &str, matrix: &BTreeSet<&str>, place: &str, found: &mut Vec<String>) {
    let parsed = match Expr::parse(text) {
        Ok(parsed) => parsed,
        Err(e) => return found.push(format!("{place}: `{text}` is no expression: {e}")),
    };
    for (_, origin) in parsed.contexts() {
        let name = origin.raw;
        let (context, rest) = name.split_once('.').unwrap_or((name, ""));
        let key = rest.split('.').next().unwrap_or_default();
        if !CONTEXTS.contains(&context) {
            found.push(format!("{place}: there is no context \"{context}\""));
        } else if context == "matrix" && !matrix.contains(key) {
            found.push(format!("{place}: there is no \"{name}\""));
        }
    }
}
