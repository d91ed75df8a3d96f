//! A container's init: everything between clone3 and the user's program.
//!
//! ```text
//! parent (shim, or `dray-runtime create`)      child
//! ───────────────────────────────────────      ─────────────────────────────────────────────
//! open namespaces, make cgroup
//! clone3 ────────────────────────────────────▶ join cgroup, join namespaces
//! write id maps ─────────── go ──────────────▶ session, keyring, host name, sysctls
//!                                              root: overlay, attach; mounts; devices; terminal
//! keep master ◀──────────── Console + fd ───── (with a terminal)
//! run hooks   ◀──────────── Hooks ──────────── (with hooks)
//!             ───────────── go ──────────────▶ pivot_root; mask; read-only
//!                                              limits, rights, user, directory, filter
//!             ◀──────────── Ready ──────────── [wait for `start`] exec
//!             ◀──── Failed, or end of stream ─
//! ```
//!
//! `launch` is the parent's side, this file the child's order of steps; each step has a file of its own and
//! says what it failed on.

mod cgroup_mount;
pub mod channel;
mod copy_up;
mod devices;
mod hide;
pub mod hooks;
pub mod identity;
pub mod launch;
pub mod live;
mod mounts;
pub mod namespaces;
mod options;
pub mod program;
mod rootfs;
pub mod tree;

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use dray_spec::runtime::{Linux, NamespaceKind, Process, Spec, State};
use dray_sys::clone::Namespaces;
use dray_sys::process as proc;

use crate::cgroup::{Cgroup, Entry};
use crate::clock::monotonic;
use crate::error::{StartError, Step};
use crate::shim::request::{Rootfs, TraceStep};
use channel::{Channel, Note};
use program::Program;

pub use devices::{Terminal, open_terminal, take_terminal};

/// Names the step and the subject of a refusal.
pub trait At<T> {
    /// Turns the error into a [`StartError`].
    fn at(self, step: Step, subject: impl Into<String>) -> Result<T, StartError>;
}

impl<T> At<T> for std::io::Result<T> {
    fn at(self, step: Step, subject: impl Into<String>) -> Result<T, StartError> {
        self.map_err(|error| StartError::io(step, subject, &error))
    }
}

impl<T> At<T> for rustix::io::Result<T> {
    fn at(self, step: Step, subject: impl Into<String>) -> Result<T, StartError> {
        self.map_err(|errno| StartError::os(step, subject, errno))
    }
}

/// How long the steps take, if somebody wants to know.
#[derive(Debug)]
pub struct Trace {
    last: u64,
    steps: Option<Vec<TraceStep>>,
}

impl Trace {
    /// Starts the clock.
    pub fn new(wanted: bool) -> Trace {
        Trace::since(monotonic(), wanted)
    }

    /// A clock that was started at a moment of the monotonic clock.
    pub fn since(begun: u64, wanted: bool) -> Trace {
        Trace { last: begun, steps: wanted.then(Vec::new) }
    }

    /// A trace for a child: its own steps from now on.
    pub fn fresh(&self) -> Trace {
        Trace::new(self.steps.is_some())
    }

    /// The step since the last mark is over.
    pub fn mark(&mut self, step: &str) {
        self.mark_at(step, monotonic());
    }

    /// The step since the last mark was over at this moment.
    pub fn mark_at(&mut self, step: &str, now: u64) {
        if let Some(steps) = &mut self.steps {
            steps.push(TraceStep { step: step.to_owned(), micros: now.saturating_sub(self.last) / 1000 });
            self.last = now;
        }
    }

    /// Adds what another process has measured up to now.
    pub fn extend(&mut self, others: Vec<TraceStep>) {
        if let Some(steps) = &mut self.steps {
            steps.extend(others);
            self.last = monotonic();
        }
    }

    /// The steps so far.
    pub fn take(&mut self) -> Vec<TraceStep> {
        self.steps.take().unwrap_or_default()
    }
}

/// What the child needs; made before the clone, so that it inherits it.
#[derive(Debug)]
pub struct Init<'a> {
    spec: &'a Spec,
    linux: &'a Linux,
    process: &'a Process,
    root: Option<Source<'a>>,
    staging: &'a Path,
    namespaces: namespaces::Plan,
    prepared: mounts::Prepared,
    cgroup: Option<&'a Cgroup>,
    state: State,
    tty: bool,
    console_size: Option<(u16, u16)>,
    streams: Option<[OwnedFd; 3]>,
    start_pipe: Option<OwnedFd>,
    keyring: bool,
    pivot: bool,
    preserve_fds: u32,
    dies_with_parent: bool,
    filter: &'a [u8],
    filter_flags: u32,
}

/// Where the child has its root from.
#[derive(Debug)]
enum Source<'a> {
    /// It mounts it itself.
    Own(&'a Rootfs),
    /// The parent has mounted it, because the child's user namespace would not let it.
    Mounted(OwnedFd),
}

