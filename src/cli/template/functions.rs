//! podman's template functions, and what `rewrite` puts around Go's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gotmpl::parse::{DefineNode, ListNode, Pos};
use gotmpl::{FuncMap, TemplateError, Value};

use super::node::{JSON, Node, SHOW};
use super::{call, rewrite};

/// Names that a template cannot spell.
pub const CALL: &str = "\0call";
pub const ITEMS: &str = "\0items";
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

/// podman's functions, and those of Go's that must know structs: how many
/// arguments each takes.
const OURS: [(&str, Count, Function); 11] = [
    ("json", Count::Just(1), |args| Ok(as_json(&args[0]).into())),
    ("join", Count::Just(2), join),
    ("lower", Count::Just(1), |args| Ok(text(&args[0])?.to_lowercase().into())),
    ("upper", Count::Just(1), |args| Ok(text(&args[0])?.to_uppercase().into())),
    ("title", Count::Just(1), |args| Ok(title(&text(&args[0])?).into())),
    ("split", Count::Just(2), split),
    ("pad", Count::Just(3), pad),
    ("truncate", Count::Just(2), truncate),
    ("len", Count::Just(1), length_of),
    ("index", Count::AtLeast(1), index),
    ("slice", Count::AtLeast(1), slice),
];

/// What else Go has.
const GO: [&str; 16] = [
    "and", "or", "not", "print", "println", "printf", "call", "html", "js", "urlquery", "eq", "ne",
    "lt", "le", "gt", "ge",
];

#[derive(Clone, Copy)]
enum Count {
    Just(usize),
    AtLeast(usize),
}

impl Count {
    fn check(self, name: &str, got: usize) -> Result<(), String> {
        let (fits, want) = match self {
            Self::Just(want) => (got == want, want.to_string()),
            Self::AtLeast(want) => (got >= want, format!("at least {want}")),
        };
        let wrong = || format!("wrong number of args for {name}: want {want} got {got}");
        fits.then_some(()).ok_or_else(wrong)
    }
}

/// Whether `rewrite` shall have [`CALL`] call it.
pub fn is_ours(name: &str) -> bool {
    OURS.iter().any(|(ours, ..)| *ours == name)
}

/// The first function in a template that there is not, and where.
pub fn unknown(tree: &ListNode, defines: &[DefineNode]) -> Option<(Pos, String)> {
    let known = |name: &str| is_ours(name) || GO.contains(&name);
    let trees = defines.iter().map(|define| &define.body).chain([tree]);
    trees.flat_map(rewrite::called).find(|(_, name)| !known(name))
}

/// Every function that a rewritten template may call.
pub fn all(budget: &Budget) -> FuncMap {
    let mut all = FuncMap::new();
    let own: [(&str, Function); 6] = [
        (CALL, call_ours),
        (ITEMS, items),
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

/// Place, name, arguments.
fn call_ours(args: &[Value]) -> Answer {
    let [place, name, args @ ..] = args else { return Err("no function".into()) };
    let name = name.as_str().unwrap_or_default();
    let (_, count, function) =
        OURS.iter().find(|(ours, ..)| *ours == name).ok_or("no such function")?;
    let answer = count.check(name, args.len()).and_then(|()| function(args));
    answer.map_err(|e| format!("{}: {e}", place.as_str().unwrap_or_default()))
}

/// What a range goes over, of its place and that. A heading stands for one.
fn items(args: &[Value]) -> Answer {
    let [place, over] = args else { return Err("no range".into()) };
    match over {
        Value::List(_) | Value::Int(_) | Value::Uint(_) | Value::Nil => Ok(over.clone()),
        other if is_heading(other) => Ok(Value::List(vec![other.clone()].into())),
        other => Err(format!(
            "{}: range can't iterate over {}",
            place.as_str().unwrap_or_default(),
            show(other)
        )),
    }
}

/// It is asked for its type as a text is, though it is none yet.
fn is_heading(value: &Value) -> bool {
    matches!(value, Value::Function(_)) && call::go_type(value) == "string"
}

/// A heading as the text that it is.
fn without_heading(value: &Value) -> Value {
    if is_heading(value) { show(value).into() } else { value.clone() }
}

fn length_of(args: &[Value]) -> Answer {
    let value = without_heading(&args[0]);
    let length = match &value {
        Value::Function(_) => None,
        other => other.len().and_then(|length| i64::try_from(length).ok()),
    };
    let none = || format!("error calling len: len of type {}", call::go_type(&value));
    length.map(Value::Int).ok_or_else(none)
}

fn index(args: &[Value]) -> Answer {
    let mut value = without_heading(&args[0]);
    for at in &args[1..] {
        if !matches!(value, Value::List(_) | Value::String(_) | Value::Map(_)) {
            let go = call::go_type(&value);
            return Err(format!("error calling index: can't index item of type {go}"));
        }
        value = value.index(at).map_err(|e| format!("error calling index: {}", call::bare(&e)))?;
    }
    Ok(value)
}

fn slice(args: &[Value]) -> Answer {
    let value = without_heading(&args[0]);
    if !matches!(value, Value::List(_) | Value::String(_)) {
        let go = call::go_type(&value);
        return Err(format!("error calling slice: can't slice item of type {go}"));
    }
    let bounds = args[1..].iter().map(|at| at.as_int().ok_or_else(|| at.clone()));
    let bounds: Vec<i64> = bounds
        .collect::<Result<_, _>>()
        .map_err(|at| format!("error calling slice: cannot index slice/array with {at}"))?;
    let sliced = match *bounds.as_slice() {
        [] => value.slice(None, None),
        [from] => value.slice(Some(from), None),
        // A third one is about room to grow, which nothing here has.
        [from, to, ..] => value.slice(Some(from), Some(to)),
    };
    sliced.map_err(|e| format!("error calling slice: {}", call::bare(&e)))
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
    let Value::List(list) = &args[0] else {
        // A heading stays what it is.
        return text(&args[0]).map(Into::into);
    };
    let parts: Vec<String> = list.iter().map(show).collect();
    Ok(parts.join(&text(&args[1])?).into())
}

fn split(args: &[Value]) -> Answer {
    let (whole, at) = (text(&args[0])?, text(&args[1])?);
    let parts: Vec<Value> = if at.is_empty() {
        whole.chars().map(|c| c.to_string().into()).collect()
    } else {
        whole.split(&at).map(Into::into).collect()
    };
    Ok(Value::List(parts.into()))
}

/// Spaces before and after; of nothing, nothing.
fn pad(args: &[Value]) -> Answer {
    let inner = text(&args[0])?;
    if inner.is_empty() {
        return Ok(inner.into());
    }
    let (before, after) = (length(&args[1])?, length(&args[2])?);
    Ok(format!("{}{inner}{}", " ".repeat(before), " ".repeat(after)).into())
}

fn truncate(args: &[Value]) -> Answer {
    Ok(text(&args[0])?.chars().take(length(&args[1])?).collect::<String>().into())
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
