//! podman's template functions, and what `rewrite` puts around Go's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gotmpl::{FuncMap, TemplateError, Value};

use super::call;
use super::node::{JSON, Node, SHOW};

/// Names that a template cannot spell.
pub const GET: &str = "\0get";
pub const PRINT: &str = "\0print";
pub const PLAIN: &str = "\0plain";
pub const BOUND: &str = "\0bound";

/// Go's functions that take texts and numbers: they get structs and times as
/// these are printed.
pub const OF_TEXTS: [&str; 12] =
    ["print", "printf", "println", "html", "js", "urlquery", "eq", "ne", "lt", "le", "gt", "ge"];

/// Longest text that functions make: twice this for each round of a
/// range would soon be all the memory.
const LONGEST: usize = 1 << 20;

/// Calls of functions and inner templates in one run.
const MOST_CALLS: u64 = 200_000;

/// How many calls are left.
#[derive(Clone)]
pub struct Budget(Arc<AtomicU64>);

impl Budget {
    pub fn new() -> Self {
        Self(Arc::new(AtomicU64::new(MOST_CALLS)))
    }

    fn spend(&self) -> Result<(), TemplateError> {
        let spent =
            self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        spent.map(drop).map_err(|_| TemplateError::Exec("the template takes too long".into()))
    }
}

type Answer = Result<Value, String>;
type Function = fn(&[Value]) -> Answer;

/// Every function that a template may call.
pub fn all(budget: &Budget) -> FuncMap {
    let mut all = FuncMap::new();
    let own: [(&str, Function); 12] = [
        ("json", json),
        ("join", join),
        ("lower", |args| one(args).map(|text| text.to_lowercase().into())),
        ("upper", |args| one(args).map(|text| text.to_uppercase().into())),
        ("title", |args| one(args).map(|text| title(&text).into())),
        ("split", split),
        ("pad", pad),
        ("truncate", truncate),
        (GET, get),
        (PRINT, |args| Ok(show(args.last().unwrap_or(&Value::Nil)).into())),
        (PLAIN, |args| Ok(plain(args.last().unwrap_or(&Value::Nil)))),
        (BOUND, bound),
    ];
    for (name, function) in own {
        let budget = budget.clone();
        let inner = move |args: &[Value]| {
            budget.spend()?;
            function(args).map_err(TemplateError::Exec)
        };
        all.insert(name.to_owned(), Arc::new(inner));
    }
    all
}

/// What was made is passed on, unless it is too long.
fn bound(args: &[Value]) -> Answer {
    let value = args.last().cloned().unwrap_or(Value::Nil);
    if size(&value) > LONGEST {
        return Err("a text in the template grows too long".into());
    }
    Ok(value)
}

fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::List(list) => list.len(),
        _ => 1,
    }
}

/// Structs and times become texts.
fn plain(value: &Value) -> Value {
    match value {
        Value::List(list) => Value::List(list.iter().map(plain).collect()),
        Value::Function(_) => show(value).into(),
        other => other.clone(),
    }
}

/// As Go prints it.
fn show(value: &Value) -> String {
    match value {
        Value::Function(node) => {
            node(&[SHOW.into()]).map_or_else(|e| e.to_string(), |t| t.to_string())
        }
        Value::List(list) => {
            format!("[{}]", list.iter().map(show).collect::<Vec<_>>().join(" "))
        }
        plain => Node::Plain(plain.clone()).shown(),
    }
}

/// Base, path, arguments.
fn get(args: &[Value]) -> Answer {
    let [place, base, path, args @ ..] = args else { return Err("no field".into()) };
    let path = path.as_str().unwrap_or_default();
    call::walk(base, path, args).map_err(|e| format!("{}: {e}", place.as_str().unwrap_or_default()))
}

fn json(args: &[Value]) -> Answer {
    let [value] = args else { return Err(count("json", 1, args.len())) };
    Ok(as_json(value).into())
}

fn as_json(value: &Value) -> String {
    match value {
        Value::Function(node) => {
            node(&[JSON.into()]).map_or_else(|e| e.to_string(), |t| t.to_string())
        }
        Value::List(list) => {
            format!("[{}]", list.iter().map(as_json).collect::<Vec<_>>().join(","))
        }
        plain => Node::Plain(plain.clone()).json(),
    }
}

fn count(name: &str, want: usize, got: usize) -> String {
    format!("wrong number of args for {name}: want {want} got {got}")
}

/// The only argument, a text. Headings of tables are texts too.
fn one(args: &[Value]) -> Result<String, String> {
    let [value] = args else { return Err(count("it", 1, args.len())) };
    text(value)
}

fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.to_string()),
        Value::Function(_) => Ok(show(value)),
        other => {
            Err(format!("wrong type for value; expected string; got {}", call::go_type(other)))
        }
    }
}

fn join(args: &[Value]) -> Answer {
    let [list, between] = args else { return Err(count("join", 2, args.len())) };
    let Value::List(list) = list else {
        // A heading stays what it is.
        return text(list).map(Into::into);
    };
    let parts: Vec<String> = list.iter().map(show).collect();
    Ok(parts.join(&text(between)?).into())
}

fn split(args: &[Value]) -> Answer {
    let [whole, at] = args else { return Err(count("split", 2, args.len())) };
    let (whole, at) = (text(whole)?, text(at)?);
    let parts: Vec<Value> = if at.is_empty() {
        whole.chars().map(|c| c.to_string().into()).collect()
    } else {
        whole.split(&at).map(Into::into).collect()
    };
    Ok(Value::List(parts.into()))
}

/// Spaces before and after; of nothing, nothing.
fn pad(args: &[Value]) -> Answer {
    let [inner, before, after] = args else { return Err(count("pad", 3, args.len())) };
    let inner = text(inner)?;
    if inner.is_empty() {
        return Ok(inner.into());
    }
    let (before, after) = (length(before)?, length(after)?);
    Ok(format!("{}{inner}{}", " ".repeat(before), " ".repeat(after)).into())
}

fn truncate(args: &[Value]) -> Answer {
    let [whole, longest] = args else { return Err(count("truncate", 2, args.len())) };
    Ok(text(whole)?.chars().take(length(longest)?).collect::<String>().into())
}

/// A length that is possible.
fn length(value: &Value) -> Result<usize, String> {
    let length = value.as_int().and_then(|n| usize::try_from(n).ok());
    length.filter(|n| *n <= LONGEST).ok_or_else(|| format!("{value} is no length"))
}

fn title(text: &str) -> String {
    let mut before = ' ';
    let mut capital = |c: char| {
        let begins = !before.is_alphanumeric() && before != '_' && before != '\'';
        before = c;
        if begins { c.to_uppercase().collect::<String>() } else { c.to_string() }
    };
    text.chars().map(&mut capital).collect()
}
