//! `RUN` steps as containers: the same configuration, limits and networks that containers get, and
//! nothing of them left when they end.
//!
//! ```text
//! <run-root>/b/<id>/          hosts, hostname, resolv.conf, mount points of step mounts
//! <run-root>/b/<id>/shim/     the shim's own files
//! ```
//! A daemon that was killed leaves steps behind whose build nobody waits for: they are killed and
//! cleared away when the next one starts.

use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dray_api::container::{Argv, ContainerConfig, HostConfig, MountType, TmpfsOptions, Ulimit};
use dray_build::{
    ExitStatus, OutputStream, RunError, RunStep, SecretContent, StepMount, StepOutput, StepRunner,
};
use dray_runtime::{FRAME_HEADER, Frame, Rootfs, SeccompPolicy, Shim, ShimRequest, StreamKind};
use rustix::mount::{MountFlags, UnmountFlags};

use crate::container::mount::MountPoint;
use crate::container::record::Record;
use crate::container::rootfs::{Layers, make_base_layer};
use crate::container::spec::{self, Input, Joined};
use crate::container::validate::security_options;
use crate::container::{Attached, ContainerNetworking, NetworkedContainer, Registry};
use crate::emulator::{self, Emulators};
use crate::trust::HostTrust;

/// What a step sees as its host's name: always the same one, BuildKit's.
const HOSTNAME: &str = "buildkitsandbox";

/// How long a start that an earlier daemon has left half done may take.
const START: std::time::Duration = std::time::Duration::from_secs(10);

/// The shim's folder in a step's.
const SHIM: &str = "shim";

/// Where steps run.
#[derive(Debug, Clone)]
pub struct RunnerConfig {
    /// Folders of steps are made in `b/` below it.
    pub run_root: PathBuf,
    /// The program that plays the shim.
    pub exe: PathBuf,
    /// The layer of mount points below every container.
    pub base_layer: PathBuf,
    /// Where cgroups are made when a build does not say.
    pub cgroup_parent: String,
    /// The host's certificates, when the daemon was told to trust them.
    pub trust: Option<HostTrust>,
    /// Devices by name.
    pub cdi: crate::cdi::Cdi,
}

/// Runs steps.
pub struct Runner {
    config: RunnerConfig,
    networking: Arc<dyn ContainerNetworking>,
    registry: Arc<Registry>,
    emulators: Arc<Emulators>,
}

