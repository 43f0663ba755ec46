//! Names of time zones: the host's own, and which are worth handing on.

use jiff::tz::{self, TimeZone};

/// Means the host's own.
pub const LOCAL: &str = "local";

/// Where the host's own has no name (`TZ=:/some/file`).
const NAMELESS: &str = "UTC";

/// No name, or of no zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no time zone")]
pub struct UnknownTimeZone(String);

impl UnknownTimeZone {
    pub fn hint(&self) -> String {
        "Use --timezone local, or a name of the tz database such as Europe/Berlin".to_owned()
    }
}

/// The name in the tz database of what was typed. A host without the database
/// cannot tell which names exist; there the spelling alone counts.
pub fn resolve(typed: &str) -> Result<String, UnknownTimeZone> {
    if typed == LOCAL {
        let own = TimeZone::system().iana_name().map(str::to_owned);
        return Ok(own.filter(|name| well_formed(name)).unwrap_or_else(|| NAMELESS.to_owned()));
    }
    let database = tz::db();
    if !well_formed(typed) {
        return Err(UnknownTimeZone(typed.to_owned()));
    }
    if database.is_definitively_empty() {
        return Ok(typed.to_owned());
    }
    // Its own spelling: the guest's file names have capitals.
    let found = database.get(typed).map_err(|_| UnknownTimeZone(typed.to_owned()))?;
    Ok(found.iana_name().unwrap_or(typed).to_owned())
}

/// It becomes part of a path in the guest.
fn well_formed(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+');
    !name.is_empty() && name.split('/').all(|part| !part.is_empty() && part.chars().all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_no_name() {
        for bad in ["", "/etc/passwd", "../../etc/passwd", "Europe/", "Europe//Berlin", "a b"] {
            let refused = resolve(bad).unwrap_err();
            assert!(refused.to_string().contains(&format!("\"{bad}\"")), "{refused}");
        }
    }

    #[test]
    fn the_hosts_own_is_a_name() {
        assert!(well_formed(&resolve(LOCAL).unwrap()));
        assert!(well_formed("America/Argentina/Buenos_Aires") && well_formed("Etc/GMT+5"));
    }

    #[test]
    fn names_are_looked_up_where_there_is_a_database() {
        if !tz::db().is_definitively_empty() {
            assert_eq!(resolve("Europe/Berlin").unwrap(), "Europe/Berlin");
            assert!(resolve("Europe/Atlantis").is_err());
        }
    }
}
