//! A running container as a place to run further programs in.

use std::path::PathBuf;
use std::sync::Arc;

use dray_runtime::Shim;
use dray_spec::runtime::{Capabilities, Rlimit};

use super::Error;
use super::record::Record;
use super::rootfs;
use super::service::Service;
use super::spec::{self, User};
use super::validate::{granted_capabilities, security_options};

use std::os::fd::AsFd;

/// The container at the moment of asking.
#[derive(Debug)]
pub struct ExecTarget {
    record: Record,
    run_dir: PathBuf,
    trust: Vec<String>,
}

impl Service {
    /// The container, if programs can be run in it.
    ///
    /// # Errors
    /// When it does not run, is frozen, or waits for its restart.
    pub fn exec_target(&self, called: &str) -> Result<ExecTarget, Error> {
        let record = self.registry.find(called)?.record();
        let state = &record.state;
        if !state.running {
            return Err(Error::NotRunning(record.id));
        }
        if state.paused {
            return Err(Error::Paused(called.to_owned(), "exec"));
        }
        if state.restarting {
            return Err(Error::Restarting(record.id));
        }
        let trust = self.config.trust.as_ref().map(crate::trust::HostTrust::env).unwrap_or_default();
        Ok(ExecTarget { run_dir: self.run_dir(&record.id), record, trust })
    }

    /// An exec runs in this container.
    pub(crate) fn exec_began(&self, container: &str, exec: &str) {
        if let Some(container) = self.registry.get(container) {
            container.live().execs.insert(exec.to_owned());
        }
    }

    /// It has ended.
    pub(crate) fn exec_ended(&self, container: &str, exec: &str) {
        if let Some(container) = self.registry.get(container) {
            container.live().execs.remove(exec);
        }
    }

    /// Who runs the probes of health checks.
    pub(crate) fn set_prober(&self, prober: Arc<dyn super::health::Prober>) {
        // Set once, when the services are wired.
        let _ = self.prober.set(prober);
    }
}

impl ExecTarget {
    /// The container's shim.
    ///
    /// # Errors
    /// When it is gone.
    pub fn shim(&self) -> Result<Shim, Error> {
        Shim::open(&self.run_dir).ok_or_else(|| Error::NotRunning(self.record.id.clone()))
    }

    /// Who the container itself runs as.
    pub fn default_user(&self) -> String {
        self.record.config.user.clone()
    }

    /// Resolves a user in the container as it is now.
    ///
    /// # Errors
    /// When there is no such user.
    pub fn user(&self, called: &str) -> Result<User, Error> {
        let state = &self.record.state;
        let root = rootfs::of_running(state.pid, state.pid_start)
            .map_err(|_| Error::NotRunning(self.record.id.clone()))?;
        let text = |path| Ok::<_, Error>(rootfs::read_in(root.as_fd(), path)?.unwrap_or_default());
        let add = self.record.host.group_add.clone().unwrap_or_default();
        let user = spec::resolve_user(called, &add, &text("/etc/passwd")?, &text("/etc/group")?);
        user.map_err(Error::User)
    }

    /// The environment of a program: the container's, with the exec's over it.
    pub fn env(&self, tty: bool, over: &[String], user: &User) -> Vec<String> {
        let config = &self.record.config;
        let mut env = spec::base_env(&config.hostname, tty, &self.trust);
        spec::overlay_env(&mut env, config.env.as_deref().unwrap_or_default());
        spec::overlay_env(&mut env, over);
        spec::add_home(&mut env, &user.home);
        env
    }

    /// Where it runs: as asked, else where the container does.
    pub fn cwd(&self, asked: &str) -> PathBuf {
        let own = self.record.config.working_dir.as_str();
        PathBuf::from([asked, own].into_iter().find(|path| !path.is_empty()).unwrap_or("/"))
    }

    /// Its capabilities.
    ///
    /// # Errors
    /// Never for a container that was created.
    pub fn capabilities(&self, privileged: bool, uid: u32) -> Result<Capabilities, Error> {
        let host = &self.record.host;
        let granted = granted_capabilities(
            host.cap_add.as_deref().unwrap_or_default(),
            host.cap_drop.as_deref().unwrap_or_default(),
            host.privileged || privileged,
            &super::start::may_give,
        )?;
        Ok(spec::capability_sets(granted, uid))
    }

    /// Whether programs cannot gain rights.
    ///
    /// # Errors
    /// Never for a container that was created.
    pub fn no_new_privileges(&self) -> Result<bool, Error> {
        Ok(security_options(&self.record.host)?.no_new_privileges)
    }

    /// Limits of its processes.
    pub fn rlimits(&self) -> Vec<Rlimit> {
        spec::rlimits(self.record.host.resources.ulimits.as_deref().unwrap_or_default())
    }

    /// Whether the container itself runs without a system call filter.
    pub fn is_unconfined(&self) -> bool {
        let options = security_options(&self.record.host).unwrap_or_default();
        self.record.host.privileged || options.seccomp.as_deref() == Some("unconfined")
    }
}
