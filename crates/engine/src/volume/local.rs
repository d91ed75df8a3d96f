//! The local driver's options `type`, `device` and `o`: a file system mounted on the volume while
//! containers use it (mount(8)'s words for mount(2)).

use std::net::ToSocketAddrs;
use std::path::Path;

use dray_api::Labels;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount};

use super::Error;

const KNOWN: [&str; 4] = ["type", "o", "device", "size"];

/// Checks a volume's options.
///
/// # Errors
/// For options that the driver does not have or that lack another.
pub(super) fn check(name: &str, options: &Labels) -> Result<(), Error> {
    if let Some(option) = options.keys().find(|option| !KNOWN.contains(&option.as_str())) {
        return Err(Error::InvalidOption { name: name.to_owned(), option: option.clone() });
    }
    if options.contains_key("size") {
        return Err(Error::NoQuota(name.to_owned()));
    }
    let given = |option: &str| options.get(option).is_some_and(|value| !value.is_empty());
    for (option, needs) in [("type", "device"), ("o", "device"), ("o", "type"), ("device", "type")] {
        if given(option) && !given(needs) {
            let option = if needs == "device" { "device" } else { "type" };
            return Err(Error::MissingOption { name: name.to_owned(), option });
        }
    }
    Ok(())
}

/// Whether the options ask for a mount.
pub(super) fn needs_mount(options: &Labels) -> bool {
    options.get("type").is_some_and(|kind| !kind.is_empty())
        || options.get("device").is_some_and(|device| !device.is_empty())
}

/// Mounts the file system that the options name.
pub(super) fn mount_on(target: &Path, options: &Labels) -> Result<(), Error> {
    let option = |name: &str| options.get(name).map(String::as_str).unwrap_or_default();
    let (kind, device) = (option("type"), option("device"));
    let parsed = Parsed::of(option("o"));
    let data = match kind {
        "nfs" | "nfs4" | "cifs" => resolved(&with_address(kind, device, &parsed.data))?,
        _ => parsed.data.join(","),
    };
    let failed = |errno: rustix::io::Errno| Error::Mount {
        device: device.to_owned(),
        target: target.to_owned(),
        data: without_password(&data),
        source: errno.into(),
    };
    let data_text = std::ffi::CString::new(data.clone()).map_err(|_| failed(rustix::io::Errno::INVAL))?;
    mount(device, target, kind, parsed.flags, Some(data_text.as_c_str())).map_err(failed)?;
    // A bind mount takes its flags only when it is remounted.
    let extra = parsed.flags.difference(MountFlags::BIND | MountFlags::REC);
    let bind = parsed.flags.contains(MountFlags::BIND);
    let settled = (|| {
        if bind && !extra.is_empty() {
            rustix::mount::mount_remount(target, extra | MountFlags::BIND, "")?;
        }
        match parsed.propagation {
            Some(propagation) => mount_change(target, propagation),
            None => Ok(()),
        }
    })();
    settled.map_err(|errno| {
        let _ = unmount(target, UnmountFlags::DETACH);
        failed(errno)
    })
}

/// Takes it off again.
pub(super) fn unmount_from(target: &Path) -> Result<(), Error> {
    match unmount(target, UnmountFlags::DETACH) {
        Ok(()) | Err(rustix::io::Errno::INVAL) => Ok(()),
        Err(errno) => Err(Error::io("unmount", target)(errno.into())),
    }
}

