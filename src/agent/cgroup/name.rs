//! Names of groups. Those of single commands tell which agent made them, so
//! that the next one knows what nobody looks after any more.

use std::cell::Cell;
use std::fs;

const PREFIX: &str = "run-";
const NAMED: &str = "ns-";

/// A name that nobody has had.
pub fn next() -> String {
    thread_local! { static COUNT: Cell<u64> = const { Cell::new(0) } }
    let count = COUNT.replace(COUNT.get() + 1);
    let pid = std::process::id();
    format!("{PREFIX}{pid}-{}-{count}", started(pid).unwrap_or(0))
}

/// Whether it is the name of a group whose maker has ended.
pub fn is_left(name: &str) -> bool {
    maker(name).is_some_and(|(pid, start)| started(pid) != Some(start))
}

/// That of a named namespace made at `created`, in seconds since 1970.
pub fn of_named(name: &str, created: i64) -> String {
    format!("{NAMED}{name}-{created}")
}

/// Whether it is the name of some named namespace's group.
pub fn is_named(name: &str) -> bool {
    name.starts_with(NAMED)
}

/// Process number and start time.
fn maker(name: &str) -> Option<(u32, u64)> {
    let mut fields = name.strip_prefix(PREFIX)?.split('-');
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// When a process started, in ticks since the boot (`proc_pid_stat(5)`, field
/// 22): its number alone may be another's by now.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in parentheses that may hold anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_living_agent_made_is_not_left_over() {
        let (one, other) = (next(), next());
        assert_ne!(one, other);
        assert!(!is_left(&one) && !is_left(&other));
        let (pid, start) = maker(&one).unwrap();
        assert!(is_left(&format!("run-{pid}-{}-0", start + 1)), "the number is another's by now");
        assert!(is_left("run-4194305-1-0"), "no process has this number");
        for others in ["ns-web", "run-", "run-x-1-0", "init.scope"] {
            assert!(!is_left(others), "{others}");
        }
        assert!(is_named(&of_named("web", 7)) && !is_left(&of_named("run-4194305-1", 0)));
        assert!(!is_named(&one));
    }
}
