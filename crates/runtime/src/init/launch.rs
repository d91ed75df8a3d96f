//! The parent's side of a container's birth.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use dray_spec::runtime::{NamespaceKind, Resources, Spec, State, Status};
use dray_sys::clone::{CloneError, Fork, Namespaces, clone3, exit_now};
use dray_sys::process as proc;
use rustix::process::{WaitId, WaitIdOptions};

use super::channel::{Channel, Note};
use super::namespaces::{self, Plan};
use super::{At, Init, Source, Trace, hooks, mounts, rootfs};
use crate::cgroup::{Cgroup, CgroupError, Entry};
use crate::error::{StartError, Step};
use crate::shim::request::Rootfs;

/// What a container is made of.
#[derive(Debug)]
pub struct Launch<'a> {
    /// Container id.
    pub id: &'a str,
    /// Directory of the configuration, for the state that hooks get.
    pub bundle: PathBuf,
    /// Configuration.
    pub spec: &'a Spec,
    /// Root file system.
    pub rootfs: &'a Rootfs,
    /// A directory of the host the root may be mounted on inside the container's mount namespace.
    pub staging: &'a Path,
    /// Path of the cgroup.
    pub cgroup_path: &'a str,
    /// Compiled system call filter; empty for none.
    pub filter: &'a [u8],
    /// `SECCOMP_FILTER_FLAG_*`.
    pub filter_flags: u32,
    /// Give the program a terminal.
    pub tty: bool,
    /// First size of the terminal.
    pub console_size: Option<(u16, u16)>,
    /// Standard streams; absent leaves the caller's.
    pub streams: Option<[OwnedFd; 3]>,
    /// The program waits until a byte comes out of this.
    pub start_pipe: Option<OwnedFd>,
    /// Give it a session keyring.
    pub keyring: bool,
    /// pivot_root, or only chroot.
    pub pivot: bool,
    /// Descriptors above the standard ones that the program keeps.
    pub preserve_fds: u32,
    /// Kill the program when the caller dies: nobody would know of its end.
    pub dies_with_parent: bool,
    /// How long the steps take.
    pub trace: Trace,
}

/// A container that was made.
#[derive(Debug)]
pub struct Launched {
    /// Its init.
    pub pid: i32,
    /// Its init.
    pub pidfd: OwnedFd,
    /// Its cgroup; absent where the machine has none mounted.
    pub cgroup: Option<Cgroup>,
    /// Master of its terminal.
    pub console: Option<OwnedFd>,
    /// Steps and their times.
    pub trace: Trace,
}

/// Makes a container: returns when its program runs, or, with a start pipe, waits to be run.
///
/// # Errors
/// Names the step; nothing of the container is left then.
pub fn launch(launch: Launch<'_>) -> Result<Launched, StartError> {
    let mut launch = launch;
    let cgroup = make_cgroup(&launch)?;
    launch.trace.mark("cgroup");
    let result = with_cgroup(launch, cgroup.clone());
    if let (Err(_), Some(cgroup)) = (&result, &cgroup) {
        // The error that led here says more than one of the clean-up.
        let _ = cgroup.remove();
    }
    result
}

fn make_cgroup(launch: &Launch<'_>) -> Result<Option<Cgroup>, StartError> {
    let none = Resources::default();
    let linux = launch.spec.linux.as_ref();
    let resources = linux.and_then(|linux| linux.resources.as_ref()).unwrap_or(&none);
    match Cgroup::create(launch.cgroup_path, resources) {
        Ok(cgroup) => Ok(Some(cgroup)),
        // Without cgroups there are no limits; asking for some is an error then.
        Err(CgroupError::NotMounted) if *resources == none => Ok(None),
        Err(error) => Err(cgroup_error(&error)),
    }
}

fn cgroup_error(error: &CgroupError) -> StartError {
    StartError::because(Step::Cgroup, "", error.to_string())
}

