//! The local driver's options `type`, `device` and `o`: a file system mounted on the volume while
//! containers use it (mount(8)'s words for mount(2)).

use std::net::{IpAddr, ToSocketAddrs};
use std::path::Path;

use dray_api::Labels;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount};

use super::Error;
use super::error::{MountError, MountHint};

const KNOWN: [&str; 4] = ["type", "o", "device", "size"];

/// Checks a volume's options.
///
/// # Errors
/// For options that the driver does not have or that lack another.
pub(super) fn check(name: &str, options: &Labels) -> Result<(), Error> {
    if let Some(option) = options.keys().find(|option| !KNOWN.contains(&option.as_str())) {
        return Err(Error::InvalidOption { name: name.to_owned(), option: option.clone() });
    }
    if super::quota::asked(name, options)?.is_some() && needs_mount(options) {
        // What is mounted has a size of its own.
        return Err(Error::NoQuota(name.to_owned()));
    }
    let given = |option: &str| options.get(option).is_some_and(|value| !value.is_empty());
    for (option, needs) in [("type", "device"), ("o", "device"), ("o", "type"), ("device", "type")] {
        if given(option) && !given(needs) {
            let option = if needs == "device" { "device" } else { "type" };
            return Err(Error::MissingOption { name: name.to_owned(), option });
        }
    }
    let of = |option: &str| options.get(option).map(String::as_str).unwrap_or_default();
    if of("type") == CIFS && share_of(of("device")).is_some_and(|(server, _)| has_port(server)) {
        return Err(Error::CifsPort(name.to_owned()));
    }
    Ok(())
}

const CIFS: &str = "cifs";

/// The server and the rest of `//server/share`.
fn share_of(device: &str) -> Option<(&str, &str)> {
    let rest = device.strip_prefix("//")?;
    Some(rest.split_at(rest.find('/').unwrap_or(rest.len())))
}

