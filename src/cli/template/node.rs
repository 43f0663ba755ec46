//! What templates see: values with Go's type names, fields in their order.
//!
//! gotmpl's own maps have neither, so a struct, a time and a heading are
//! functions to it that only answer `call`.

use std::fmt;
use std::sync::Arc;

use gotmpl::{TemplateError, Value};
use jiff::Timestamp;
use serde::Serialize;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{call, layout};

/// What JSON does not tell about a Go type.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// The type's name in podman, for messages: `machine.InspectInfo`.
    pub name: &'static str,
    /// Its fields that hold a `time.Time`.
    pub times: &'static [&'static str],
}

/// The names of the inner types, where they are not `machine.` and the field.
const INNER: [(&str, &str); 14] = [
    ("ConfigPath", "define.VMFile"),
    ("ConfigDir", "define.VMFile"),
    ("PodmanSocket", "define.VMFile"),
    ("PodmanPipe", "define.VMFile"),
    ("ControlSocket", "define.VMFile"),
    ("IgnitionFilePath", "define.VMFile"),
    ("ImagePath", "define.VMFile"),
    ("BasePath", "define.VMFile"),
    ("ConnectionInfo", "machine.ConnectionConfig"),
    ("Image", "machine.ImageConfig"),
    ("Resources", "vmconfigs.ResourceConfig"),
    ("SSHConfig", "vmconfigs.SSHConfig"),
    ("Host", "*entities.MachineHostInfo"),
    ("Version", "define.Version"),
];

/// A value in the tree that a template walks.
#[derive(Debug, Clone)]
pub enum Node {
    Plain(Value),
    /// And how JSON writes it.
    Time(Timestamp, Arc<str>),
    List(Arc<Vec<Node>>),
    Struct(Arc<Struct>),
    /// Stands for every field while a table's heading is made.
    Heading(String),
}

/// Fields in their order.
#[derive(Debug)]
pub struct Struct {
    pub go: String,
    pub fields: Vec<(String, Node)>,
}

impl Node {
    /// What `one` looks like as JSON, with types.
    pub fn new<T: Serialize>(one: &T, shape: Shape) -> Result<Self, String> {
        let text = serde_json::to_string(one).map_err(|e| e.to_string())?;
        let raw: Raw = serde_json::from_str(&text).map_err(|e| e.to_string())?;
        Ok(raw.typed(shape.name, shape.times))
    }

    /// The name that Go's messages have for its type.
    pub fn go_type(&self) -> String {
        match self {
            Self::Plain(Value::Bool(_)) => "bool".into(),
            Self::Plain(Value::Int(_)) => "int".into(),
            Self::Plain(Value::Uint(_)) => "uint64".into(),
            Self::Plain(Value::Float(_)) => "float64".into(),
            Self::Plain(Value::Nil) => "nil".into(),
            Self::Plain(_) | Self::Heading(_) => "string".into(),
            Self::Time(..) => "time.Time".into(),
            Self::List(list) => {
                format!("[]{}", list.first().map_or_else(|| "string".into(), Self::go_type))
            }
            Self::Struct(inner) => inner.go.clone(),
        }
    }

    /// As Go's `%v` prints it.
    pub fn shown(&self) -> String {
        match self {
            Self::Plain(Value::Nil) => "<nil>".into(),
            Self::Plain(value) => value.to_string(),
            Self::Time(time, _) => layout::whole(*time),
            Self::Heading(text) => text.clone(),
            Self::List(list) => format!("[{}]", joined(list.iter())),
            Self::Struct(inner) => {
                format!("{{{}}}", joined(inner.fields.iter().map(|(_, node)| node)))
            }
        }
    }

    /// As Go's `encoding/json` writes it, without a space.
    pub fn json(&self) -> String {
        let text = |text: &str| serde_json::Value::from(text).to_string();
        match self {
            Self::Plain(Value::Nil) => "null".into(),
            Self::Plain(Value::String(inner)) => text(inner),
            Self::Plain(value) => value.to_string(),
            Self::Time(_, written) => text(written),
            Self::Heading(inner) => inner.clone(),
            Self::List(list) => {
                let all: Vec<String> = list.iter().map(Self::json).collect();
                format!("[{}]", all.join(","))
            }
            Self::Struct(inner) => {
                let field =
                    |(name, node): &(String, Node)| format!("{}:{}", text(name), node.json());
                let all: Vec<String> = inner.fields.iter().map(field).collect();
                format!("{{{}}}", all.join(","))
            }
        }
    }
}