fn with_cgroup(launch: Launch<'_>, cgroup: Option<Cgroup>) -> Result<Launched, StartError> {
    let spec = launch.spec;
    let linux = spec
        .linux
        .as_ref()
        .ok_or_else(|| StartError::because(Step::Config, "config.json", "has no linux section"))?;
    let process = spec
        .process
        .as_ref()
        .ok_or_else(|| StartError::because(Step::Config, "config.json", "has no process section"))?;
    if !process.cwd.is_absolute() {
        let detail = "is not an absolute path";
        return Err(StartError::because(Step::Config, format!("cwd {:?}", process.cwd), detail));
    }
    let plan = Plan::make(linux)?;
    let user = plan.has_user();
    let prepared = mounts::Prepared::make(spec, user)?;
    let root =
        if user { Source::Mounted(rootfs::detached(launch.rootfs)?) } else { Source::Own(launch.rootfs) };
    let root = Some(root);
    let entry = cgroup.as_ref().map(Cgroup::entry).transpose().map_err(|e| cgroup_error(&e))?;
    let new = plan.new & !Namespaces::CGROUP;
    let born = Born::enter(&plan, linux)?;
    let waits = launch.start_pipe.is_some();
    let mut trace = launch.trace;
    let maps_wanted = plan.makes(NamespaceKind::User);
    let state = State {
        oci_version: spec.oci_version.clone(),
        id: launch.id.to_owned(),
        status: Status::Creating,
        pid: None,
        bundle: launch.bundle,
        annotations: spec.annotations.clone(),
    };
    let init = Init {
        spec,
        linux,
        process,
        root,
        staging: launch.staging,
        namespaces: plan,
        prepared,
        cgroup: cgroup.as_ref(),
        state: state.clone(),
        tty: launch.tty,
        console_size: launch.console_size,
        streams: launch.streams,
        start_pipe: launch.start_pipe,
        keyring: launch.keyring,
        pivot: launch.pivot,
        preserve_fds: launch.preserve_fds,
        dies_with_parent: launch.dies_with_parent,
        filter: launch.filter,
        filter_flags: launch.filter_flags,
    };
    trace.mark("prepare");
    let (ours, theirs) = Channel::pair().at(Step::Namespace, "socket")?;
    let (pid, pidfd) = match born.clone(new & !Namespaces::TIME, entry.as_ref())? {
        Fork::Parent { pid, pidfd } => (pid, pidfd),
        Fork::Child => {
            drop(ours);
            become_init(init, &theirs, entry, &mut trace.fresh())
        }
    };
    drop((theirs, entry, init));
    born.leave()?;
    trace.mark("clone");
    let mut birth = Birth { pid, channel: ours, state, spec, console: None, trace, waits };
    let attended = attend(&mut birth, maps_wanted, cgroup.as_ref());
    match attended {
        Ok(()) => Ok(Launched { pid, pidfd, cgroup, console: birth.console, trace: birth.trace }),
        Err(error) => {
            kill_and_reap(&pidfd);
            Err(error)
        }
    }
}

/// Runs the child's steps; a failure is told to the parent, or to stderr when it has gone.
fn become_init(init: Init<'_>, channel: &Channel, entry: Option<Entry>, trace: &mut Trace) -> ! {
    let Err(error) = init.run(channel, entry, trace);
    fail(channel, error)
}

/// Tells why the program will not run, and ends the child.
pub fn fail(channel: &Channel, error: StartError) -> ! {
    let code = error.kind().exit_code();
    let text = format!("{error}\n");
    if channel.say(&Note::Failed(error), None).is_err() {
        let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
    }
    exit_now(code)
}

/// Namespaces that are entered by being born into them: pid and time. The caller's own children are put into
/// them for the time of the clone.
struct Born {
    own: Vec<(NamespaceKind, OwnedFd)>,
}

