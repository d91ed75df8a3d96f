//! Users and groups of a container: names looked up in its own `/etc/passwd` and `/etc/group`.

/// Who cannot be found, in the words of Docker and runc.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No such user.
    #[error("unable to find user {0}: no matching entries in passwd file")]
    User(String),
    /// No such group.
    #[error("unable to find group {0}: no matching entries in group file")]
    Group(String),
    /// No such group to add.
    #[error("Unable to find group {0}")]
    AdditionalGroup(String),
    /// A number that is no id.
    #[error("uids and gids must be in range 0-2147483647")]
    Range,
}

/// A user to run as.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// All groups, the primary one first.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: String,
}

struct Passwd<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

fn passwd(text: &str) -> impl Iterator<Item = Passwd<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next()?;
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(Passwd { name, uid, gid, home: fields.nth(1).unwrap_or_default() })
    })
}

fn groups(text: &str) -> impl Iterator<Item = Group<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some(Group { name, gid, members: fields.next().unwrap_or_default() })
    })
}

/// A name or number: the number when it is one.
fn number(text: &str) -> Result<Option<u32>, Error> {
    match text.parse::<i64>() {
        Ok(id) => {
            u32::try_from(id).ok().filter(|id| *id <= i32::MAX.unsigned_abs()).map(Some).ok_or(Error::Range)
        }
        Err(_) => Ok(None),
    }
}

/// Resolves `user[:group]` and the groups to add. A number needs no entry.
///
/// # Errors
/// For a name without an entry, and numbers out of range.
pub fn resolve(spec: &str, add: &[String], passwd_text: &str, group_text: &str) -> Result<User, Error> {
    let (user_part, group_part) = spec.split_once(':').unwrap_or((spec, ""));
    let wanted = if user_part.is_empty() { Some(0) } else { number(user_part)? };
    let entry = passwd(passwd_text).find(|entry| match wanted {
        Some(uid) => entry.uid == uid,
        None => entry.name == user_part,
    });
    let mut user = match (&entry, wanted) {
        (Some(entry), _) => {
            User { uid: entry.uid, gid: entry.gid, home: entry.home.to_owned(), ..User::default() }
        }
        (None, Some(uid)) => User { uid, ..User::default() },
        (None, None) => return Err(Error::User(user_part.to_owned())),
    };
    if user.home.is_empty() {
        user.home = "/".to_owned();
    }
    let mut further = Vec::new();
    if !group_part.is_empty() {
        user.gid = find_group(group_part, group_text)?.ok_or_else(|| Error::Group(group_part.to_owned()))?;
    } else if let Some(entry) = &entry {
        let member = |group: &Group<'_>| group.members.split(',').any(|name| name == entry.name);
        further.extend(groups(group_text).filter(member).map(|group| group.gid));
    }
    for name in add {
        further.push(find_group(name, group_text)?.ok_or_else(|| Error::AdditionalGroup(name.clone()))?);
    }
    user.groups.push(user.gid);
    for gid in further {
        if !user.groups.contains(&gid) {
            user.groups.push(gid);
        }
    }
    Ok(user)
}

fn find_group(name: &str, group_text: &str) -> Result<Option<u32>, Error> {
    if let Some(group) = groups(group_text).find(|group| group.name == name) {
        return Ok(Some(group.gid));
    }
    number(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbad line\napp:x:1000:1001::/home/app:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nwheel:x:10:root,app\naudio:x:29:app\napp:x:1001:\n";

    fn user(spec: &str, add: &[&str]) -> Result<(u32, u32, Vec<u32>, String), String> {
        let add: Vec<String> = add.iter().map(|name| (*name).to_owned()).collect();
        let user = resolve(spec, &add, PASSWD, GROUP).map_err(|error| error.to_string())?;
        Ok((user.uid, user.gid, user.groups, user.home))
    }

    #[test]
    fn names_and_numbers() {
        assert_eq!(user("", &[]), Ok((0, 0, vec![0, 10], "/root".into())));
        assert_eq!(user("app", &[]), Ok((1000, 1001, vec![1001, 10, 29], "/home/app".into())));
        assert_eq!(user("1000", &[]), Ok((1000, 1001, vec![1001, 10, 29], "/home/app".into())));
        assert_eq!(user("app:audio", &[]), Ok((1000, 29, vec![29], "/home/app".into())));
        assert_eq!(user("4242:77", &[]), Ok((4242, 77, vec![77], "/".into())));
        assert_eq!(user("root", &["audio", "555"]), Ok((0, 0, vec![0, 10, 29, 555], "/root".into())));
    }

    #[test]
    fn who_is_not_there() {
        assert_eq!(
            user("bob", &[]),
            Err("unable to find user bob: no matching entries in passwd file".into())
        );
        assert_eq!(
            user("0:bobs", &[]),
            Err("unable to find group bobs: no matching entries in group file".into())
        );
        assert_eq!(user("", &["bobs"]), Err("Unable to find group bobs".into()));
        assert_eq!(user("4294967296", &[]), Err("uids and gids must be in range 0-2147483647".into()));
        assert_eq!(user("-5", &[]), Err("uids and gids must be in range 0-2147483647".into()));
        assert!(resolve("", &[], "", "").is_ok());
    }
}