impl Init<'_> {
    /// The child's life. Returns only on failure.
    fn run(
        mut self,
        channel: &Channel,
        entry: Option<Entry>,
        trace: &mut Trace,
    ) -> Result<Infallible, StartError> {
        if let Some(entry) = entry {
            entry.join().map_err(|e| StartError::because(Step::Cgroup, "", e.to_string()))?;
            trace.mark("join cgroup");
        }
        self.enter_namespaces(channel)?;
        // Mount points made in the image get the usual modes, whatever the daemon's mask is.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        rustix::process::setsid().at(Step::Namespace, "session")?;
        if self.keyring {
            join_keyring()?;
        }
        self.set_kernel_state()?;
        trace.mark("namespaces");
        let root = self.mount_root()?;
        trace.mark("root");
        let readonly = mounts::make_all(&root, self.spec, &self.prepared, self.cgroup)?;
        trace.mark("mounts");
        let terminal = self.populate_dev(&root, channel)?;
        for mount in readonly {
            let change = dray_sys::mount::MountAttr { set: 1, ..Default::default() };
            mounts::set_attr(mount.as_fd(), change, false).at(Step::Mount, "read-only /dev")?;
        }
        trace.mark("devices");
        self.run_hooks(channel)?;
        let label = program::open_label(self.process)?;
        rootfs::switch(&root, self.pivot)?;
        trace.mark("pivot");
        self.finish_root(&root)?;
        trace.mark("mask paths");
        self.take_streams(terminal.as_ref())?;
        drop(terminal);
        let hooks = self.spec.hooks.as_ref();
        if let Some(hooks) = hooks.filter(|hooks| !hooks.start_container.is_empty()) {
            hooks::run(&hooks.start_container, &self.state)?;
        }
        self.run_program(&root, label, channel, trace)
    }

    fn enter_namespaces(&mut self, channel: &Channel) -> Result<(), StartError> {
        for (kind, file) in std::mem::take(&mut self.namespaces.join) {
            if matches!(kind, NamespaceKind::Pid | NamespaceKind::Time) {
                // The parent has seen to it: they are entered by being born.
                continue;
            }
            proc::setns(file.as_fd(), namespaces::bit(kind))
                .at(Step::Namespace, format!("join {} namespace", namespaces::name(kind)))?;
        }
        if self.namespaces.makes(NamespaceKind::User) {
            channel.wait().at(Step::Namespace, "user namespace")?;
        }
        if self.namespaces.has_user() {
            proc::set_ids(0, 0).at(Step::Namespace, "root of the user namespace")?;
        } else {
            // Nobody who shares the pid namespace may trace us or reach through our files in /proc.
            proc::not_dumpable().at(Step::Namespace, "dumpable")?;
        }
        if self.namespaces.makes(NamespaceKind::Cgroup) {
            // After the cgroup has been joined, so that it is the root.
            proc::unshare(Namespaces::CGROUP).at(Step::Namespace, "cgroup namespace")?;
        }
        Ok(())
    }

    /// What belongs to the namespaces and is set through the host's /proc, which no image can have forged.
    fn set_kernel_state(&self) -> Result<(), StartError> {
        if let Some(name) = self.spec.hostname.as_deref().filter(|name| !name.is_empty()) {
            self.owns(NamespaceKind::Uts, "host name")?;
            proc::set_host_name(name).at(Step::Hostname, name)?;
        }
        if let Some(name) = self.spec.domainname.as_deref().filter(|name| !name.is_empty()) {
            self.owns(NamespaceKind::Uts, "domain name")?;
            proc::set_domain_name(name).at(Step::Hostname, name)?;
        }
        for (name, value) in &self.linux.sysctl {
            self.set_sysctl(name, value)?;
        }
        program::set_oom_score(self.process)?;
        program::set_scheduling(self.process)?;
        if let Some(personality) = &self.linux.personality {
            let persona = if personality.domain == "LINUX32" { 8 } else { 0 };
            proc::set_personality(persona).at(Step::Config, "personality")?;
        }
        Ok(())
    }

    fn owns(&self, kind: NamespaceKind, what: &str) -> Result<(), StartError> {
        let own = self.linux.namespaces.iter().any(|namespace| namespace.kind == kind);
        if own {
            return Ok(());
        }
        let detail = format!("needs a {} namespace of the container's own", namespaces::name(kind));
        Err(StartError::because(Step::Hostname, what, detail))
    }

    fn set_sysctl(&self, name: &str, value: &str) -> Result<(), StartError> {
        let kind = sysctl_namespace(name).ok_or_else(|| {
            StartError::because(Step::Sysctl, name, "is not in a namespace and would change the host")
        })?;
        if !self.linux.namespaces.iter().any(|namespace| namespace.kind == kind) {
            let detail = format!("needs a {} namespace of the container's own", namespaces::name(kind));
            return Err(StartError::because(Step::Sysctl, name, detail));
        }
        let path = if name.contains('/') { name.to_owned() } else { name.replace('.', "/") };
        std::fs::write(Path::new("/proc/sys").join(path), value).at(Step::Sysctl, format!("{name}={value}"))
    }

    fn mount_root(&mut self) -> Result<tree::Tree, StartError> {
        rootfs::isolate(self.linux)?;
        let root = match self.root.take() {
            Some(Source::Own(rootfs)) => rootfs::detached(rootfs)?,
            Some(Source::Mounted(root)) => root,
            None => return Err(StartError::because(Step::Rootfs, "", "is mounted already")),
        };
        rootfs::attach(root, self.staging)
    }

    fn populate_dev(&self, root: &tree::Tree, channel: &Channel) -> Result<Option<Terminal>, StartError> {
        devices::populate(root, &self.linux.devices, self.namespaces.has_user())?;
        if !self.tty {
            return Ok(None);
        }
        let terminal = devices::open_terminal(root, self.console_size)?;
        devices::bind_console(root, &terminal.slave)?;
        channel
            .say(&Note::Console, Some(terminal.master.as_fd()))
            .at(Step::Console, "hand over the terminal")?;
        Ok(Some(terminal))
    }

    fn run_hooks(&self, channel: &Channel) -> Result<(), StartError> {
        let Some(hooks) = &self.spec.hooks else { return Ok(()) };
        if !hooks.prestart.is_empty() || !hooks.create_runtime.is_empty() {
            channel.say(&Note::Hooks, None).at(Step::Hook, "")?;
            channel.wait().at(Step::Hook, "")?;
        }
        hooks::run(&hooks.create_container, &self.state)
    }

    fn finish_root(&self, root: &tree::Tree) -> Result<(), StartError> {
        if self.spec.root.as_ref().is_some_and(|root| root.readonly) {
            rootfs::make_readonly(root)?;
        }
        rootfs::share(root, self.linux)?;
        hide::make_readonly(root, &self.linux.readonly_paths)?;
        hide::mask(root, &self.linux.masked_paths)
    }

    fn take_streams(&mut self, terminal: Option<&Terminal>) -> Result<(), StartError> {
        if let Some(terminal) = terminal {
            return take_terminal(&terminal.slave);
        }
        for (number, stream) in self.streams.take().iter().flatten().enumerate() {
            proc::dup_to(stream.as_fd(), number as i32).at(Step::Console, "standard streams")?;
        }
        Ok(())
    }

    fn run_program(
        mut self,
        root: &tree::Tree,
        label: Option<(OwnedFd, String)>,
        channel: &Channel,
        trace: &mut Trace,
    ) -> Result<Infallible, StartError> {
        let start = self.start_pipe.take();
        let program = Program {
            process: self.process,
            filter: self.filter,
            filter_flags: self.filter_flags,
            make_cwd: true,
            preserve_fds: self.preserve_fds,
            dies_with_parent: self.dies_with_parent,
            label,
            own_streams: true,
        };
        program.run(root, || {
            trace.mark("user, rights, filter");
            channel.say(&Note::Ready(trace.take()), None).at(Step::Exec, "tell the runtime")?;
            match start {
                // Held open for writing too: the read ends when `start` writes, and not before.
                Some(pipe) => rustix::io::retry_on_intr(|| rustix::io::read(&pipe, &mut [0; 1]))
                    .map(drop)
                    .at(Step::Exec, "wait for start"),
                None => Ok(()),
            }
        })
    }
}

