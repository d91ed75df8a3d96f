//! Device nodes, the usual links in /dev, and the terminal.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use dray_spec::runtime::Device;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::pty::OpenptFlags;

use super::At;
use super::tree::{Tree, chown};
use crate::error::{StartError, Step};

const DEVPTS_MAGIC: u64 = 0x1cd1;

/// Devices every container has.
const DEFAULT: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// Links every container has.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Makes the default and the configured devices and the links. In a user namespace nodes cannot be made:
/// there the host's are bound.
pub fn populate(root: &Tree, configured: &[Device], bind: bool) -> Result<(), StartError> {
    let dev = root.make_dir(Path::new("/dev")).at(Step::Device, "/dev")?;
    let old = rustix::process::umask(Mode::empty());
    let result = nodes(root, &dev, configured, bind);
    rustix::process::umask(old);
    result?;
    for (name, target) in LINKS {
        link(&dev, name, target)?;
    }
    if Path::new("/proc/kcore").exists() {
        link(&dev, "core", "/proc/kcore")?;
    }
    Ok(())
}

fn nodes(root: &Tree, dev: &OwnedFd, configured: &[Device], bind: bool) -> Result<(), StartError> {
    for (path, major, minor) in DEFAULT {
        if configured.iter().any(|device| device.path == Path::new(path)) {
            continue;
        }
        let name = path.trim_start_matches("/dev/");
        if bind {
            bind_device(root, Path::new(path))?;
        } else {
            node(dev, name, path, FileType::CharacterDevice, 0o666, (major, minor))?;
        }
    }
    for device in configured {
        configured_node(root, device, bind)?;
    }
    Ok(())
}

fn node(
    dir: &OwnedFd,
    name: &str,
    path: &str,
    kind: FileType,
    mode: u32,
    number: (u32, u32),
) -> Result<(), StartError> {
    let device = rustix::fs::makedev(number.0, number.1);
    match rustix::fs::mknodat(dir, name, kind, Mode::from_raw_mode(mode), device) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(StartError::os(Step::Device, path, errno)),
    }
}

fn configured_node(root: &Tree, device: &Device, bind: bool) -> Result<(), StartError> {
    let subject = device.path.display().to_string();
    let kind = match device.kind.as_str() {
        "c" | "u" => FileType::CharacterDevice,
        "b" => FileType::BlockDevice,
        "p" => FileType::Fifo,
        other => {
            return Err(StartError::because(Step::Device, subject, format!("unknown device type {other:?}")));
        }
    };
    if bind && kind != FileType::Fifo {
        return bind_device(root, &device.path);
    }
    let (Some(parent), Some(name)) = (device.path.parent(), device.path.file_name().and_then(|n| n.to_str()))
    else {
        return Err(StartError::because(Step::Device, subject, "not a path of a device"));
    };
    let dir = root.make_dir(parent).at(Step::Device, &subject)?;
    let number = |n: i64| {
        u32::try_from(n).map_err(|_| StartError::because(Step::Device, &subject, "bad device number"))
    };
    let mode = device.file_mode.unwrap_or(0o666) & 0o7777;
    node(&dir, name, &subject, kind, mode, (number(device.major)?, number(device.minor)?))?;
    if device.uid.is_some() || device.gid.is_some() {
        let made = root.find_plain(&device.path).at(Step::Device, &subject)?;
        chown(made.as_fd(), device.uid.unwrap_or(0), device.gid.unwrap_or(0)).at(Step::Device, &subject)?;
    }
    Ok(())
}

fn bind_device(root: &Tree, path: &Path) -> Result<(), StartError> {
    let subject = path.display().to_string();
    let source = dray_sys::mount::clone_detached(CWD, path, false).at(Step::Device, &subject)?;
    let target = root.make_file(path).at(Step::Device, &subject)?;
    dray_sys::mount::attach(source.as_fd(), target.as_fd()).at(Step::Device, &subject)
}

fn link(dev: &OwnedFd, name: &str, target: &str) -> Result<(), StartError> {
    match rustix::fs::symlinkat(target, dev, name) {
        Ok(()) => Ok(()),
        // The image brings its own node: ptmx must be the container's.
        Err(Errno::EXIST) if name == "ptmx" => {
            let subject = "/dev/ptmx";
            rustix::fs::unlinkat(dev, name, rustix::fs::AtFlags::empty()).at(Step::Device, subject)?;
            rustix::fs::symlinkat(target, dev, name).at(Step::Device, subject)
        }
        Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(StartError::os(Step::Device, format!("/dev/{name}"), errno)),
    }
}

/// Both sides of a terminal.
#[derive(Debug)]
pub struct Terminal {
    /// For the shim, or the caller of the runtime.
    pub master: OwnedFd,
    /// For the program.
    pub slave: OwnedFd,
}

/// A terminal of the container's own devpts; of the host's if it has none.
pub fn open_terminal(root: &Tree, size: Option<(u16, u16)>) -> Result<Terminal, StartError> {
    let step = Step::Console;
    let own = root
        .find_plain(Path::new("/dev/pts"))
        .ok()
        .filter(|pts| rustix::fs::fstatfs(pts).is_ok_and(|stat| stat.f_type as u64 == DEVPTS_MAGIC));
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = match own {
        Some(pts) => rustix::fs::openat(&pts, "ptmx", flags | OFlags::NOFOLLOW, Mode::empty()),
        None => rustix::fs::open("/dev/ptmx", flags, Mode::empty()),
    }
    .at(step, "/dev/pts/ptmx")?;
    rustix::pty::unlockpt(&master).at(step, "terminal")?;
    let slave = rustix::pty::ioctl_tiocgptpeer(
        &master,
        OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
    )
    .at(step, "terminal")?;
    if let Some((rows, columns)) = size.filter(|&(rows, columns)| rows != 0 || columns != 0) {
        let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&master, size).at(step, "terminal size")?;
    }
    Ok(Terminal { master, slave })
}

/// Shows the terminal as /dev/console.
pub fn bind_console(root: &Tree, slave: &OwnedFd) -> Result<(), StartError> {
    let subject = "/dev/console";
    let target = root.make_file(Path::new(subject)).at(Step::Console, subject)?;
    let view = match dray_sys::mount::clone_detached(slave.as_fd(), Path::new(""), false) {
        // A terminal of the host's devpts is in another mount namespace.
        Err(e) if e.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => return Ok(()),
        other => other.at(Step::Console, subject)?,
    };
    dray_sys::mount::attach(view.as_fd(), target.as_fd()).at(Step::Console, subject)
}

/// Makes a terminal the controlling one and the standard streams of this process, a session leader.
pub fn take_terminal(slave: &OwnedFd) -> Result<(), StartError> {
    rustix::process::ioctl_tiocsctty(slave).at(Step::Console, "controlling terminal")?;
    for number in 0..3 {
        dray_sys::process::dup_to(slave.as_fd(), number).at(Step::Console, "standard streams")?;
    }
    Ok(())
}
