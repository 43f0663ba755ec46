//! Fields and methods: what stands behind `.LastUp.Format "2006"`.

use gotmpl::Value;
use jiff::Timestamp;

use super::layout;
use super::node::{FIELD, Node, TYPE, title, value};

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
            node(&all).map_err(|e| bare(&e.to_string()))
        }
        Value::Nil => Err(format!("nil pointer evaluating interface {{}}.{part}")),
        plain => Err(unknown(part, &go_type(plain))),
    }
}

/// Without gotmpl's own preamble.
fn bare(text: &str) -> String {
    text.strip_prefix("execution error: ").unwrap_or(text).to_owned()
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
            let (_, found) = found.ok_or_else(|| unknown(name, &inner.go))?;
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
    if name == "Format" {
        let [Value::String(text)] = args else {
            return Err(wrong_count("Format", 1, args.len()));
        };
        return Ok(layout::format(time, text).into());
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
        _ => return Err(unknown(name, "time.Time")),
    };
    if args.is_empty() { Ok(found) } else { Err(wrong_count(name, 0, args.len())) }
}

fn wrong_count(name: &str, want: usize, got: usize) -> String {
    format!("wrong number of args for {name}: want {want} got {got}")
}
