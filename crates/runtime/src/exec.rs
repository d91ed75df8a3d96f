//! A further program inside a running container.
//!
//! The caller's next child is put into the container's pid namespace, so one clone is enough; the child joins
//! the cgroup and the other namespaces by the init's pidfd, which cannot mean another process.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use dray_spec::runtime::Process;
use dray_sys::clone::{CloneError, Fork, Namespaces, clone3};
use dray_sys::process as proc;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::cgroup::{Cgroup, CgroupError, Entry};
use crate::error::{StartError, Step};
use crate::init::At;
use crate::init::channel::{Channel, Note};
use crate::init::launch::{fail, kill_and_reap};
use crate::init::program::{self, Program};
use crate::init::tree::Tree;
use crate::init::{open_terminal, take_terminal};

/// What is run, and where.
#[derive(Debug)]
pub struct Exec<'a> {
    /// The container's init.
    pub init: BorrowedFd<'a>,
    /// The container has a user namespace of its own.
    pub user_namespace: bool,
    /// Its cgroup.
    pub cgroup: Option<&'a Cgroup>,
    /// The program.
    pub process: &'a Process,
    /// Compiled system call filter; empty for none.
    pub filter: &'a [u8],
    /// Give it a terminal.
    pub tty: bool,
    /// First size of the terminal.
    pub console_size: Option<(u16, u16)>,
    /// Standard streams; absent leaves the caller's.
    pub streams: Option<[OwnedFd; 3]>,
    /// Descriptors above the standard ones that the program keeps.
    pub preserve_fds: u32,
}

/// A program that runs.
#[derive(Debug)]
pub struct Executed {
    /// Process id on the host.
    pub pid: i32,
    /// The process, a child of the caller.
    pub pidfd: OwnedFd,
    /// Master of its terminal.
    pub console: Option<OwnedFd>,
}

/// Runs the program. Returns when its exec has succeeded.
///
/// # Errors
/// In the same words as for a container's own program.
pub fn exec(mut exec: Exec<'_>) -> Result<Executed, StartError> {
    let mut entry = exec.cgroup.map(Cgroup::entry).transpose().map_err(cgroup_error)?;
    let (ours, theirs) = Channel::pair().at(Step::Namespace, "socket")?;
    let mut forked = clone_inside(&exec, entry.as_ref());
    if forked.as_ref().is_err_and(|error| error.errno == Some(Errno::BUSY.raw_os_error())) {
        // The container has made groups of its own (systemd does): we go where its init went.
        let pid = pid_of(exec.init).at(Step::Namespace, "the container's init")?;
        entry = exec.cgroup.map(|cgroup| cgroup.entry_beside(pid)).transpose().map_err(cgroup_error)?;
        forked = clone_inside(&exec, entry.as_ref());
    }
    match forked? {
        Fork::Child => {
            drop(ours);
            let Err(error) = become_program(&mut exec, entry, &theirs);
            fail(&theirs, error)
        }
        Fork::Parent { pid, pidfd } => {
            drop((theirs, entry, exec));
            match attend(&ours) {
                Ok(console) => Ok(Executed { pid, pidfd, console }),
                Err(error) => {
                    kill_and_reap(&pidfd);
                    Err(error)
                }
            }
        }
    }
}

fn cgroup_error(error: CgroupError) -> StartError {
    StartError::because(Step::Cgroup, "", error.to_string())
}

/// The id of a process that is known by its pidfd.
fn pid_of(process: BorrowedFd<'_>) -> io::Result<i32> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", process.as_raw_fd()))?;
    let pid = text.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok());
    // -1 if it has ended.
    pid.filter(|&pid| pid > 0).ok_or_else(|| Errno::SRCH.into())
}

fn clone_inside(exec: &Exec<'_>, entry: Option<&Entry>) -> Result<Fork, StartError> {
    let own = std::fs::File::open("/proc/self/ns/pid").at(Step::Namespace, "/proc/self/ns/pid")?;
    proc::setns(exec.init, Namespaces::PID).at(Step::Namespace, "join pid namespace")?;
    let into = match entry {
        Some(Entry::Directory(_, dir)) => Some(dir.as_fd()),
        _ => None,
    };
    let forked = clone3(Namespaces::default(), into).map_err(|error| match error {
        CloneError::Kernel(error) => StartError::io(Step::Namespace, "clone3", &error),
        threads @ CloneError::Threads => StartError::because(Step::Namespace, "clone3", threads.to_string()),
    });
    if !matches!(forked, Ok(Fork::Child)) {
        proc::setns(own.as_fd(), Namespaces::PID).at(Step::Namespace, "leave pid namespace")?;
    }
    forked
}

fn become_program(
    exec: &mut Exec<'_>,
    entry: Option<Entry>,
    channel: &Channel,
) -> Result<std::convert::Infallible, StartError> {
    if let Some(entry) = entry {
        entry.join().map_err(cgroup_error)?;
    }
    let label = program::open_label(exec.process)?;
    program::set_oom_score(exec.process)?;
    program::set_scheduling(exec.process)?;
    // The container's own processes can see this one from now on, and must not get at the host through it.
    proc::not_dumpable().at(Step::Namespace, "dumpable")?;
    enter(exec)?;
    rustix::process::setsid().at(Step::Namespace, "session")?;
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .at(Step::Namespace, "root")?;
    let root = Tree::new(root);
    take_streams(exec, &root, channel)?;
    let program = Program {
        process: exec.process,
        filter: exec.filter,
        filter_flags: 0,
        make_cwd: false,
        preserve_fds: exec.preserve_fds,
        dies_with_parent: false,
        label,
        own_streams: true,
    };
    program.run(&root, || channel.say(&Note::Ready(Vec::new()), None).at(Step::Exec, "tell the runtime"))
}

fn enter(exec: &Exec<'_>) -> Result<(), StartError> {
    let mut kinds =
        Namespaces::MOUNT | Namespaces::UTS | Namespaces::IPC | Namespaces::NETWORK | Namespaces::CGROUP;
    if exec.user_namespace {
        kinds |= Namespaces::USER;
    }
    proc::setns(exec.init, kinds).at(Step::Namespace, "join the container")?;
    if exec.user_namespace {
        proc::set_ids(0, 0).at(Step::Namespace, "root of the user namespace")?;
    }
    Ok(())
}

fn take_streams(exec: &mut Exec<'_>, root: &Tree, channel: &Channel) -> Result<(), StartError> {
    if exec.tty {
        let terminal = open_terminal(root, exec.console_size)?;
        channel
            .say(&Note::Console, Some(terminal.master.as_fd()))
            .at(Step::Console, "hand over the terminal")?;
        return take_terminal(&terminal.slave);
    }
    for (number, stream) in exec.streams.take().iter().flatten().enumerate() {
        proc::dup_to(stream.as_fd(), number as i32).at(Step::Console, "standard streams")?;
    }
    Ok(())
}

fn attend(channel: &Channel) -> Result<Option<OwnedFd>, StartError> {
    let mut console = None;
    let mut ready = false;
    loop {
        match channel.hear().at(Step::Exec, "")? {
            Some((Note::Console, fd)) => console = fd,
            Some((Note::Ready(_), _)) => ready = true,
            Some((Note::Hooks, _)) => {}
            Some((Note::Failed(error), _)) => return Err(error),
            None if ready => return Ok(console),
            None => return Err(StartError::because(Step::Exec, "", "the container ended meanwhile")),
        }
    }
}