/// Whether something is mounted on the folder.
pub(super) fn is_mounted(target: &Path) -> bool {
    use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
    let found = statx(CWD, target, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty());
    found.is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

#[derive(Debug)]
struct Parsed {
    flags: MountFlags,
    propagation: Option<MountPropagationFlags>,
    data: Vec<String>,
}

impl Parsed {
    fn of(text: &str) -> Self {
        let mut parsed = Parsed { flags: MountFlags::empty(), propagation: None, data: Vec::new() };
        for option in text.split(',').filter(|option| !option.is_empty()) {
            parsed.add(option);
        }
        parsed
    }

    fn add(&mut self, option: &str) {
        let on = match option {
            "ro" => MountFlags::RDONLY,
            "nosuid" => MountFlags::NOSUID,
            "nodev" => MountFlags::NODEV,
            "noexec" => MountFlags::NOEXEC,
            "sync" => MountFlags::SYNCHRONOUS,
            "dirsync" => MountFlags::DIRSYNC,
            "noatime" => MountFlags::NOATIME,
            "nodiratime" => MountFlags::NODIRATIME,
            "relatime" => MountFlags::RELATIME,
            "strictatime" => MountFlags::STRICTATIME,
            "bind" => MountFlags::BIND,
            "rbind" => MountFlags::BIND | MountFlags::REC,
            _ => MountFlags::empty(),
        };
        if !on.is_empty() {
            self.flags |= on;
            return;
        }
        let off = match option {
            "rw" => MountFlags::RDONLY,
            "suid" => MountFlags::NOSUID,
            "dev" => MountFlags::NODEV,
            "exec" => MountFlags::NOEXEC,
            "async" => MountFlags::SYNCHRONOUS,
            "atime" => MountFlags::NOATIME,
            "diratime" => MountFlags::NODIRATIME,
            "defaults" => MountFlags::empty(),
            _ => return self.add_other(option),
        };
        self.flags -= off;
    }

    fn add_other(&mut self, option: &str) {
        let rec = MountPropagationFlags::REC;
        self.propagation = match option {
            "private" => Some(MountPropagationFlags::PRIVATE),
            "rprivate" => Some(MountPropagationFlags::PRIVATE | rec),
            "shared" => Some(MountPropagationFlags::SHARED),
            "rshared" => Some(MountPropagationFlags::SHARED | rec),
            "slave" => Some(MountPropagationFlags::DOWNSTREAM),
            "rslave" => Some(MountPropagationFlags::DOWNSTREAM | rec),
            _ => {
                self.data.push(option.to_owned());
                return;
            }
        };
    }
}

/// What mount.nfs would add: a device that names its server needs no `addr=`.
fn with_address(kind: &str, device: &str, data: &[String]) -> Vec<String> {
    let mut data = data.to_vec();
    let server = device.split_once(":/").map(|(server, _)| server).filter(|server| !server.is_empty());
    if let Some(server) = server.filter(|_| kind.starts_with("nfs"))
        && !data.iter().any(|option| option.starts_with("addr="))
    {
        data.push(format!("addr={}", server.trim_matches(['[', ']'])));
    }
    data
}

/// The kernel wants a server's address, users write its name: `addr=nas.local`.
fn resolved(data: &[String]) -> Result<String, Error> {
    let resolve = |option: &String| {
        let Some(address) = option.strip_prefix("addr=") else { return Ok(option.clone()) };
        let failed = |source| Error::Resolve { address: address.to_owned(), source };
        let found = (address, 0).to_socket_addrs().map_err(failed)?.next();
        let found = found.ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))?;
        Ok(format!("addr={}", found.ip()))
    };
    Ok(data.iter().map(resolve).collect::<Result<Vec<_>, Error>>()?.join(","))
}

/// Options for messages: passwords stay out of logs.
pub(super) fn without_password(data: &str) -> String {
    let hidden = |option: &str| match option.strip_prefix("password=") {
        Some(_) => "password=********".to_owned(),
        None => option.to_owned(),
    };
    data.split(',').map(hidden).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn options_are_checked() {
        let message = |pairs| check("v", &options(pairs)).unwrap_err().to_string();
        assert_eq!(message(&[("foo", "bar")]), "create v: invalid option: \"foo\"");
        assert_eq!(message(&[("type", "tmpfs")]), "create v: missing required option: \"device\"");
        assert_eq!(message(&[("device", "/x")]), "create v: missing required option: \"type\"");
        assert!(check("v", &options(&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m")])).is_ok());
        assert!(check("v", &options(&[])).is_ok());
    }

    #[test]
    fn words_become_flags_and_data() {
        let parsed = Parsed::of("rw,noexec,nosuid,suid,size=1m,uid=5,rslave");
        assert_eq!(parsed.flags, MountFlags::NOEXEC);
        assert_eq!(parsed.data, ["size=1m", "uid=5"]);
        assert!(parsed.propagation.is_some());
    }

    #[test]
    fn a_server_in_the_device_is_its_address() {
        let given = |kind, device, data: &[&str]| {
            let data: Vec<String> = data.iter().map(|option| (*option).to_owned()).collect();
            with_address(kind, device, &data)
        };
        assert_eq!(given("nfs", "10.0.0.1:/x", &["vers=4"]), ["vers=4", "addr=10.0.0.1"]);
        assert_eq!(given("nfs4", "[fd00::1]:/x", &[]), ["addr=fd00::1"]);
        assert_eq!(given("nfs", "10.0.0.1:/x", &["addr=10.0.0.2"]), ["addr=10.0.0.2"]);
        assert_eq!(given("nfs", ":/x", &["addr=10.0.0.2"]), ["addr=10.0.0.2"]);
        assert_eq!(resolved(&["addr=127.0.0.1".into(), "rw".into()]).unwrap(), "addr=127.0.0.1,rw");
        assert!(given("cifs", "//10.0.0.1/x", &[]).is_empty());
    }

    #[test]
    fn passwords_are_not_told() {
        assert_eq!(without_password("user=a,password=b"), "user=a,password=********");
    }

    #[test]
    fn a_tmpfs_is_mounted_and_taken_off() {
        let dir = tempfile::tempdir().unwrap();
        let tmpfs = options(&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=64k,mode=700")]);
        mount_on(dir.path(), &tmpfs).unwrap();
        assert!(is_mounted(dir.path()));
        unmount_from(dir.path()).unwrap();
        assert!(!is_mounted(dir.path()));
        let bad = options(&[("type", "nosuchfs"), ("device", "none")]);
        assert!(
            mount_on(dir.path(), &bad).unwrap_err().to_string().starts_with("failed to mount local volume: ")
        );
    }
}
