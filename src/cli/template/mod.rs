//! `--format` with a Go template, as podman takes it.
//!
//! The language is gotmpl's. What it lacks is added by a rewrite of the parsed
//! template (`rewrite`): field access that knows Go's types and methods, so
//! that a wrong field is the error that podman's users know. Rendering is
//! pure, and bounded in steps and output: a template is a program.

mod call;
mod functions;
mod layout;
mod node;
mod rewrite;

use std::fmt;
use std::sync::Arc;

use gotmpl::TemplateError;
use gotmpl::parse::{DefineNode, ListNode, Parser};
use serde::Serialize;

use functions::Budget;
pub use node::Shape;
use node::{Node, heading, value};

/// Longer output is no listing of machines but a runaway template.
const LONGEST_OUTPUT: usize = 16 << 20;

/// Iterations of all ranges together, for the same reason.
const MOST_ROUNDS: u64 = 100_000;

/// A template that was understood.
pub struct Template {
    name: String,
    tree: ListNode,
    defines: Vec<(String, ListNode)>,
    /// It begins a range over all by itself.
    whole: bool,
}

/// Why a template cannot be used; worded as Go words it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text}")]
pub struct Failure {
    text: String,
    /// What there is instead of a field that there is not.
    fields: Option<String>,
}

impl Failure {
    fn new(text: String) -> Self {
        match text.split_once(call::FIELDS) {
            Some((text, fields)) => Self { text: text.into(), fields: Some(fields.into()) },
            None => Self { text, fields: None },
        }
    }

    /// The way out.
    pub fn hint(&self) -> String {
        match &self.fields {
            Some(fields) => format!("Its fields are {fields}"),
            None => "Ask for `--format '{{json .}}'` to see all fields".to_owned(),
        }
    }
}

/// What `--format` can say.
pub enum Format {
    Json,
    /// Rows, to be laid out below a heading.
    Table(Template),
    Plain(Template),
}

impl Format {
    /// Understands the text after `--format`; `name` is that of the command.
    pub fn parse(name: &str, text: &str) -> Result<Self, Failure> {
        if is_json(text) {
            return Ok(Self::Json);
        }
        match text.strip_prefix("table ") {
            Some(columns) => {
                Ok(Self::Table(Template::parse(name, columns.trim_start())?.columns()))
            }
            None => Ok(Self::Plain(Template::parse(name, text)?)),
        }
    }
}

/// podman takes `{{json}}` and `{{json.}}` for it, too; `{{json .}}` is a template.
fn is_json(text: &str) -> bool {
    let inner = |text: &str| {
        let inner = text.strip_prefix("{{")?.strip_suffix("}}")?.trim().to_owned();
        Some(inner)
    };
    let text = text.trim();
    text == "json" || inner(text).is_some_and(|inner| inner == "json" || inner == "json.")
}

impl Template {
    /// Understands the text, whose end is that of a line as podman has it,
    /// whether it says so or not.
    pub fn parse(name: &str, text: &str) -> Result<Self, Failure> {
        let mut text = text.replace("\\t", "\t").replace("\\n", "\n");
        // What is wrong with it is said of what was typed.
        let (mut tree, mut defines) = parse(name, &text)?;
        if !text.ends_with('\n') {
            text.push('\n');
            (tree, defines) = parse(name, &text)?;
        }
        if let Some((pos, unknown)) = functions::unknown(&tree, &defines) {
            let text = format!("template: {name}:{}: function \"{unknown}\" not defined", pos.line);
            return Err(Failure::new(text));
        }
        let rewrite = |list: &ListNode| rewrite::list(list, name, &text);
        Ok(Self {
            name: name.to_owned(),
            whole: rewrite::ranges_over_all(&tree),
            defines: defines.iter().map(|d| (d.name.to_string(), rewrite(&d.body))).collect(),
            tree: rewrite(&tree),
        })
    }

    /// Spaces between columns count as tabs. A range over all has the ends of
    /// its lines in itself.
    fn columns(mut self) -> Self {
        rewrite::tabs(&mut self.tree);
        if self.whole {
            rewrite::drop_mark(&mut self.tree, "\n");
        }
        self
    }

    /// One text each, or a single one for all if the template asks for that.
    pub fn render_each<T: Serialize>(
        &self,
        all: &[T],
        shape: Shape,
    ) -> Result<Vec<String>, Failure> {
        let nodes = all.iter().map(|one| Node::new(one, shape));
        let nodes: Vec<Node> = nodes.collect::<Result<_, _>>().map_err(Failure::new)?;
        if self.whole {
            return Ok(vec![self.run(Node::List(Arc::new(nodes)))?]);
        }
        nodes.into_iter().map(|node| self.run(node)).collect()
    }

    /// The text of a single thing.
    pub fn render<T: Serialize>(&self, one: &T, shape: Shape) -> Result<String, Failure> {
        self.run(Node::new(one, shape).map_err(Failure::new)?)
    }

    /// The heading of a table: each field's name, in capitals.
    pub fn heading(&self) -> Result<String, Failure> {
        let node = heading();
        self.run(if self.whole { Node::List(Arc::new(vec![node])) } else { node })
    }

    fn run(&self, node: Node) -> Result<String, Failure> {
        let mut template = gotmpl::Template::new(&self.name)
            .max_range_iters(MOST_ROUNDS)
            .funcs(functions::all(&Budget::new()));
        // The parser wants some text before the tree can be replaced.
        template = template.parse("{{template \"\\x00\" .}}").map_err(|e| self.failure(&e))?;
        for (name, tree) in &self.defines {
            template = template.add_parse_tree(name, tree.clone());
        }
        template = template.add_parse_tree("\0", self.tree.clone());
        let mut output = Bounded(String::new());
        let ran = template.execute_fmt(&mut output, &value(node));
        ran.map(|()| output.0).map_err(|e| self.failure(&e))
    }

    fn failure(&self, error: &TemplateError) -> Failure {
        let text = error.to_string();
        let text = text.strip_prefix("execution error: ").unwrap_or(&text);
        if text.starts_with("template: ") {
            return Failure::new(text.to_owned());
        }
        Failure::new(format!("template: {}: executing \"{}\": {text}", self.name, self.name))
    }
}

/// No argument of a program holds it.
const MARK: &str = "\0";

/// The tree of the text, and the inner templates.
fn parse(name: &str, text: &str) -> Result<(ListNode, Vec<DefineNode>), Failure> {
    let attempt =
        |end: &str| Parser::with_name(Some(name), &format!("{text}{end}"), "{{", "}}")?.parse();
    let parsed = attempt("").and_then(|_| attempt(MARK));
    let (mut tree, defines) = parsed.map_err(|e| Failure::new(e.to_string()))?;
    // gotmpl 0.6 forgives an end that is missing, and leaves out all that
    // follows one too many.
    if rewrite::drop_mark(&mut tree, MARK) {
        return Ok((tree, defines));
    }
    let missing = attempt(&format!("{{{{end}}}}{MARK}"))
        .is_ok_and(|(mut tree, _)| rewrite::drop_mark(&mut tree, MARK));
    let what = if missing { "unexpected EOF" } else { "unexpected {{end}} or {{else}}" };
    let line = text.matches('\n').count() + 1;
    Err(Failure::new(format!("template: {name}:{line}: {what}")))
}

/// Refuses to grow without end.
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > LONGEST_OUTPUT {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
