//! `create` and `run`.

use std::fs;
use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use dray_spec::runtime::{NamespaceKind, Spec, Status};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::args::{Args, Flag, switch, value};
use super::store::{Container, Record, check_id, read_spec};
use super::{Global, OciError, foreground, io_error, lifecycle};
use crate::cgroup::Cgroup;
use crate::clock::{Stamp, process_start};
use crate::init::launch::{Launch, Launched, launch};
use crate::init::{Trace, hooks};
use crate::shim::request::Rootfs;

const FLAGS: [Flag; 10] = [
    value("bundle", "b"),
    value("console-socket", ""),
    value("pid-file", ""),
    switch("no-pivot", ""),
    switch("no-new-keyring", ""),
    value("preserve-fds", ""),
    switch("detach", "d"),
    switch("keep", ""),
    switch("no-subreaper", ""),
    value("pidfd-socket", ""),
];

/// `create <id>`: makes the container; its program waits for `start`.
pub fn create(global: &Global, words: &[String]) -> Result<u8, OciError> {
    crate::sealed::ensure(&global.argv)?;
    let args = Args::parse(words, &FLAGS, false)?;
    make(global, &args, true).map(|_| 0)
}

/// `run <id>`: creates, starts, waits, deletes.
pub fn run(global: &Global, words: &[String]) -> Result<u8, OciError> {
    crate::sealed::ensure(&global.argv)?;
    let args = Args::parse(words, &FLAGS, false)?;
    let detach = args.is_set("detach");
    let _ = dray_sys::process::become_subreaper();
    let signals = if detach { None } else { Some(foreground::signals()?) };
    let (container, made) = make(global, &args, detach)?;
    lifecycle::start_container(&container)?;
    let Some(signals) = signals else { return Ok(0) };
    let code = foreground::attend(&signals, made.pidfd.as_fd(), container.record.pid, made.console);
    if !args.is_set("keep") {
        lifecycle::remove(&container)?;
    }
    code
}

/// Paths and connections of the command line.
struct Place {
    id: String,
    bundle: PathBuf,
    rootfs: PathBuf,
    spec: Spec,
    console: Option<UnixStream>,
}

fn place(args: &Args, detached: bool) -> Result<Place, OciError> {
    let id = args.id()?.to_owned();
    check_id(&id)?;
    let given = PathBuf::from(args.get("bundle").unwrap_or("."));
    let bundle = given.canonicalize().map_err(io_error("open bundle", &given))?;
    let spec = read_spec(&bundle.join("config.json"))?;
    let root = spec.root.as_ref().map(|root| root.path.clone()).unwrap_or_default();
    let rootfs = bundle.join(root);
    let rootfs = rootfs.canonicalize().map_err(io_error("open root", &rootfs))?;
    let terminal = spec.process.as_ref().is_some_and(|process| process.terminal);
    let console = args.get("console-socket").filter(|path| !path.is_empty());
    let console = match (console, terminal) {
        (Some(path), true) => Some(UnixStream::connect(path).map_err(io_error("connect to", path))?),
        (None, true) if detached => {
            let text = "cannot allocate tty if runc will detach without setting console socket";
            return Err(OciError::Usage { text: text.to_owned() });
        }
        (Some(_), false) => {
            let text = "cannot use console socket if runc will not detach or allocate tty";
            return Err(OciError::Usage { text: text.to_owned() });
        }
        (None, _) => None,
    };
    Ok(Place { id, bundle, rootfs, spec, console })
}

fn make(global: &Global, args: &Args, detached: bool) -> Result<(Container, Launched), OciError> {
    let mut place = place(args, detached)?;
    let dir = global.root.join(&place.id);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(&global.root)
        .map_err(io_error("make", &global.root))?;
    match fs::DirBuilder::new().mode(0o711).create(&dir) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Err(OciError::Exists { id: place.id }),
        other => other.map_err(io_error("make", &dir))?,
    }
    let made = make_in(&dir, &mut place, args);
    if made.is_err() {
        let _ = fs::remove_dir_all(&dir);
    }
    made
}

