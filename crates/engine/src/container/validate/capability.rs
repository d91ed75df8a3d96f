//! Linux capabilities: the names, Docker's default set, and what adding and dropping make of it.

use super::Invalid;

/// All capabilities of Linux, by number.
pub const ALL: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// What a container has when nothing is said.
pub const DEFAULT: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// The names as the kernel has them: upper case, with `CAP_`; `ALL` stays.
///
/// # Errors
/// For the first unknown name.
pub(super) fn normalise(field: &'static str, names: &[String]) -> Result<Vec<String>, Invalid> {
    let one = |name: &String| {
        let upper = name.to_ascii_uppercase();
        if upper == "ALL" {
            return Ok(upper);
        }
        let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
        if ALL.contains(&full.as_str()) { Ok(full) } else { Err(Invalid::Capability { field, name: full }) }
    };
    names.iter().map(one).collect()
}

/// The capabilities a container gets; `bounding` are those that this process could give at all.
///
/// # Errors
/// For an unknown name.
pub fn granted(
    add: &[String],
    drop: &[String],
    privileged: bool,
    bounding: &dyn Fn(&str) -> bool,
) -> Result<Vec<String>, Invalid> {
    let (add, drop) = (normalise("CapAdd", add)?, normalise("CapDrop", drop)?);
    let everything = |list: &[String]| list.iter().any(|name| name == "ALL");
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let kept = |names: Vec<String>| names.into_iter().filter(|name| !drop.contains(name)).collect::<Vec<_>>();
    let mut granted = if privileged {
        owned(ALL)
    } else if everything(&add) {
        kept(owned(ALL))
    } else if everything(&drop) {
        add
    } else {
        let mut granted = kept(owned(DEFAULT));
        granted.extend(add.into_iter().filter(|name| name != "ALL"));
        granted
    };
    let mut seen = std::collections::BTreeSet::new();
    granted.retain(|name| bounding(name) && seen.insert(name.clone()));
    Ok(granted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    fn of(add: &[&str], drop: &[&str]) -> Vec<String> {
        granted(&names(add), &names(drop), false, &|_| true).unwrap()
    }

    #[test]
    fn adding_and_dropping() {
        assert_eq!(of(&[], &[]), DEFAULT);
        assert_eq!(of(&["net_admin"], &["ALL"]), ["CAP_NET_ADMIN"]);
        assert_eq!(of(&[], &["all"]), Vec::<String>::new());
        assert!(!of(&["ALL"], &["CAP_SYS_ADMIN"]).contains(&"CAP_SYS_ADMIN".to_owned()));
        assert_eq!(of(&["CHOWN"], &[]).len(), DEFAULT.len());
        assert!(!of(&[], &["mknod"]).contains(&"CAP_MKNOD".to_owned()));
    }

    #[test]
    fn never_more_than_there_is() {
        let limited = granted(&[], &[], true, &|name| name != "CAP_SYS_RESOURCE").unwrap();
        assert_eq!(limited.len(), ALL.len() - 1);
    }

    #[test]
    fn unknown_names() {
        let error = granted(&names(&["fly"]), &[], false, &|_| true).unwrap_err();
        assert_eq!(error.to_string(), "invalid CapAdd: unknown capability: \"CAP_FLY\"");
    }
}