fn joined<'a>(nodes: impl Iterator<Item = &'a Node>) -> String {
    nodes.map(Node::shown).collect::<Vec<_>>().join(" ")
}

/// The node that answers for every field with its heading.
pub fn heading() -> Node {
    Node::Heading(String::new())
}

/// `LastUp` becomes `LAST UP`, `SSHConfig` `SSH CONFIG`; `CPUs` stays one word,
/// as in podman's tables.
pub fn title(field: &str) -> String {
    if field == "CPUs" {
        return "CPUS".into();
    }
    let chars: Vec<char> = field.chars().collect();
    let begins = |at: usize| {
        let after = chars.get(at + 1).copied().is_some_and(char::is_lowercase);
        at > 0 && chars[at].is_uppercase() && (chars[at - 1].is_lowercase() || after)
    };
    let mut text = String::new();
    for (at, c) in chars.iter().enumerate() {
        if begins(at) {
            text.push(' ');
        }
        text.extend(c.to_uppercase());
    }
    text
}

/// What a node can be asked by calling it: the first argument.
pub const SHOW: &str = "show";
pub const JSON: &str = "json";
pub const TYPE: &str = "type";
pub const FIELD: &str = "field";

/// The node as gotmpl carries it: what it can handle itself stays plain.
pub fn value(node: Node) -> Value {
    match node {
        Node::Plain(plain) => plain,
        Node::List(list) => Value::List(list.iter().cloned().map(value).collect()),
        node => Value::Function(Arc::new(move |args: &[Value]| {
            let text = |text: String| Ok(Value::String(text.into()));
            match args.first().and_then(Value::as_str) {
                Some(SHOW) => text(node.shown()),
                Some(JSON) => text(node.json()),
                Some(TYPE) => text(node.go_type()),
                Some(FIELD) => call::field(&node, &args[1..]).map_err(TemplateError::Exec),
                _ => Err(TemplateError::Exec(format!("can't call a {}", node.go_type()))),
            }
        })),
    }
}

/// JSON that keeps the order of its keys.
enum Raw {
    Plain(Value),
    Text(String),
    List(Vec<Raw>),
    Struct(Vec<(String, Raw)>),
}

impl Raw {
    fn typed(self, name: &str, times: &[&str]) -> Node {
        match self {
            Self::Plain(value) => Node::Plain(value),
            Self::Text(text) => Node::Plain(Value::String(text.into())),
            Self::List(all) => {
                Node::List(Arc::new(all.into_iter().map(|one| one.typed(name, &[])).collect()))
            }
            Self::Struct(all) => {
                let field = |(key, raw): (String, Self)| {
                    let node = raw.field(&key, times);
                    (key, node)
                };
                let fields = all.into_iter().map(field).collect();
                Node::Struct(Arc::new(Struct { go: name.to_owned(), fields }))
            }
        }
    }

    fn field(self, key: &str, times: &[&str]) -> Node {
        if let Self::Text(text) = &self
            && times.contains(&key)
            && let Ok(time) = text.parse()
        {
            return Node::Time(time, text.as_str().into());
        }
        let known = INNER.iter().find(|(field, _)| *field == key);
        let name = known.map_or_else(|| format!("machine.{key}"), |(_, go)| (*go).to_owned());
        self.typed(&name, &[])
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Plain(Value::Nil))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Plain(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Plain(Value::Int(value)))
    }

    /// Literals in templates are signed, and so compare with these.
    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Plain(i64::try_from(value).map_or(Value::Uint(value), Value::Int)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Plain(Value::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Raw, A::Error> {
        let mut all = Vec::new();
        while let Some(one) = from.next_element()? {
            all.push(one);
        }
        Ok(Raw::List(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Raw, A::Error> {
        let mut all = Vec::new();
        while let Some(entry) = from.next_entry()? {
            all.push(entry);
        }
        Ok(Raw::Struct(all))
    }
}
