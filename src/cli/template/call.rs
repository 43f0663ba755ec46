//! Fields and methods: what stands behind `.LastUp.Format "2006"`.

use gotmpl::{TemplateError, Value};
use jiff::Timestamp;

use super::layout;
use super::node::{FIELD, JSON, Node, TYPE, title, value};

/// What follows it in an error is the fields that there are. No argument of a
/// program holds it, so no template makes it up.
pub const FIELDS: char = '\0';

/// podman's "never", Go's zero time.
const ZERO: &str = "0001-01-01T00:00:00Z";

/// Walks `path`, whose last part gets the arguments.
pub fn walk(base: &Value, path: &str, args: &[Value]) -> Result<Value, String> {
    let mut value = base.clone();
    let mut parts = path.split('.').peekable();
    while let Some(part) = parts.next() {
        let given = if parts.peek().is_none() { args } else { &[] };
        value = step(&value, part, given)?;
    }
    Ok(value)
}

fn step(base: &Value, part: &str, args: &[Value]) -> Result<Value, String> {
    match base {
        Value::Function(node) => {
            let all: Vec<Value> =
                [FIELD.into(), part.into()].into_iter().chain(args.iter().cloned()).collect();
            node(&all).map_err(|e| bare(&e))
        }
        Value::Nil => Err(format!("nil pointer evaluating interface {{}}.{part}")),
        plain => Err(unknown(part, &go_type(plain))),
    }
}

/// Without gotmpl's own preamble.
pub fn bare(error: &TemplateError) -> String {
    let text = error.to_string();
    text.strip_prefix("execution error: ").unwrap_or(&text).to_owned()
}

/// The name that Go's messages have for the type of any value.
pub fn go_type(of: &Value) -> String {
    match of {
        Value::Function(node) => {
            node(&[TYPE.into()]).map_or_else(|_| "func".into(), |name| name.to_string())
        }
        Value::List(list) => {
            format!("[]{}", list.first().map_or_else(|| "string".into(), go_type))
        }
        plain => Node::Plain(plain.clone()).go_type(),
    }
}

fn unknown(field: &str, go: &str) -> String {
    format!("can't evaluate field {field} in type {go}")
}

/// The field or method of a node that `args` name, with arguments.
pub fn field(node: &Node, args: &[Value]) -> Result<Value, String> {
    let (name, args) = args.split_first().ok_or("no field")?;
    let name = name.as_str().unwrap_or_default();
    match node {
        // Times are kept in UTC and shown in it.
        Node::Time(..) if matches!(name, "UTC" | "Local") => Ok(value(node.clone())),
        Node::Time(time, _) => method(*time, name, args),
        Node::Heading(_) => Ok(value(Node::Heading(title(name)))),
        Node::Struct(inner) => {
            let found = inner.fields.iter().find(|(key, _)| key == name);
            let (_, found) = found.ok_or_else(|| {
                let all: Vec<&str> = inner.fields.iter().map(|(key, _)| key.as_str()).collect();
                format!("{}{FIELDS}{}", unknown(name, &inner.go), all.join(", "))
            })?;
            if args.is_empty() {
                return Ok(value(found.clone()));
            }
            Err(format!("{name} has arguments but cannot be invoked as function"))
        }
        node => Err(unknown(name, &node.go_type())),
    }
}

/// The methods of Go's `time.Time` that mean something in a listing.
fn method(time: Timestamp, name: &str, args: &[Value]) -> Result<Value, String> {
    match (name, args) {
        ("Format", [Value::String(text)]) => return Ok(layout::format(time, text).into()),
        ("Format", [other]) => return Err(format!("expected string; found {other}")),
        ("Before" | "After" | "Equal", [other]) => {
            let other = other_time(other)?;
            return Ok(Value::Bool(match name {
                "Before" => time < other,
                "After" => time > other,
                _ => time == other,
            }));
        }
        ("Format" | "Before" | "After" | "Equal", _) => {
            return Err(wrong_count(name, 1, args.len()));
        }
        _ => {}
    }
    let number =
        |format: &str| Value::Int(time.strftime(format).to_string().parse().unwrap_or_default());
    let found = match name {
        "String" => layout::whole(time).into(),
        "Unix" => Value::Int(time.as_second()),
        "UnixMilli" => Value::Int(time.as_millisecond()),
        "UnixNano" => Value::Int(i64::try_from(time.as_nanosecond()).unwrap_or(i64::MIN)),
        "IsZero" => Value::Bool(ZERO.parse().is_ok_and(|zero: Timestamp| zero == time)),
        "Month" => time.strftime("%B").to_string().into(),
        "Weekday" => time.strftime("%A").to_string().into(),
        "Year" => number("%Y"),
        "Day" => number("%-d"),
        "Hour" => number("%-H"),
        "Minute" => number("%-M"),
        "Second" => number("%-S"),
        "YearDay" => number("%-j"),
        "Nanosecond" => Value::Int(time.subsec_nanosecond().into()),
        _ => return Err(unknown(name, "time.Time")),
    };
    if args.is_empty() { Ok(found) } else { Err(wrong_count(name, 0, args.len())) }
}

/// The time that another field holds.
fn other_time(value: &Value) -> Result<Timestamp, String> {
    let wrong = || format!("wrong type for value; expected time.Time; got {}", go_type(value));
    let Value::Function(node) = value else { return Err(wrong()) };
    let text = node(&[JSON.into()]).map_err(|e| bare(&e))?.to_string();
    text.trim_matches('"').parse().map_err(|_| wrong())
}

fn wrong_count(name: &str, want: usize, got: usize) -> String {
    format!("wrong number of args for {name}: want {want} got {got}")
}