impl Born {
    fn enter(plan: &Plan, linux: &dray_spec::runtime::Linux) -> Result<Born, StartError> {
        let mut born = Born { own: Vec::new() };
        for (kind, file) in &plan.join {
            if !matches!(kind, NamespaceKind::Pid | NamespaceKind::Time) {
                continue;
            }
            let subject = || format!("join {} namespace", namespaces::name(*kind));
            born.remember(*kind)?;
            proc::setns(file.as_fd(), namespaces::bit(*kind)).at(Step::Namespace, subject())?;
        }
        if plan.makes(NamespaceKind::Time) {
            born.remember(NamespaceKind::Time)?;
            proc::unshare(Namespaces::TIME).at(Step::Namespace, "time namespace")?;
            namespaces::write_time_offsets(linux)?;
        }
        Ok(born)
    }

    fn remember(&mut self, kind: NamespaceKind) -> Result<(), StartError> {
        let path = format!("/proc/self/ns/{}", namespaces::name(kind));
        let own = std::fs::File::open(&path).at(Step::Namespace, path)?;
        self.own.push((kind, own.into()));
        Ok(())
    }

    fn clone(&self, new: u64, entry: Option<&Entry>) -> Result<Fork, StartError> {
        let into = match entry {
            Some(Entry::Directory(_, dir)) => Some(dir.as_fd()),
            _ => None,
        };
        clone3(Namespaces(new), into).map_err(|error| match error {
            CloneError::Kernel(error) => StartError::io(Step::Namespace, "clone3", &error),
            threads @ CloneError::Threads => {
                StartError::because(Step::Namespace, "clone3", threads.to_string())
            }
        })
    }

    fn leave(self) -> Result<(), StartError> {
        for (kind, own) in self.own {
            proc::setns(own.as_fd(), namespaces::bit(kind))
                .at(Step::Namespace, format!("leave {} namespace", namespaces::name(kind)))?;
        }
        Ok(())
    }
}

struct Birth<'a> {
    pid: i32,
    channel: Channel,
    state: State,
    spec: &'a Spec,
    console: Option<OwnedFd>,
    trace: Trace,
    /// The program is run later, by `start`.
    waits: bool,
}

/// Answers the child until its program runs.
fn attend(birth: &mut Birth<'_>, maps: bool, cgroup: Option<&Cgroup>) -> Result<(), StartError> {
    if let (true, Some(linux)) = (maps, &birth.spec.linux) {
        namespaces::write_maps(birth.pid, linux)?;
        birth.channel.go().at(Step::Namespace, "user namespace")?;
    }
    let mut ready = false;
    loop {
        match birth.channel.hear().at(Step::Namespace, "init")? {
            Some((Note::Console, fd)) => birth.console = fd,
            Some((Note::Hooks, _)) => {
                birth.state.pid = Some(birth.pid);
                if let Some(hooks) = &birth.spec.hooks {
                    hooks::run(&hooks.prestart, &birth.state)?;
                    hooks::run(&hooks.create_runtime, &birth.state)?;
                }
                birth.channel.go().at(Step::Hook, "")?;
            }
            Some((Note::Ready(steps), _)) => {
                ready = true;
                birth.trace.extend(steps);
                if birth.waits {
                    return Ok(());
                }
            }
            Some((Note::Failed(error), _)) => return Err(error),
            None if ready => {
                birth.trace.mark("exec");
                return Ok(());
            }
            None => return Err(died(cgroup)),
        }
    }
}

fn died(cgroup: Option<&Cgroup>) -> StartError {
    let detail = match cgroup.map(Cgroup::oom_kills) {
        Some(kills) if kills > 0 => "the init was killed: the memory limit is too low for it to start",
        _ => "the init ended before it could say why",
    };
    StartError::because(Step::Namespace, "init", detail)
}

/// Ends a child that is of no use.
pub fn kill_and_reap(pidfd: &OwnedFd) {
    // It may have ended by itself: the wait below tells.
    let _ = rustix::process::pidfd_send_signal(pidfd, rustix::process::Signal::KILL);
    let _ = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
}