fn make_in(dir: &Path, place: &mut Place, args: &Args) -> Result<(Container, Launched), OciError> {
    // Relative sources of binds are meant from the bundle.
    std::env::set_current_dir(&place.bundle).map_err(io_error("enter", &place.bundle))?;
    let config = place.bundle.join("config.json");
    fs::copy(&config, dir.join("config.json")).map_err(io_error("copy", &config))?;
    let (filter, filter_flags) = compile(&place.spec)?;
    fs::write(dir.join("seccomp.bpf"), &filter).map_err(io_error("write", dir.join("seccomp.bpf")))?;
    let cgroup = cgroup_path(&place.spec, &place.id);
    let process = place.spec.process.clone().unwrap_or_default();
    let rootfs = Rootfs::Dir(place.rootfs.clone());
    let made = launch(Launch {
        id: &place.id,
        bundle: place.bundle.clone(),
        spec: &place.spec,
        rootfs: &rootfs,
        staging: &place.rootfs,
        cgroup_path: &cgroup,
        filter: &filter,
        filter_flags,
        tty: process.terminal,
        console_size: process.console_size.map(|size| (size.height, size.width)),
        streams: None,
        start_pipe: Some(make_fifo(&dir.join("exec.fifo"))?),
        keyring: !args.is_set("no-new-keyring"),
        pivot: !args.is_set("no-pivot"),
        preserve_fds: args.number("preserve-fds")?.unwrap_or(0),
        dies_with_parent: false,
        trace: Trace::new(false),
    })?;
    let namespaces = place.spec.linux.as_ref().map_or(&[][..], |linux| &linux.namespaces);
    let record = Record {
        id: place.id.clone(),
        bundle: place.bundle.clone(),
        rootfs: place.rootfs.clone(),
        pid: made.pid,
        start_time: process_start(made.pid).unwrap_or(0),
        cgroup,
        created: Stamp::now().to_string(),
        user_namespace: namespaces.iter().any(|namespace| namespace.kind == NamespaceKind::User),
    };
    let container = Container { dir: dir.to_owned(), record };
    let told = container.save().and_then(|()| hand_out(place, args, &made));
    if let Err(error) = told {
        // The clean-up of a container nobody will know of.
        crate::init::launch::kill_and_reap(&made.pidfd);
        if let Some(cgroup) = &made.cgroup {
            let _ = cgroup.remove();
        }
        return Err(error);
    }
    Ok((container, made))
}

/// Hands the terminal and the process id to whoever asked for them.
fn hand_out(place: &mut Place, args: &Args, made: &Launched) -> Result<(), OciError> {
    if let (Some(socket), Some(master)) = (place.console.take(), &made.console) {
        send_console(&socket, master).map_err(io_error("send the terminal to", "console socket"))?;
    }
    match args.get("pid-file").filter(|path| !path.is_empty()) {
        Some(path) => write_pid_file(Path::new(path), made.pid),
        None => Ok(()),
    }
}

/// Sends the master of a terminal as containerd and Podman expect it.
pub fn send_console(socket: &UnixStream, master: &OwnedFd) -> io::Result<()> {
    let fds = [master.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(socket, &[IoSlice::new(b"/dev/ptmx")], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Writes a process id so that a reader finds all of it or nothing.
pub fn write_pid_file(path: &Path, pid: i32) -> Result<(), OciError> {
    let draft =
        path.with_file_name(format!(".{}", path.file_name().and_then(|name| name.to_str()).unwrap_or("pid")));
    let write = || -> io::Result<()> {
        fs::File::create(&draft)?.write_all(pid.to_string().as_bytes())?;
        fs::rename(&draft, path)
    };
    write().map_err(io_error("write", path))
}

fn compile(spec: &Spec) -> Result<(Vec<u8>, u32), OciError> {
    match spec.linux.as_ref().and_then(|linux| linux.seccomp.as_ref()) {
        Some(profile) => {
            let program = crate::seccomp::compile(profile)?;
            Ok((dray_sys::seccomp::to_bytes(&program), crate::seccomp::flags(profile)?))
        }
        None => Ok((Vec::new(), 0)),
    }
}

fn cgroup_path(spec: &Spec, id: &str) -> String {
    let configured = spec.linux.as_ref().and_then(|linux| linux.cgroups_path.clone());
    configured.filter(|path| !path.is_empty()).unwrap_or_else(|| format!("/{id}"))
}

/// The pipe the init waits on. Open for both ways: a read waits until `start` writes, whoever else has gone.
fn make_fifo(path: &Path) -> Result<OwnedFd, OciError> {
    let mode = Mode::from_raw_mode(0o622);
    rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Fifo, mode, 0)
        .map_err(|errno| io_error("make", path)(errno.into()))?;
    rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| io_error("open", path)(errno.into()))
}

/// Hooks of a container at a later point of its life.
pub fn run_hooks(container: &Container, which: HookPoint, status: Status) -> Result<(), OciError> {
    let spec = container.spec()?;
    let Some(configured) = &spec.hooks else { return Ok(()) };
    let list = match which {
        HookPoint::Poststart => &configured.poststart,
        HookPoint::Poststop => &configured.poststop,
    };
    Ok(hooks::run(list, &container.state(status))?)
}

/// The points after create at which hooks run.
#[derive(Debug, Clone, Copy)]
pub enum HookPoint {
    /// After the program was started.
    Poststart,
    /// After the container was deleted.
    Poststop,
}

/// Removes a cgroup that may hold survivors.
pub fn remove_cgroup(cgroup: Option<Cgroup>) -> Result<(), OciError> {
    match cgroup {
        Some(cgroup) => Ok(cgroup.remove()?),
        None => Ok(()),
    }
}
