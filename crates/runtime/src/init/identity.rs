//! Users and groups of a container by name, from its own /etc/passwd and /etc/group.
//!
//! Follows `docker run --user`: `user`, `uid`, `user:group`, `uid:gid` and mixes; a number that is in no file
//! is taken as it is. The files are the container's, so they are read as hostile input.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use dray_spec::runtime::User;
use rustix::fs::OFlags;

use super::tree::Tree;
use crate::error::{StartError, Step};

/// Most bytes of a file that are looked at.
const MAX_FILE: u64 = 8 << 20;

/// Who the program runs as.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Home directory, where the container's files know it.
    pub home: Option<String>,
}

/// Looks a user up inside a root.
pub fn find(root: &Tree, user: &User) -> Result<Identity, StartError> {
    let passwd = read(root, "/etc/passwd");
    let needs_groups = user.username.is_some() || !user.group_names.is_empty();
    let group = if needs_groups { read(root, "/etc/group") } else { String::new() };
    resolve(user, &passwd, &group)
}

fn read(root: &Tree, path: &str) -> String {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let Ok(file) = root.open(Path::new(path), flags) else { return String::new() };
    read_text(file)
}

fn read_text(file: OwnedFd) -> String {
    let mut bytes = Vec::new();
    // A device or a pipe in the place of the file gives an error or nothing.
    let _ = File::from(file).take(MAX_FILE).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

struct Entry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn users(passwd: &str) -> impl Iterator<Item = Entry<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields.nth(1).unwrap_or_default();
        Some(Entry { name, uid, gid, home })
    })
}

fn groups(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some((name, gid, fields.next().unwrap_or_default()))
    })
}

/// The lookup itself.
pub fn resolve(user: &User, passwd: &str, group: &str) -> Result<Identity, StartError> {
    let mut identity =
        Identity { uid: user.uid, gid: user.gid, groups: user.additional_gids.clone(), home: None };
    if let Some(name) = user.username.as_deref().filter(|name| !name.is_empty()) {
        by_name(name, passwd, group, &mut identity)?;
    }
    for name in &user.group_names {
        let gid = find_group(name, group)?;
        if !identity.groups.contains(&gid) {
            identity.groups.push(gid);
        }
    }
    identity.home = users(passwd)
        .find(|entry| entry.uid == identity.uid)
        .map(|entry| entry.home.to_owned())
        .filter(|home| !home.is_empty());
    Ok(identity)
}

fn by_name(name: &str, passwd: &str, group: &str, identity: &mut Identity) -> Result<(), StartError> {
    let (user, explicit) = match name.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (name, None),
    };
    let number: Option<u32> = user.parse().ok();
    let entry = users(passwd).find(|entry| entry.name == user || Some(entry.uid) == number);
    match (&entry, number) {
        _ if user.is_empty() => (identity.uid, identity.gid) = (0, 0),
        (Some(entry), _) => (identity.uid, identity.gid) = (entry.uid, entry.gid),
        (None, Some(uid)) => (identity.uid, identity.gid) = (uid, 0),
        (None, None) => {
            let detail = format!("unable to find user {user}: no matching entries in passwd file");
            return Err(StartError::because(Step::User, user, detail));
        }
    }
    if let Some(explicit) = explicit {
        identity.gid = find_group(explicit, group)?;
        return Ok(());
    }
    let member = entry.map_or("", |entry| entry.name);
    for (_, gid, members) in groups(group) {
        let listed = !member.is_empty() && members.split(',').any(|name| name == member);
        if listed && !identity.groups.contains(&gid) {
            identity.groups.push(gid);
        }
    }
    Ok(())
}

fn find_group(name: &str, group: &str) -> Result<u32, StartError> {
    let number: Option<u32> = name.parse().ok();
    let found = groups(group).find(|(known, gid, _)| *known == name || Some(*gid) == number);
    found.map(|(_, gid, _)| gid).or(number).ok_or_else(|| {
        let detail = format!("unable to find group {name}: no matching entries in group file");
        StartError::because(Step::User, name, detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\n# comment\nweb:x:33:33::/var/www:/bin/sh\nbad line\n";
    const GROUP: &str = "root:x:0:\nwww:x:33:\nlog:x:4:web,other\naudio:x:29:web\n";

    fn named(name: &str) -> Result<Identity, StartError> {
        resolve(&User { username: Some(name.to_owned()), ..User::default() }, PASSWD, GROUP)
    }

    #[test]
    fn names_numbers_and_mixes() {
        let web = named("web").unwrap();
        assert_eq!((web.uid, web.gid, web.groups.as_slice()), (33, 33, [4, 29].as_slice()));
        assert_eq!(web.home.as_deref(), Some("/var/www"));
        assert_eq!(named("33").unwrap(), web);
        let mixed = named("web:audio").unwrap();
        assert_eq!((mixed.uid, mixed.gid, mixed.groups.len()), (33, 29, 0));
        let unknown = named("1234:77").unwrap();
        assert_eq!((unknown.uid, unknown.gid, unknown.home), (1234, 77, None));
        assert_eq!(named("1234").unwrap().gid, 0);
    }

    #[test]
    fn unknown_names_are_dockers_errors() {
        let text = named("nosuch").unwrap_err().to_string();
        assert!(text.contains("unable to find user nosuch: no matching entries in passwd file"), "{text}");
        let text = named("web:nosuch").unwrap_err().to_string();
        assert!(text.contains("unable to find group nosuch: no matching entries in group file"), "{text}");
    }

    #[test]
    fn added_groups_by_name() {
        let user = User { group_names: vec!["audio".into(), "99".into()], ..User::default() };
        let identity = resolve(&user, PASSWD, GROUP).unwrap();
        assert_eq!(identity.groups, [29, 99]);
        assert_eq!(identity.home.as_deref(), Some("/root"));
    }
}
