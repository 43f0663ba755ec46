//! Users and groups of the guest, read from its files.
//!
//! The agent is static and knows no name service modules. Fedora's
//! `CoreOS` keeps system accounts below /usr/lib (nss-altfiles), so both places count;
//! users of a directory service must be given by number.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::namespace::kind::{Kind, Kinds};
use crate::namespace::network::has_reachable_server;
use crate::namespace::plan::{Credentials, Directory, Ids};
use crate::protocol::request::UserSpec;

const PASSWD: [&str; 2] = ["/etc/passwd", "/usr/lib/passwd"];
const GROUP: [&str; 2] = ["/etc/group", "/usr/lib/group"];

/// One user, as login needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// None: a number that no file names.
    pub name: Option<String>,
    pub home: String,
    pub shell: String,
    pub credentials: Credentials,
}

/// The account files, as far as they have been needed.
pub struct Accounts<'a> {
    read: &'a dyn Fn(&Path) -> io::Result<String>,
}

/// A user or group that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownAccount {
    #[error("user \"{0}\" does not exist in the machine")]
    User(String),
    #[error("group \"{0}\" does not exist in the machine")]
    Group(String),
}

/// A line of passwd(5).
struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
    shell: &'a str,
}

impl Accounts<'static> {
    /// The files of this system.
    pub fn of_system() -> Self {
        Self { read: &|path| fs::read(path).map(|b| String::from_utf8_lossy(&b).into_owned()) }
    }
}

impl Accounts<'_> {
    /// The account of `spec`: a number without an account gets `/` as its
    /// home and a group of the same number.
    pub fn find(&self, spec: &UserSpec) -> Result<Account, UnknownAccount> {
        let passwd = self.all(&PASSWD);
        let number: Option<u32> = spec.user.parse().ok();
        let known = users(&passwd).find(|u| u.name == spec.user);
        let known = known.or_else(|| users(&passwd).find(|u| Some(u.uid) == number));
        let (uid, own_group) = match (&known, number) {
            (Some(user), _) => (user.uid, user.gid),
            (None, Some(number)) => (number, number),
            (None, None) => return Err(UnknownAccount::User(spec.user.clone())),
        };
        let gid = match &spec.group {
            None => own_group,
            Some(group) => self.group(group)?,
        };
        let name = known.as_ref().map(|user| user.name);
        let credentials = Credentials { uid, gid, groups: self.groups_of(name, gid) };
        let field = |text: Option<&str>, otherwise: &str| {
            text.filter(|text| !text.is_empty()).unwrap_or(otherwise).to_owned()
        };
        Ok(Account {
            name: name.map(str::to_owned),
            home: field(known.as_ref().map(|user| user.home), "/"),
            shell: field(known.as_ref().map(|user| user.shell), "/bin/sh"),
            credentials,
        })
    }

    fn group(&self, text: &str) -> Result<u32, UnknownAccount> {
        let found = self.id_of(Ids::Groups, text).or_else(|| text.parse().ok());
        found.ok_or_else(|| UnknownAccount::Group(text.to_owned()))
    }

    /// The primary and the supplementary groups, as initgroups(3) sets them.
    fn groups_of(&self, name: Option<&str>, gid: u32) -> Vec<u32> {
        let mut all = vec![gid];
        let Some(name) = name else { return all };
        for line in self.all(&GROUP).lines() {
            let fields: Vec<&str> = line.split(':').collect();
            let [_, _, id, members] = fields[..] else { continue };
            let Ok(id) = id.parse() else { continue };
            if !all.contains(&id) && members.split(',').any(|member| member == name) {
                all.push(id);
            }
        }
        all
    }

    /// The files one after the other; a missing one is empty.
    fn all(&self, paths: &[&str]) -> String {
        let mut text = String::new();
        for path in paths {
            text.push_str(&(self.read)(Path::new(path)).unwrap_or_default());
            text.push('\n');
        }
        text
    }

    /// The name of a user, if it has one.
    pub fn name_of(&self, uid: u32) -> Option<String> {
        let passwd = self.all(&PASSWD);
        users(&passwd).find(|user| user.uid == uid).map(|user| user.name.to_owned())
    }
}

