//! JSON values as YAML 1.2 in block style, for people to read. A string that
//! could be taken for something else is in double quotes, as in JSON, which is
//! YAML too.

use std::fmt::Write as _;

use serde_json::Value;

/// The value as a document, ending with a newline.
pub fn render(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(_) | Value::Array(_) if !is_empty(value) => block(value, 0, &mut text),
        scalar => {
            text.push_str(&inline(scalar));
            text.push('\n');
        }
    }
    text
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => true,
    }
}

fn block(value: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let _ = write!(text, "{indent}{}:", plain(key));
                after(value, depth, text);
            }
        }
        Value::Array(list) => {
            for value in list {
                let _ = write!(text, "{indent}-");
                after(value, depth, text);
            }
        }
        _ => {}
    }
}

/// What follows a key or a dash.
fn after(value: &Value, depth: usize, text: &mut String) {
    if is_empty(value) {
        let _ = writeln!(text, " {}", inline(value));
    } else {
        text.push('\n');
        block(value, depth + 1, text);
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(string) => plain(string),
        other => other.to_string(),
    }
}

/// Bare where nothing but a string can be meant.
fn plain(string: &str) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '.' | '-' | ' ');
    let begins = string.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let ends = !string.ends_with(' ');
    let reserved = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    if begins && ends && string.chars().all(word) && !reserved.contains(&&*string.to_lowercase()) {
        return string.to_owned();
    }
    Value::from(string).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn maps_and_lists_are_indented() {
        let value = json!({ "a": { "b": 1, "list": ["x", { "k": null }], "none": [] } });
        let wanted = "a:\n  b: 1\n  list:\n    - x\n    -\n      k: null\n  none: []\n";
        assert_eq!(render(&value), wanted);
        assert_eq!(render(&json!("x")), "x\n");
    }

    #[test]
    fn only_what_must_be_a_string_is_bare() {
        for bare in ["/tmp/a b", "linux", "v1.2-x"] {
            assert_eq!(plain(bare), bare);
        }
        for quoted in ["", "no", "True", "1.5", "a: b", "- x", "a\nb", "~", "x ", "#c"] {
            assert_eq!(plain(quoted), Value::from(quoted).to_string());
        }
    }
}