fn has_port(server: &str) -> bool {
    let after_address = server.rsplit_once(']').map_or(server, |(_, rest)| rest);
    let port = after_address.rsplit_once(':').map(|(_, port)| port);
    port.is_some_and(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether the options ask for a mount.
pub(super) fn needs_mount(options: &Labels) -> bool {
    options.get("type").is_some_and(|kind| !kind.is_empty())
        || options.get("device").is_some_and(|device| !device.is_empty())
}

/// Mounts the file system that the options name.
pub(super) fn mount_on(target: &Path, options: &Labels) -> Result<(), Error> {
    let option = |name: &str| options.get(name).map(String::as_str).unwrap_or_default();
    let kind = option("type");
    let parsed = Parsed::of(option("o"));
    let (device, data) = located(kind, option("device"), parsed.data)?;
    let failed = |errno: rustix::io::Errno| {
        Error::from(MountError {
            target: target.to_owned(),
            flags: parsed.flags.bits(),
            data: without_password(&data),
            source: errno.into(),
            hint: hint(errno, kind, &device),
            device: device.clone(),
        })
    };
    let data_text = std::ffi::CString::new(data.clone()).map_err(|_| failed(rustix::io::Errno::INVAL))?;
    mount(device.as_str(), target, kind, parsed.flags, Some(data_text.as_c_str())).map_err(failed)?;
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

/// What the kernel's word means, where that says little.
fn hint(errno: rustix::io::Errno, kind: &str, device: &str) -> Option<MountHint> {
    use rustix::io::Errno;
    let is_block = || {
        use std::os::unix::fs::FileTypeExt;
        std::fs::metadata(device).is_ok_and(|found| found.file_type().is_block_device())
    };
    match errno {
        Errno::NODEV => Some(MountHint::NoFileSystem(kind.to_owned())),
        Errno::INVAL if is_block() => Some(MountHint::OtherContent(kind.to_owned())),
        Errno::IO | Errno::NXIO if is_block() && is_empty(device) => Some(MountHint::Empty),
        _ => None,
    }
}

/// Whether a block device has no size: nothing is attached to it.
fn is_empty(device: &str) -> bool {
    use std::io::Seek;
    let end = std::fs::File::open(device).and_then(|mut file| file.seek(std::io::SeekFrom::End(0)));
    end.is_ok_and(|size| size == 0)
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

/// What mount.nfs and mount.cifs would do: the kernel wants a server's address, users write its name.
fn located(kind: &str, device: &str, data: Vec<String>) -> Result<(String, String), Error> {
    let same = device.to_owned();
    match kind {
        "nfs" | "nfs4" => Ok((same, resolved(&with_address(device, data))?)),
        CIFS if data.iter().any(|option| option.starts_with(ADDRESS)) => Ok((same, resolved(&data)?)),
        CIFS => {
            let Some((server, share)) = share_of(device).filter(|(server, _)| !server.is_empty()) else {
                return Ok((same, data.join(",")));
            };
            Ok((format!("//{}{share}", address_of(server)?), data.join(",")))
        }
        _ => Ok((same, data.join(","))),
    }
}

const ADDRESS: &str = "addr=";

/// A device that names its server needs no `addr=`.
fn with_address(device: &str, mut data: Vec<String>) -> Vec<String> {
    let server = device.split_once(":/").map(|(server, _)| server).filter(|server| !server.is_empty());
    if let Some(server) = server
        && !data.iter().any(|option| option.starts_with(ADDRESS))
    {
        data.push(format!("{ADDRESS}{}", server.trim_matches(['[', ']'])));
    }
    data
}

fn resolved(data: &[String]) -> Result<String, Error> {
    let resolve = |option: &String| match option.strip_prefix(ADDRESS) {
        Some(name) => Ok(format!("{ADDRESS}{}", address_of(name)?)),
        None => Ok(option.clone()),
    };
    Ok(data.iter().map(resolve).collect::<Result<Vec<_>, Error>>()?.join(","))
}

/// The address of a server; of several an IPv4 one, as Docker takes it.
fn address_of(name: &str) -> Result<IpAddr, Error> {
    let failed = |source| Error::Resolve { address: name.to_owned(), source };
    let found: Vec<IpAddr> = (name, 0).to_socket_addrs().map_err(failed)?.map(|found| found.ip()).collect();
    let best = found.iter().find(|address| address.is_ipv4()).or(found.first());
    best.copied().ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))
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
            let data = data.iter().map(|option| (*option).to_owned()).collect();
            located(kind, device, data).unwrap()
        };
        let pair = |device: &str, data: &str| (device.to_owned(), data.to_owned());
        assert_eq!(given("nfs", "10.0.0.1:/x", &["vers=4"]), pair("10.0.0.1:/x", "vers=4,addr=10.0.0.1"));
        assert_eq!(given("nfs4", "[fd00::1]:/x", &[]), pair("[fd00::1]:/x", "addr=fd00::1"));
        assert_eq!(given("nfs", "10.0.0.1:/x", &["addr=10.0.0.2"]), pair("10.0.0.1:/x", "addr=10.0.0.2"));
        assert_eq!(given("nfs4", ":/x", &["addr=localhost", "rw"]), pair(":/x", "addr=127.0.0.1,rw"));
        assert_eq!(given("cifs", "//localhost/x", &["guest"]), pair("//127.0.0.1/x", "guest"));
        assert_eq!(given("cifs", "//nas/x", &["addr=localhost"]), pair("//nas/x", "addr=127.0.0.1"));
        assert_eq!(given("ext4", "/dev/x", &["addr=nas"]), pair("/dev/x", "addr=nas"));
    }

    #[test]
    fn a_port_is_no_part_of_a_share() {
        let cifs = |device| check("vv", &options(&[("type", "cifs"), ("device", device)])).is_ok();
        assert!(cifs("//nas.local/x") && cifs("//[fd00::1]/x") && cifs("//nas.local/x:80"));
        assert!(!cifs("//nas.local:80/x") && !cifs("//[fd00::1]:80/x"));
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