impl Directory for Accounts<'_> {
    fn id_of(&self, ids: Ids, name: &str) -> Option<u32> {
        let text = self.all(if ids == Ids::Users { &PASSWD } else { &GROUP });
        let id = text.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next() == Some(name)).then(|| fields.nth(1)).flatten()
        });
        id?.parse().ok()
    }

    fn subordinate(&self, ids: Ids, uid: u32) -> Result<(u32, u32), String> {
        let path = if ids == Ids::Users { "/etc/subuid" } else { "/etc/subgid" };
        let name = self.name_of(uid).ok_or_else(|| format!("you (user {uid}) don't exist."))?;
        let text = (self.read)(Path::new(path))
            .map_err(|e| format!("could not open '{path}': {}", super::failure::text(&e)))?;
        let block = text.lines().find_map(|line| {
            let mut fields = line.trim().split(':');
            let owner = fields.next()?;
            let ours = owner == name || owner.parse() == Ok(uid);
            ours.then(|| Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?)))?
        });
        block.ok_or_else(|| format!("no line matching user \"{name}\" in {path}"))
    }

    fn available(&self, ids: Ids) -> Result<Vec<(u32, u32)>, String> {
        let path = if ids == Ids::Users { "/proc/self/uid_map" } else { "/proc/self/gid_map" };
        let text = (self.read)(Path::new(path))
            .map_err(|e| format!("could not open '{path}': {}", super::failure::text(&e)))?;
        let block = |line: &str| {
            let mut fields = line.split_whitespace();
            Some((fields.next()?.parse().ok()?, fields.nth(1)?.parse().ok()?))
        };
        Ok(text.lines().filter_map(block).collect())
    }

    /// Those that systemd-resolved asks, where its stub is the only server.
    fn name_servers(&self) -> Option<Vec<u8>> {
        let useful =
            |path: &str| (self.read)(Path::new(path)).is_ok_and(|text| has_reachable_server(&text));
        let upstream = "/run/systemd/resolve/resolv.conf";
        (!useful("/etc/resolv.conf") && useful(upstream)).then(|| upstream.as_bytes().to_vec())
    }

    fn enterable(&self, pid: u32) -> Kinds {
        let inode = |pid: &str, kind: Kind| {
            fs::metadata(format!("/proc/{pid}/ns/{}", kind.proc_name())).ok().map(|m| m.ino())
        };
        let usable = |kind: &Kind| {
            let own = inode("self", *kind);
            // setns(2) refuses the user namespace one is in.
            let entered = *kind == Kind::User && own == inode(&pid.to_string(), *kind);
            own.is_some() && !entered
        };
        Kind::ALL.into_iter().filter(usable).collect()
    }
}

fn users(passwd: &str) -> impl Iterator<Item = User<'_>> {
    passwd.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, shell] = fields[..] else { return None };
        Some(User { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, home, shell })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> io::Result<String> {
        let text = match path.to_str().unwrap() {
            "/etc/passwd" => {
                "root:x:0:0::/root:/bin/bash\nbroken\ncore:x:1000:1001:,,,:/var/home/core:/bin/zsh\n\
                 bare:x:1002:1002:::"
            }
            "/usr/lib/passwd" => "nobody:x:65534:65533::/:/sbin/nologin\n",
            "/etc/group" => "sudo:x:27:core,other\ncore:x:1001:\nx:x:5:other",
            "/usr/lib/group" => "wheel:x:10:core\nsudo:x:27:core\n",
            "/etc/subuid" => "other:1:2\ncore:100000:65536\n",
            "/proc/self/uid_map" => "         0          0 4294967295\n",
            _ => return Err(io::Error::from_raw_os_error(2)),
        };
        Ok(text.to_owned())
    }

    fn accounts() -> Accounts<'static> {
        Accounts { read: &read }
    }

    fn find(spec: &str) -> Result<Account, UnknownAccount> {
        accounts().find(&spec.parse().unwrap())
    }

    #[test]
    fn a_user_is_found_by_name_and_by_number() {
        let core = find("core").unwrap();
        assert_eq!(
            core.credentials,
            Credentials { uid: 1000, gid: 1001, groups: vec![1001, 27, 10] }
        );
        assert_eq!((core.home.as_str(), core.shell.as_str()), ("/var/home/core", "/bin/zsh"));
        assert_eq!(find("1000").unwrap(), core);
        assert_eq!(find("nobody").unwrap().credentials.uid, 65534);
    }

    #[test]
    fn a_group_replaces_the_primary_one() {
        assert_eq!(find("core:wheel").unwrap().credentials.gid, 10);
        assert_eq!(find("core:77").unwrap().credentials.groups, [77, 27, 10]);
        assert_eq!(find("core:none"), Err(UnknownAccount::Group("none".into())));
    }

    #[test]
    fn numbers_need_no_account_and_empty_fields_have_defaults() {
        let stranger = find("4242").unwrap();
        assert_eq!(stranger.credentials, Credentials { uid: 4242, gid: 4242, groups: vec![4242] });
        assert_eq!((stranger.name, stranger.home.as_str()), (None, "/"));
        assert_eq!(find("bare").unwrap().shell, "/bin/sh");
        let error = find("ghost").unwrap_err();
        assert_eq!(error.to_string(), "user \"ghost\" does not exist in the machine");
    }

    #[test]
    fn subordinate_ids_and_kernel_maps_are_read() {
        let accounts = accounts();
        assert_eq!(accounts.subordinate(Ids::Users, 1000), Ok((100_000, 65_536)));
        assert_eq!(
            accounts.subordinate(Ids::Users, 0),
            Err("no line matching user \"root\" in /etc/subuid".into())
        );
        assert_eq!(
            accounts.subordinate(Ids::Groups, 1000),
            Err("could not open '/etc/subgid': No such file or directory".into())
        );
        assert_eq!(accounts.available(Ids::Users), Ok(vec![(0, 4_294_967_295)]));
        assert_eq!(accounts.id_of(Ids::Groups, "wheel"), Some(10));
    }
}