/// Why a step's container cannot be made.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Container(#[from] crate::container::Error),
    #[error(transparent)]
    Spec(#[from] spec::Error),
    #[error(transparent)]
    Service(#[from] crate::ServiceError),
    #[error(transparent)]
    Start(#[from] dray_runtime::StartError),
    #[error(transparent)]
    Shim(#[from] dray_runtime::ShimError),
    #[error("{operation} {}: {source}", path.display())]
    Io { operation: &'static str, path: PathBuf, source: std::io::Error },
    #[error("cannot join network of a non running container: {0}")]
    NotRunning(String),
}

fn io(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { operation, path, source }
}

impl From<Error> for RunError {
    fn from(error: Error) -> Self {
        RunError::Start(Box::new(error))
    }
}

impl StepRunner for Runner {
    fn devices(&self, name: &str) -> Vec<String> {
        self.config.cdi.meant(name)
    }

    fn run(&self, step: &RunStep<'_>) -> Result<ExitStatus, RunError> {
        if step.cancel.is_cancelled() {
            return Err(RunError::Cancelled);
        }
        let folder = self.folders().join(step.id);
        let place = Place { runner: self, folder, record: record_of(step) };
        let ended = place.run(step);
        place.clear();
        if step.cancel.is_cancelled() {
            return Err(RunError::Cancelled);
        }
        Ok(ended?)
    }
}

impl Runner {
    /// A runner; clears away what an earlier daemon left.
    ///
    /// # Errors
    /// If its folder cannot be made.
    pub fn open(
        config: RunnerConfig,
        networking: Arc<dyn ContainerNetworking>,
        registry: Arc<Registry>,
        emulators: Arc<Emulators>,
    ) -> Result<Self, crate::container::Error> {
        make_base_layer(&config.base_layer)?;
        let runner = Runner { config, networking, registry, emulators };
        for entry in std::fs::read_dir(runner.folders()).into_iter().flatten().flatten() {
            runner.clear_left_behind(&entry.path());
        }
        Ok(runner)
    }

    pub(super) fn emulators(&self) -> &Arc<Emulators> {
        &self.emulators
    }

    fn folders(&self) -> PathBuf {
        self.config.run_root.join("b")
    }

    fn clear_left_behind(&self, folder: &Path) {
        let run_dir = folder.join(SHIM);
        dray_runtime::await_start(&run_dir, START);
        if let Some(shim) = Shim::open(&run_dir) {
            let ended = shim.wait();
            if shim.kill_all().is_ok()
                && let Ok(wait) = ended
            {
                let _ = wait.recv();
            }
        } else if run_dir.join("state.json").exists() {
            let _ = dray_runtime::reap_lost(&run_dir);
        }
        let id = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let record = Record { id, ..Record::default() };
        Place { runner: self, folder: folder.to_owned(), record }.clear();
    }
}

/// A step's place on the host.
struct Place<'a> {
    runner: &'a Runner,
    folder: PathBuf,
    record: Record,
}

impl Place<'_> {
    fn run(&self, step: &RunStep<'_>) -> Result<ExitStatus, Error> {
        std::fs::create_dir_all(&self.folder).map_err(io("create", &self.folder))?;
        let attached = self.join(step)?;
        self.write_files(&attached)?;
        let (ours, theirs) = UnixStream::pair().map_err(io("make a socket pair in", &self.folder))?;
        let request = self.request(step, &attached, theirs)?;
        let emulated = self.runner.emulators.prepare(step.platform);
        dray_runtime::start(&self.runner.config.exe, request)
            .map_err(|error| emulator::explained(emulated, error))?;
        let run_dir = self.folder.join(SHIM);
        let killed = run_dir.clone();
        let _guard = step.cancel.on_cancel(move || {
            if let Some(shim) = Shim::open(&killed)
                && let Err(error) = shim.kill_all()
            {
                tracing::warn!(%error, "kill a build step");
            }
        });
        forward(ours, step.output).map_err(io("read the output of", &self.folder))?;
        let status = match Shim::open(&run_dir).map(|shim| shim.wait()) {
            Some(Ok(wait)) => wait.recv().or_else(|_| dray_runtime::reap_lost(&run_dir))?,
            _ => match dray_runtime::exit_status(&run_dir) {
                Some(status) => status,
                None => dray_runtime::reap_lost(&run_dir)?,
            },
        };
        Ok(ExitStatus { code: status.code, oom_killed: status.oom_killed })
    }

    /// A network of its own as containers have it, or another container's.
    fn join(&self, step: &RunStep<'_>) -> Result<Attached, Error> {
        if let Some(called) = step.network.strip_prefix("container:") {
            let target = self.runner.registry.find(called)?;
            if !target.is_up() {
                return Err(Error::NotRunning(called.to_owned()));
            }
            let pid = target.with(|record| record.state.pid);
            let netns = Some(format!("/proc/{pid}/ns/net").into());
            let text = |name: &str| {
                std::fs::read_to_string(format!("/proc/{pid}/root/etc/{name}")).unwrap_or_default()
            };
            let (hosts, resolv_conf) = (text("hosts"), text("resolv.conf"));
            return Ok(Attached { netns, hosts, resolv_conf, ..Attached::default() });
        }
        let mode = if step.network.is_empty() { "default" } else { &step.network };
        let endpoints = self.runner.networking.plan(mode, Default::default())?;
        let container = NetworkedContainer {
            id: self.record.id.clone(),
            name: self.record.name.clone(),
            hostname: self.record.config.hostname.clone(),
            mode: mode.to_owned(),
            endpoints,
            extra_hosts: step.resources.extra_hosts.clone(),
            ..NetworkedContainer::default()
        };
        Ok(self.runner.networking.connect_all(&container)?)
    }

    fn write_files(&self, attached: &Attached) -> Result<(), Error> {
        let hostname = format!("{}\n", self.record.config.hostname);
        let files =
            [("hostname", &hostname), ("hosts", &attached.hosts), ("resolv.conf", &attached.resolv_conf)];
        for (name, text) in files {
            let path = self.folder.join(name);
            std::fs::write(&path, text).map_err(io("write", &path))?;
        }
        Ok(())
    }

    fn request(
        &self,
        step: &RunStep<'_>,
        attached: &Attached,
        output: UnixStream,
    ) -> Result<ShimRequest, Error> {
        let config = &self.runner.config;
        let mut lower = step.layers.clone();
        lower.push(config.base_layer.clone());
        let layers = Layers { lower, upper: step.upper.clone(), work: step.work.clone() };
        let mut record = self.record.clone();
        let mut read_only = config.trust.as_ref().map(HostTrust::mounts).unwrap_or_default();
        for (n, mount) in step.mounts.iter().enumerate() {
            self.add_mount(n, mount, &mut record)?;
        }
        let text = |path: &str| Ok::<_, Error>(layers.read_file(path)?.unwrap_or_default());
        let user = spec::resolve_user(&step.user, &[], &text("/etc/passwd")?, &text("/etc/group")?);
        let file = |name: &str, over: &'static str| (self.folder.join(name), over);
        read_only.retain(|(source, _)| source.exists());
        let input = Input {
            record: &record,
            user: user.map_err(spec::Error::from)?,
            security: security_options(&record.host).map_err(crate::container::Error::from)?,
            devices: spec::devices(&record.host)?,
            joined: Joined { network: attached.netns.clone(), ..Joined::default() },
            files: vec![
                file("hostname", "/etc/hostname"),
                file("hosts", "/etc/hosts"),
                file("resolv.conf", "/etc/resolv.conf"),
            ],
            read_only,
            sources: Default::default(),
            shm: None,
            env: config.trust.as_ref().map(HostTrust::env).unwrap_or_default(),
            init: false,
            cgroup: self.cgroup(step),
            bounding: crate::container::may_give,
        };
        let mut generated = spec::generate(&input)?;
        config.cdi.inject(&step.devices, &mut generated).map_err(spec::Error::from)?;
        Ok(ShimRequest {
            id: record.id.clone(),
            run_dir: self.folder.join(SHIM),
            spec: generated,
            rootfs: Rootfs::Overlay { lower: layers.lower, upper: layers.upper, work: layers.work },
            seccomp: if step.privileged { SeccompPolicy::Unconfined } else { SeccompPolicy::Default },
            attach: vec![output.into()],
            ..ShimRequest::default()
        })
    }

    fn cgroup(&self, step: &RunStep<'_>) -> String {
        let parent = match step.resources.cgroup_parent.as_str() {
            "" => self.runner.config.cgroup_parent.as_str(),
            given => given,
        };
        crate::container::mount::clean(&format!("/{parent}/{}", step.id))
    }

    /// Adds a mount of `RUN --mount`; layers are put together here, because only a host path can be bound.
    fn add_mount(&self, n: usize, mount: &StepMount, record: &mut Record) -> Result<(), Error> {
        let bind = |source: &Path, target: &str, rw| MountPoint {
            kind: MountType::Bind,
            source: source.display().to_string(),
            destination: crate::container::mount::clean(target),
            rw,
            propagation: "rprivate".into(),
            ..MountPoint::default()
        };
        record.mounts.push(match mount {
            StepMount::Bind { source, target, readonly } => bind(source, target, !readonly),
            StepMount::Tmpfs { target, size } => MountPoint {
                kind: MountType::Tmpfs,
                destination: crate::container::mount::clean(target),
                rw: true,
                tmpfs: Some(TmpfsOptions {
                    size_bytes: size.map_or(0, |size| i64::try_from(size).unwrap_or(i64::MAX)),
                    ..TmpfsOptions::default()
                }),
                ..MountPoint::default()
            },
            StepMount::Secret { content, target, owner, mode } => {
                bind(&self.in_memory(n, content, *owner, *mode)?, target, false)
            }
            StepMount::Layers { layers, subpath, target, writable } => {
                let assembled = self.assemble(n, layers, writable.as_deref())?;
                bind(&assembled.join(subpath.trim_start_matches('/')), target, writable.is_some())
            }
        });
        Ok(())
    }

    /// A file that is on no disk, whatever the run root is.
    fn in_memory(
        &self,
        n: usize,
        content: &SecretContent,
        (uid, gid): (u32, u32),
        mode: u32,
    ) -> Result<PathBuf, Error> {
        let folder = self.folder.join(format!("m{n}"));
        std::fs::create_dir_all(&folder).map_err(io("create", &folder))?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        rustix::mount::mount("tmpfs", &folder, "tmpfs", flags, c"size=4m,mode=0700")
            .map_err(|errno| io("mount tmpfs on", &folder)(errno.into()))?;
        let path = folder.join("secret");
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let written = file.and_then(|mut file| {
            file.write_all(&content.0)?;
            std::os::unix::fs::fchown(&file, Some(uid), Some(gid))?;
            file.set_permissions(std::fs::Permissions::from_mode(mode))
        });
        written.map_err(io("write", &path))?;
        Ok(path)
    }

    fn assemble(&self, n: usize, layers: &[PathBuf], writable: Option<&Path>) -> Result<PathBuf, Error> {
        let target = self.folder.join(format!("m{n}"));
        std::fs::create_dir_all(&target).map_err(io("create", &target))?;
        let scratch = writable.map_or_else(|| self.folder.join(format!("s{n}")), Path::to_owned);
        let (upper, work) = (scratch.join("upper"), scratch.join("work"));
        for path in [&upper, &work] {
            std::fs::create_dir_all(path).map_err(io("create", path))?;
        }
        let mut lower = layers.to_vec();
        if lower.is_empty() {
            // Nothing but a folder can be below; the one of steps has mount points in it.
            let empty = self.folder.join(format!("e{n}"));
            std::fs::create_dir_all(&empty).map_err(io("create", &empty))?;
            lower.push(empty);
        }
        let overlay =
            dray_sys::mount::overlay_detached(&lower, &upper, &work).map_err(io("mount overlay", &target))?;
        let place = rustix::fs::open(
            &target,
            rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .map_err(|errno| io("open", &target)(errno.into()))?;
        use std::os::fd::AsFd;
        dray_sys::mount::attach(overlay.as_fd(), place.as_fd()).map_err(io("mount overlay on", &target))?;
        Ok(target)
    }

    /// Takes everything down again; goes on over failures.
    fn clear(&self) {
        let container = NetworkedContainer { id: self.record.id.clone(), ..NetworkedContainer::default() };
        self.runner.networking.disconnect_all(&container);
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with('m') {
                let _ = rustix::mount::unmount(entry.path(), UnmountFlags::DETACH);
            }
        }
        if let Err(error) = dray_store::remove_tree(&self.folder) {
            tracing::warn!(path = %self.folder.display(), %error, "a build step's folder stays");
        }
    }
}

/// A step as a container.
fn record_of(step: &RunStep<'_>) -> Record {
    let resources = step.resources;
    let mut host = HostConfig {
        network_mode: if step.network.is_empty() { "default".into() } else { step.network.clone() },
        shm_size: if resources.shm_size > 0 { resources.shm_size } else { 64 << 20 },
        security_opt: Some(resources.security_opt.clone()),
        privileged: step.privileged,
        ..HostConfig::default()
    };
    let limits = &mut host.resources;
    limits.memory = resources.memory;
    limits.memory_swap = resources.memory_swap;
    limits.cpu_shares = resources.cpu_shares;
    limits.cpu_period = resources.cpu_period;
    limits.cpu_quota = resources.cpu_quota;
    limits.cpuset_cpus.clone_from(&resources.cpuset_cpus);
    limits.cpuset_mems.clone_from(&resources.cpuset_mems);
    let ulimit = |(name, (soft, hard)): (&String, &(i64, i64))| Ulimit {
        name: name.clone(),
        soft: *soft,
        hard: *hard,
    };
    limits.ulimits = Some(resources.ulimits.iter().map(ulimit).collect());
    let short = step.id.get(..12).unwrap_or(step.id).to_owned();
    let (path, args) =
        step.argv.split_first().map_or((String::new(), Vec::new()), |(p, a)| (p.clone(), a.to_vec()));
    Record {
        id: step.id.to_owned(),
        name: format!("build-{short}"),
        path,
        args,
        config: ContainerConfig {
            hostname: HOSTNAME.to_owned(),
            user: step.user.clone(),
            env: Some(step.env.clone()),
            working_dir: step.cwd.clone(),
            cmd: Some(Argv(step.argv.clone())),
            ..ContainerConfig::default()
        },
        host,
        ..Record::default()
    }
}

/// Hands the frames of the shim on until the step's last word.
fn forward(mut frames: UnixStream, output: &dyn StepOutput) -> std::io::Result<()> {
    let mut payload = Vec::new();
    loop {
        let mut header = [0; FRAME_HEADER];
        match frames.read_exact(&mut header) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        }
        let frame = Frame::decode(header).ok_or(std::io::ErrorKind::InvalidData)?;
        payload.resize(frame.len, 0);
        frames.read_exact(&mut payload)?;
        match frame.stream {
            StreamKind::Stdout => output.write(OutputStream::Stdout, &payload),
            StreamKind::Stderr => output.write(OutputStream::Stderr, &payload),
            StreamKind::Control => return Ok(()),
            StreamKind::Stdin => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Mutex;

    use super::*;

    struct Collect(Mutex<String>);

    impl StepOutput for Collect {
        fn write(&self, stream: OutputStream, bytes: &[u8]) {
            let text = format!("{stream:?}:{};", String::from_utf8_lossy(bytes));
            self.0.lock().unwrap().push_str(&text);
        }
    }

    #[test]
    fn output_is_told_apart_and_ends_with_the_control_frame() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        for (stream, text) in
            [(StreamKind::Stdout, "a"), (StreamKind::Stderr, "b"), (StreamKind::Control, "{}")]
        {
            theirs.write_all(&Frame { stream, len: text.len() }.encode()).unwrap();
            theirs.write_all(text.as_bytes()).unwrap();
        }
        let collect = Collect(Mutex::default());
        forward(ours, &collect).unwrap();
        assert_eq!(*collect.0.lock().unwrap(), "Stdout:a;Stderr:b;");
    }
}
