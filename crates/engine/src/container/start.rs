//! Starting a container: networks, mounts, configuration, shim; all taken down again if one fails.
//!
//! ```text
//! starting is written ─┬─ networks joined, ports published ─┬─ files, OCI configuration ─ shim ─ running is written
//!                      └─ volumes, user, devices looked up ─┘
//! ```
//! A daemon killed in between finds `starting` at its next start and asks whether a shim is there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dray_api::Labels;
use dray_api::container::{HostConfig, PortMap};
use dray_runtime::{LogTarget, Rootfs, SeccompPolicy, ShimRequest, Started};
use dray_spec::Platform;
use jiff::Timestamp;

use super::live::Container;
use super::networking::Attached;
use super::record::Record;
use super::service::Service;
use super::spec::{self, Devices, Input, Joined, User};
use super::trace::Trace;
use super::validate::{Namespace, SecurityOptions, namespace, security_options};
use super::{Error, create};
use crate::emulator::{self, EmulatorError};
use crate::log::{self, Driver};

/// What is looked up while the network is being made.
struct Prepared {
    sources: BTreeMap<String, spec::Source>,
    user: User,
    devices: Devices,
    security: SecurityOptions,
}

impl Service {
    /// Starts a container.
    ///
    /// # Errors
    /// `NotModified` when it runs; what stood in the way otherwise, with nothing of the start left.
    pub async fn start(self: &Arc<Self>, called: &str) -> Result<(), Error> {
        let container = self.registry.find(called)?;
        self.blocking(move |service| service.start_now(&container, true)).await
    }

    /// Starts a container on this thread; `asked` when by a request, else by its restart policy.
    pub(super) fn start_now(self: &Arc<Self>, container: &Arc<Container>, asked: bool) -> Result<(), Error> {
        let order = container.lifecycle.blocking_lock();
        begin(container, asked)?;
        let mut trace = Trace::new(self.config.trace);
        self.save_state(container);
        trace.step("write record");
        let began = Timestamp::now();
        match self.bring_up(container, &mut trace) {
            Ok(started) => {
                self.set_running(container, &started, began);
                trace.step("write record");
                trace.print(&container.name());
                Ok(())
            }
            Err(error) => {
                self.failed_to_start(container, &error);
                drop(order);
                if container.with(|record| record.host.auto_remove) {
                    self.auto_remove(container);
                }
                Err(error)
            }
        }
    }

    /// Sees to it that programs of the container's platform run.
    fn emulated(&self, record: &Record) -> Result<(), EmulatorError> {
        match record.platform.parse::<Platform>() {
            Ok(platform) if record.platform.contains('/') => self.emulators.prepare(&platform),
            _ => Ok(()),
        }
    }

    fn set_running(self: &Arc<Self>, container: &Arc<Container>, started: &Started, began: Timestamp) {
        {
            let mut live = container.live();
            live.manually_restarting = false;
            live.record.started_before = true;
            live.record.state.set_running(started.init_pid, started.init_start_time, began);
        }
        self.save_state(container);
        self.start_health(container);
        self.await_readiness(container);
        self.wake_autoscaler(container);
        self.announce(container, "start", &[]);
        container.announce(false);
        self.watch_exit(container);
    }

    fn failed_to_start(&self, container: &Container, error: &Error) {
        let record = container.record();
        self.take_down(&record);
        {
            let mut live = container.live();
            // Those who attached before the start hear that nothing comes.
            live.pending.clear();
            let state = &mut live.record.state;
            let code = match error {
                Error::Start(error) => error.kind().exit_code(),
                _ => 128,
            };
            let (finished, oom) = (state.finished_at, state.oom_killed);
            state.set_stopped(code, oom, Timestamp::now());
            state.finished_at = finished;
            state.error = error.to_string();
        }
        self.save_state(container);
        self.remove_run_dir(&record.id);
        container.announce(false);
    }

    /// Everything between the two records. What it has made is taken down by the caller on failure.
    fn bring_up(&self, container: &Arc<Container>, trace: &mut Trace) -> Result<Started, Error> {
        let record = container.record();
        let driver = create::log_driver(&record.host)?;
        let joined = self.joined(&record)?;
        let run_dir = self.run_dir(&record.id);
        std::fs::create_dir_all(&run_dir).map_err(Error::io("create", &run_dir))?;
        let (attached, prepared) = std::thread::scope(|scope| {
            let network = scope.spawn(|| self.join_networks(&record));
            let prepared = self.prepare(&record);
            let attached = network.join().unwrap_or_else(|_| Err(Error::Interrupted("networking".into())));
            (attached, prepared)
        });
        trace.step("network, volumes, user");
        let (attached, prepared) = (attached?, prepared?);
        let record = self.record_network(container, &attached);
        self.write_files(&record, &attached)?;
        let shm = self.shared_memory(&record)?;
        let request = self.request(&record, driver, joined, &attached, prepared, shm)?;
        trace.step("configuration");
        let attach = std::mem::take(&mut container.live().pending);
        let request = ShimRequest { attach, run_dir, trace: trace.is_on(), ..request };
        let emulated = self.emulated(&record);
        let started = dray_runtime::start(&self.config.exe, request)
            .map_err(|error| Error::Start(emulator::explained(emulated, error)))?;
        trace.step("shim and init");
        trace.inner(&started.trace);
        Ok(started)
    }