fn join_keyring() -> Result<(), StartError> {
    use rustix::io::Errno;
    match proc::join_session_keyring() {
        // No keyrings in this kernel, or not for us; and a full quota must not keep a container down.
        Err(e)
            if [Errno::NOSYS, Errno::PERM, Errno::DQUOT]
                .iter()
                .any(|errno| e.raw_os_error() == Some(errno.raw_os_error())) =>
        {
            Ok(())
        }
        other => other.at(Step::Keyring, ""),
    }
}

/// The namespace a kernel parameter belongs to; `None` if it is the whole machine's.
pub fn sysctl_namespace(name: &str) -> Option<NamespaceKind> {
    const IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let dotted = name.replace('/', ".");
    if dotted.split('.').any(str::is_empty) {
        return None;
    }
    match dotted.as_str() {
        name if IPC.contains(&name) || name.starts_with("fs.mqueue.") => Some(NamespaceKind::Ipc),
        name if name.starts_with("net.") => Some(NamespaceKind::Network),
        "kernel.domainname" | "kernel.hostname" => Some(NamespaceKind::Uts),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sysctls_of_the_machine_are_refused() {
        assert_eq!(sysctl_namespace("net.ipv4.ip_forward"), Some(NamespaceKind::Network));
        assert_eq!(sysctl_namespace("net/ipv4/conf/eth0.1/forwarding"), Some(NamespaceKind::Network));
        assert_eq!(sysctl_namespace("kernel.shmmax"), Some(NamespaceKind::Ipc));
        assert_eq!(sysctl_namespace("vm.swappiness"), None);
        assert_eq!(sysctl_namespace("net/../vm/swappiness"), None);
    }
}
