//! The lines of QMP, parsed and built. Pure.

use std::fmt;

use serde_json::Value;

/// Stands for the greeting, the one answer that nobody asked for.
pub const GREETING_ID: u64 = 0;

/// What QEMU answered.
pub type Reply = Result<Value, Refusal>;

/// Something that happened in QEMU, e.g. `SHUTDOWN`.
#[derive(Debug, Clone, PartialEq)]
pub struct QmpEvent {
    pub name: String,
    /// `Null` for events without data.
    pub data: Value,
}

/// QEMU's reason not to do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// `GenericError`, `CommandNotFound`, ...
    pub class: String,
    pub description: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.description)
    }
}

/// A line from QEMU that concerns somebody.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    Reply(u64, Reply),
    Event(QmpEvent),
}

/// One command as QEMU reads it, line end included.
pub fn request(command: &str, arguments: Value, id: u64) -> String {
    let mut request = serde_json::json!({ "execute": command, "id": id });
    if !arguments.is_null() {
        request["arguments"] = arguments;
    }
    format!("{request}\n")
}

/// `None` for anything that is not QMP, or an answer to nobody.
pub fn parse(line: &[u8]) -> Option<Message> {
    let mut line: Value = serde_json::from_slice(line).ok()?;
    if let Some(name) = line.get("event").and_then(Value::as_str) {
        let name = name.to_owned();
        return Some(Message::Event(QmpEvent { name, data: line["data"].take() }));
    }
    if line.get("QMP").is_some() {
        return Some(Message::Reply(GREETING_ID, Ok(line["QMP"].take())));
    }
    let id = line.get("id")?.as_u64()?;
    if let Some(error) = line.get("error") {
        return Some(Message::Reply(id, Err(refusal(error))));
    }
    line.get_mut("return").map(|value| Message::Reply(id, Ok(value.take())))
}

fn refusal(error: &Value) -> Refusal {
    let text = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or("unknown").to_owned();
    Refusal { class: text("class"), description: text("desc") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn requests_carry_their_id_and_arguments_only_when_given() {
        assert_eq!(request("quit", Value::Null, 7), "{\"execute\":\"quit\",\"id\":7}\n");
        let with = request("x", json!({"a": "b\n"}), 8);
        assert_eq!(with, "{\"arguments\":{\"a\":\"b\\n\"},\"execute\":\"x\",\"id\":8}\n");
    }

    #[test]
    fn lines_are_told_apart() {
        let event = QmpEvent { name: "STOP".into(), data: Value::Null };
        let refusal = Refusal { class: "GenericError".into(), description: "no".into() };
        for (line, expected) in [
            (
                r#"{"QMP": {"capabilities": []}}"#,
                Some(Message::Reply(0, Ok(json!({"capabilities": []})))),
            ),
            (r#"{"return": {}, "id": 3}"#, Some(Message::Reply(3, Ok(json!({}))))),
            (
                r#"{"id": 4, "error": {"class": "GenericError", "desc": "no"}}"#,
                Some(Message::Reply(4, Err(refusal))),
            ),
            (r#"{"timestamp": {"seconds": 1}, "event": "STOP"}"#, Some(Message::Event(event))),
            (r#"{"return": {}}"#, None),
            (r#"{"return": {}, "id": "text"}"#, None),
            ("[1, 2]", None),
            ("7", None),
            ("{", None),
            ("", None),
        ] {
            assert_eq!(parse(line.as_bytes()), expected, "{line}");
        }
    }
}