    fn prepare(&self, record: &Record) -> Result<Prepared, Error> {
        let mut security = security_options(&record.host)?;
        let defaults = &self.config.defaults;
        security.no_new_privileges |= defaults.no_new_privileges && !says_new_privileges(&record.host);
        security.seccomp = security.seccomp.or_else(|| defaults.seccomp.clone());
        let devices = spec::devices(&record.host)?;
        let user = self.user_of(record)?;
        // Last, because this alone must be undone.
        let sources = self.prepare_sources(record)?;
        Ok(Prepared { sources, user, devices, security })
    }

    /// Who a container runs as, by its own files.
    pub(super) fn user_of(&self, record: &Record) -> Result<User, Error> {
        let layers = self.layers(record);
        let text = |path: &str| Ok::<_, Error>(layers.read_file(path)?.unwrap_or_default());
        let add = record.host.group_add.clone().unwrap_or_default();
        let user = spec::resolve_user(&record.config.user, &add, &text("/etc/passwd")?, &text("/etc/group")?);
        Ok(user.map_err(spec::Error::from)?)
    }

    fn join_networks(&self, record: &Record) -> Result<Attached, Error> {
        let Namespace::Container(id) = namespace(&record.host.network_mode) else {
            return Ok(self.networking.connect_all(&self.networked(record))?);
        };
        let target = self.running_target("network", &id)?;
        if target.id == record.id {
            return Err(Error::JoinSelf);
        }
        let pid = target.with(|other| other.state.pid);
        Ok(Attached { netns: Some(format!("/proc/{pid}/ns/net").into()), ..Attached::default() })
    }

    fn running_target(&self, kind: &'static str, id: &str) -> Result<Arc<Container>, Error> {
        let target = self.registry.find(id)?;
        if target.is_up() { Ok(target) } else { Err(Error::JoinNotRunning { kind, id: id.to_owned() }) }
    }

    /// Namespaces of other containers to join; that of the network is known only later.
    fn joined(&self, record: &Record) -> Result<Joined, Error> {
        let path = |kind, mode: &str, file: &str| match namespace(mode) {
            Namespace::Container(id) => {
                let target = self.running_target(kind, &id)?;
                Ok(Some((PathBuf::from(format!("/proc/{}/ns/{file}", target.with(|r| r.state.pid))), target)))
            }
            _ => Ok::<_, Error>(None),
        };
        let ipc = path("IPC", &record.host.ipc_mode, "ipc")?;
        if let Some((_, target)) = &ipc
            && target.with(|other| !matches!(other.host.ipc_mode.as_str(), "shareable" | "host"))
        {
            return Err(Error::IpcNotShareable(target.id.clone()));
        }
        let pid = path("PID", &record.host.pid_mode, "pid")?;
        let only = |found: Option<(PathBuf, Arc<Container>)>| found.map(|(path, _)| path);
        Ok(Joined { pid: only(pid), ipc: only(ipc), ..Joined::default() })
    }

    /// Puts what the network gave into the record.
    fn record_network(&self, container: &Container, attached: &Attached) -> Record {
        let mut live = container.live();
        let record = &mut live.record;
        record.endpoints.clone_from(&attached.endpoints);
        record.ports.clone_from(&attached.ports);
        record.sandbox_id.clone_from(&attached.sandbox_id);
        record.netns.clone_from(&attached.netns);
        record.clone()
    }

