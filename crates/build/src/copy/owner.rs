//! `--chown`: users and groups by number, or by name as the image knows them.

use std::path::Path;

use crate::error::CopyError;
use crate::tree::{Owner, Tree};

/// The most that /etc/passwd or /etc/group may hold.
const MAX_FILE: u64 = 4 << 20;

/// `user`, `user:group`, or `:group` for root's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChownSpec {
    user: String,
    group: Option<String>,
}

/// Reads the value of `--chown`.
pub(crate) fn parse_chown(text: &str) -> Result<ChownSpec, CopyError> {
    let mut parts = text.split(':');
    let mut user = parts.next().unwrap_or_default().to_owned();
    let group = parts.next().filter(|group| !group.is_empty()).map(str::to_owned);
    if user.is_empty() && group.is_some() {
        user.push('0');
    }
    match parts.next() {
        None => Ok(ChownSpec { user, group }),
        Some(_) => Err(CopyError::Chown(text.to_owned())),
    }
}

impl ChownSpec {
    /// Whether the image's files have to be asked.
    pub(crate) fn has_names(&self) -> bool {
        let is_name = |text: &str| text.parse::<u32>().is_err();
        is_name(&self.user) || self.group.as_deref().is_some_and(is_name)
    }

    /// Looks names up in the image. Without a group it is the group of the user's name, else the user's own.
    pub(crate) fn resolve(&self, image: &Tree) -> Result<Owner, CopyError> {
        let (uid, own_gid) = match self.user.parse::<u32>() {
            Ok(uid) => (uid, uid),
            Err(_) => user(image, &self.user).ok_or_else(|| CopyError::NoUser(self.user.clone()))?,
        };
        let gid = match &self.group {
            None => group(image, &self.user).unwrap_or(own_gid),
            Some(name) => match name.parse::<u32>() {
                Ok(gid) => gid,
                Err(_) => group(image, name).ok_or_else(|| CopyError::NoGroup(name.clone()))?,
            },
        };
        Ok(Owner { uid, gid })
    }
}

/// The lines of a file of the image, split at colons.
fn entries(image: &Tree, path: &str) -> Vec<Vec<String>> {
    let resolved = image.resolve(Path::new(path)).unwrap_or_default();
    let bytes = image.read(&resolved, MAX_FILE).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.lines().map(|line| line.split(':').map(str::to_owned).collect()).collect()
}

fn user(image: &Tree, name: &str) -> Option<(u32, u32)> {
    let entries = entries(image, "etc/passwd");
    let entry = entries.iter().find(|entry| entry[0] == name)?;
    Some((entry.get(2)?.parse().ok()?, entry.get(3)?.parse().ok()?))
}

fn group(image: &Tree, name: &str) -> Option<u32> {
    let entries = entries(image, "etc/group");
    entries.iter().find(|entry| entry[0] == name)?.get(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_image() {
        let dir = tempfile::tempdir().expect("temp dir");
        std::fs::create_dir(dir.path().join("etc")).expect("dir");
        let passwd = "root:x:0:0::/:/bin/sh\nnode:x:1000:1001::/:/bin/sh\nlone:x:7:8::/:/bin/sh\nbroken\n";
        std::fs::write(dir.path().join("etc/passwd"), passwd).expect("file");
        std::fs::write(dir.path().join("etc/group"), "root:x:0:\nnode:x:1002:\nstaff:x:50:\n").expect("file");
        let tree = Tree::open(dir.path()).expect("tree");
        let owner = |text: &str| parse_chown(text).and_then(|spec| spec.resolve(&tree));
        assert_eq!(owner("node").expect("known"), Owner { uid: 1000, gid: 1002 });
        assert_eq!(owner("lone").expect("known"), Owner { uid: 7, gid: 8 });
        assert_eq!(owner("node:staff").expect("known"), Owner { uid: 1000, gid: 50 });
        assert_eq!(owner("5:6").expect("numbers"), Owner { uid: 5, gid: 6 });
        assert_eq!(owner(":staff").expect("a group"), Owner { uid: 0, gid: 50 });
        assert_eq!(owner("node:").expect("a user"), Owner { uid: 1000, gid: 1002 });
        assert_eq!(owner("5").expect("number"), Owner { uid: 5, gid: 5 });
        assert!(owner("ghost").expect_err("unknown").to_string().ends_with("no such user: ghost"));
        assert!(owner("0:ghost").expect_err("unknown").to_string().ends_with("no such group: ghost"));
        assert!(owner("a:b:c").expect_err("bad").to_string().ends_with("invalid chown string format: a:b:c"));
    }
}