    /// The files mounted over the image's: host name, hosts, resolver.
    fn write_files(&self, record: &Record, attached: &Attached) -> Result<(), Error> {
        if matches!(namespace(&record.host.network_mode), Namespace::Container(_)) {
            return Ok(());
        }
        let folder = self.folder(&record.id);
        let config = &record.config;
        let hostname = match config.domainname.as_str() {
            "" => format!("{}\n", config.hostname),
            domain => format!("{}.{domain}\n", config.hostname),
        };
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).map_err(Error::io("write", &path))
        };
        write("hostname", &hostname)?;
        write("hosts", &attached.hosts)?;
        write("resolv.conf", &attached.resolv_conf)
    }

    /// Where those files are: with the container whose network is shared, if it is.
    pub(super) fn files(&self, record: &Record) -> Vec<(PathBuf, &'static str)> {
        let owner = match namespace(&record.host.network_mode) {
            Namespace::Container(id) => self.registry.find(&id).map_or(id, |target| target.id.clone()),
            _ => record.id.clone(),
        };
        let folder = self.folder(&owner);
        [("hostname", "/etc/hostname"), ("hosts", "/etc/hosts"), ("resolv.conf", "/etc/resolv.conf")]
            .into_iter()
            .map(|(name, destination)| (folder.join(name), destination))
            .collect()
    }

    /// A `/dev/shm` that other containers may join, or that is another's.
    fn shared_memory(&self, record: &Record) -> Result<Option<PathBuf>, Error> {
        match (record.host.ipc_mode.as_str(), namespace(&record.host.ipc_mode)) {
            ("host", _) => Ok(Some(PathBuf::from("/dev/shm"))),
            (_, Namespace::Container(id)) => Ok(Some(self.shm_path(&self.registry.find(&id)?.id))),
            ("shareable", _) => {
                let path = self.shm_path(&record.id);
                mount_shm(&path, record.host.shm_size)?;
                Ok(Some(path))
            }
            _ => Ok(None),
        }
    }

    /// Where the shared memory of a container lies that others may join. Not in its run directory: the
    /// init mounts the root over that.
    fn shm_path(&self, id: &str) -> PathBuf {
        self.config.run_root.join("shm").join(id)
    }

    fn request(
        &self,
        record: &Record,
        driver: Driver,
        joined: Joined,
        attached: &Attached,
        prepared: Prepared,
        shm: Option<PathBuf>,
    ) -> Result<ShimRequest, Error> {
        let trust = self.config.trust.as_ref();
        let init = self.wants_init(record);
        let mut read_only = trust.map(crate::trust::HostTrust::mounts).unwrap_or_default();
        if init {
            read_only.push((self.config.exe.clone(), spec::INIT_PATH.to_owned()));
        }
        let seccomp = seccomp(&prepared.security, record)?;
        let input = Input {
            record,
            user: prepared.user,
            security: prepared.security,
            devices: prepared.devices,
            joined: Joined { network: attached.netns.clone(), ..joined },
            files: self.files(record),
            read_only,
            sources: prepared.sources,
            shm,
            env: trust.map(crate::trust::HostTrust::env).unwrap_or_default(),
            init,
            cgroup: self.cgroup(record),
            bounding: may_give,
        };
        let mut generated = spec::generate(&input)?;
        let devices = spec::cdi_devices(&record.host);
        self.config.cdi.inject(&devices, &mut generated).map_err(spec::Error::from)?;
        let layers = self.layers(record);
        let [height, width] = record.host.console_size.map(|side| u16::try_from(side).unwrap_or(0));
        Ok(ShimRequest {
            id: record.id.clone(),
            spec: generated,
            rootfs: Rootfs::Overlay { lower: layers.lower, upper: layers.upper, work: layers.work },
            seccomp,
            tty: record.config.tty,
            open_stdin: record.config.open_stdin,
            stdin_once: record.config.stdin_once,
            log: self.log_target(record, driver)?,
            console_size: (height > 0 && width > 0).then_some((height, width)),
            ..ShimRequest::default()
        })
    }

    fn wants_init(&self, record: &Record) -> bool {
        record.host.pid_mode.is_empty() && record.host.init.unwrap_or(self.config.defaults.init)
    }

    /// Path of a container's cgroup. A parent is taken as a path from the cgroup root, whatever it
    /// tries to be.
    fn cgroup(&self, record: &Record) -> String {
        let parent = match record.host.resources.cgroup_parent.as_str() {
            "" => self.config.defaults.cgroup_parent.as_str(),
            given => given,
        };
        super::mount::clean(&format!("/{parent}/{}", record.id))
    }

    fn log_target(&self, record: &Record, driver: Driver) -> Result<LogTarget, Error> {
        let log = match driver {
            Driver::None => return Ok(LogTarget::None),
            Driver::JsonFile(log) | Driver::Local(log) => log,
        };
        let path = self.log_file(record);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        }
        Ok(LogTarget::JsonFile {
            path,
            max_size: log.max_size,
            max_file: log.max_file,
            compress: log.compress,
            buffer: log.buffer,
            attrs: log_attributes(record)?,
        })
    }

    /// Takes down what a start has made, whether it got to its end or not, but for the run directory. Goes on over
    /// failures.
    pub(super) fn take_down(&self, record: &Record) {
        if !matches!(namespace(&record.host.network_mode), Namespace::Container(_)) {
            self.networking.disconnect_all(&self.networked(record));
        }
        self.release_sources(record);
        if record.host.ipc_mode == "shareable" {
            // Not mounted, not there: both are what is wanted.
            let path = self.shm_path(&record.id);
            let _ = rustix::mount::unmount(&path, rustix::mount::UnmountFlags::DETACH);
            let _ = std::fs::remove_dir(&path);
        }
    }

    /// Removes what the shim and the runtime have left of a run.
    pub(super) fn remove_run_dir(&self, id: &str) {
        let run_dir = self.run_dir(id);
        if let Err(error) = std::fs::remove_dir_all(&run_dir)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %run_dir.display(), %error, "cannot remove a run directory");
        }
    }

    /// Clears from the record what only a running container has.
    pub(super) fn clear_network(record: &mut Record) {
        record.ports = PortMap::new();
        record.sandbox_id.clear();
        record.netns = None;
        for endpoint in record.endpoints.values_mut() {
            // Kept, it would be asked for at the next start, when its address may be another container's: two of one
            // bridge would have the same.
            if dray_network::mac_follows(&endpoint.mac_address, &endpoint.ip_address) {
                endpoint.mac_address.clear();
            }
            endpoint.endpoint_id.clear();
            endpoint.gateway.clear();
            endpoint.ip_address.clear();
            endpoint.ip_prefix_len = 0;
            endpoint.ipv6_gateway.clear();
            endpoint.global_ipv6_address.clear();
            endpoint.global_ipv6_prefix_len = 0;
        }
    }
}

/// Notes that a start is under way, if there may be one. In one step: who stops or removes the container looks at the
/// same state, and either finds the start or is found by it.
fn begin(container: &Container, asked: bool) -> Result<(), Error> {
    let mut live = container.live();
    let state = &live.record.state;
    if live.removing || state.removing || state.dead {
        return Err(Error::MarkedForRemoval);
    }
    if asked && state.paused {
        return Err(Error::StartPaused);
    }
    if state.running && (asked || !state.restarting) {
        return Err(Error::AlreadyRunning);
    }
    if !asked && live.record.manually_stopped {
        return Err(Error::AlreadyStopped);
    }
    live.record.state.starting = true;
    if asked {
        live.restarts.reset();
        live.record.manually_stopped = false;
        live.record.restart_count = 0;
    }
    Ok(())
}

/// Whether a container says itself if its programs may gain rights.
fn says_new_privileges(host: &HostConfig) -> bool {
    host.security_opt.iter().flatten().any(|option| option.starts_with("no-new-privileges"))
}

fn log_attributes(record: &Record) -> Result<Labels, Error> {
    let none = Labels::new();
    let command = std::iter::once(&record.path).chain(&record.args).cloned().collect::<Vec<_>>().join(" ");
    let subject = log::Subject {
        id: &record.id,
        name: &record.name,
        command: &command,
        image_id: &record.image,
        image: &record.config.image,
        labels: record.config.labels.as_ref().unwrap_or(&none),
        env: record.config.env.as_deref().unwrap_or_default(),
    };
    let options = record.host.log_config.config.as_ref().unwrap_or(&none);
    Ok(log::attributes(options, subject).map_err(log::Error::from)?)
}

fn mount_shm(path: &Path, size: i64) -> Result<(), Error> {
    let failed = |error| Error::io("mount", path)(error);
    std::fs::create_dir_all(path).map_err(failed)?;
    let flags = rustix::mount::MountFlags::NOSUID
        | rustix::mount::MountFlags::NODEV
        | rustix::mount::MountFlags::NOEXEC;
    let data = std::ffi::CString::new(format!("mode=1777,size={size}")).unwrap_or_default();
    rustix::mount::mount("shm", path, "tmpfs", flags, Some(data.as_c_str()))
        .map_err(|errno| failed(errno.into()))
}

fn seccomp(security: &SecurityOptions, record: &Record) -> Result<SeccompPolicy, Error> {
    match security.seccomp.as_deref() {
        _ if record.host.privileged => Ok(SeccompPolicy::Unconfined),
        None | Some("" | "builtin") => Ok(SeccompPolicy::Default),
        Some("unconfined") => Ok(SeccompPolicy::Unconfined),
        Some(profile) => serde_json::from_str(profile)
            .map(SeccompPolicy::Profile)
            .map_err(|error| super::validate::Invalid::SeccompProfile(error.to_string()).into()),
    }
}

/// Whether this process could give a capability away.
pub(crate) fn may_give(name: &str) -> bool {
    static HELD: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    let held = HELD.get_or_init(|| dray_sys::caps::permitted().unwrap_or(u64::MAX));
    dray_sys::caps::bit(name).is_some_and(|bit| held & bit != 0)
}
