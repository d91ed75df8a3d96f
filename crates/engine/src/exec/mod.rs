//! Execs: further programs in a running container, for `docker exec` and for health checks.
//!
//! An exec is created, started once, and can be inspected for a while after its end. It lives in
//! memory only: it ends with its container, and a daemon that restarts forgets it.

mod probe;
mod session;
mod watched;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dray_api::container::{ExecCreateRequest, ExecInspect, ExecProcessConfig, ExecStartRequest};
use dray_runtime::{AttachStreams, ExecRequest, ExecStarted, ShimError};
use dray_spec::runtime::Process;

use crate::container::{self, Error, ExecTarget, names};

pub use session::Session;
use watched::Watched;

/// How long an exec that has ended can be inspected.
const KEPT: Duration = Duration::from_secs(300);

/// A program to run, and what became of it.
#[derive(Debug)]
pub(crate) struct Exec {
    id: String,
    container: String,
    request: ExecCreateRequest,
    keys: Vec<u8>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    started: bool,
    running: bool,
    pid: i32,
    exit_code: Option<i32>,
    ended: Option<Instant>,
}

/// The service.
#[derive(Debug)]
pub struct Service {
    containers: Arc<container::Service>,
    execs: Mutex<HashMap<String, Arc<Exec>>>,
}

impl Exec {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn command(&self) -> &[String] {
        self.request.cmd.as_deref().map(Vec::as_slice).unwrap_or_default()
    }

    fn streams(&self) -> AttachStreams {
        let request = &self.request;
        AttachStreams {
            stdin: request.attach_stdin,
            stdout: request.attach_stdout,
            stderr: request.attach_stderr,
        }
    }
}

impl Service {
    /// Makes the service.
    pub fn new(containers: Arc<container::Service>) -> Arc<Self> {
        let service = Arc::new(Self { containers, execs: Mutex::default() });
        service.containers.set_prober(probe::Prober::new(&service));
        service
    }

    fn execs(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Exec>>> {
        self.execs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets an exec up in a running container; gives its id.
    ///
    /// # Errors
    /// When the container does not run, or the user is not in it.
    pub async fn create(self: &Arc<Self>, called: &str, request: ExecCreateRequest) -> Result<String, Error> {
        let keys = container::parse_keys(&request.detach_keys)?;
        if request.cmd.as_ref().is_none_or(|argv| argv.is_empty()) {
            return Err(Error::NoExecCommand);
        }
        let target = self.containers.exec_target(called)?;
        let user = request.user.clone();
        if !user.is_empty() {
            self.containers.blocking(move |_| target.user(&user).map(drop)).await?;
        }
        let exec = self.register(called, request, keys)?;
        self.announce(&exec, "exec_create", &[]);
        Ok(exec.id.clone())
    }

    fn register(&self, called: &str, request: ExecCreateRequest, keys: Vec<u8>) -> Result<Arc<Exec>, Error> {
        let container = self.containers.registry().find(called)?;
        let id = names::new_id();
        let exec = Arc::new(Exec {
            id: id.clone(),
            container: container.id.clone(),
            request,
            keys,
            state: Mutex::default(),
        });
        let mut execs = self.execs();
        // Those that were never started go with their container.
        execs.retain(|_, exec| match exec.state().ended {
            Some(ended) => ended.elapsed() < KEPT,
            None => self.containers.registry().get(&exec.container).is_some(),
        });
        execs.insert(id, Arc::clone(&exec));
        Ok(exec)
    }

    /// `exec_create: /bin/sh -c x`, as Docker calls it.
    fn announce(&self, exec: &Exec, action: &str, more: &[(&str, String)]) {
        let named = match action {
            "exec_create" | "exec_start" => format!("{action}: {}", exec.command().join(" ")),
            _ => action.to_owned(),
        };
        if let Some(container) = self.containers.registry().get(&exec.container) {
            let attributes = [&[("execID", exec.id.clone())][..], more].concat();
            self.containers.announce(&container, &named, &attributes);
        }
    }

    fn find(&self, id: &str) -> Result<Arc<Exec>, Error> {
        let found = self.execs().get(id).map(Arc::clone);
        found.ok_or_else(|| Error::NoSuchExec(id.to_owned()))
    }

    /// Inspects an exec.
    ///
    /// # Errors
    /// When there is none of this id.
    pub fn inspect(&self, id: &str) -> Result<ExecInspect, Error> {
        let exec = self.find(id)?;
        let (request, state) = (&exec.request, exec.state());
        let argv = exec.command();
        Ok(ExecInspect {
            id: exec.id.clone(),
            running: state.running,
            exit_code: state.exit_code.map(i64::from),
            process_config: Some(ExecProcessConfig {
                tty: request.tty,
                entrypoint: argv.first().cloned().unwrap_or_default(),
                arguments: argv.iter().skip(1).cloned().collect(),
                privileged: Some(request.privileged),
                user: request.user.clone(),
            }),
            open_stdin: request.attach_stdin,
            open_stderr: request.attach_stderr,
            open_stdout: request.attach_stdout,
            can_remove: state.ended.is_some(),
            container_id: exec.container.clone(),
            detach_keys: String::new(),
            pid: i64::from(state.pid),
        })
    }

    /// Starts an exec. A detached one runs when this returns; the other is started by
    /// [`Session::serve`] on the client's connection.
    ///
    /// # Errors
    /// When it was started before, its container does not run, or (detached) the program cannot be run.
    pub async fn start(
        self: &Arc<Self>,
        id: &str,
        request: &ExecStartRequest,
    ) -> Result<Option<Session>, Error> {
        let exec = self.find(id)?;
        self.containers.exec_target(&exec.container)?;
        {
            let mut state = exec.state();
            if state.exit_code.is_some() {
                return Err(Error::ExecHasRun(exec.id.clone()));
            }
            if state.started {
                return Err(Error::ExecRunning(exec.id.clone()));
            }
            (state.started, state.running) = (true, true);
        }
        self.announce(&exec, "exec_start", &[]);
        let size = request.console_size.or(exec.request.console_size);
        let watched = Watched::new(self, exec);
        if !request.detach {
            return Ok(Some(Session::new(watched, size)));
        }
        let containers = Arc::clone(&self.containers);
        containers.to_the_end(async move { watched.run(size, AttachStreams::NONE, true).await }).await?;
        Ok(None)
    }

    /// Has the shim run the program. A failure is the exec's end.
    async fn run(
        self: &Arc<Self>,
        exec: &Arc<Exec>,
        size: Option<[u32; 2]>,
        streams: AttachStreams,
        detach: bool,
    ) -> Result<ExecStarted, Error> {
        let running = Arc::clone(exec);
        let containers = Arc::clone(&self.containers);
        let started = containers
            .blocking(move |containers| {
                let target = containers.exec_target(&running.container)?;
                let request = exec_request(&running, &target, size, streams, detach)?;
                target.shim()?.exec(request).map_err(|error| match error {
                    ShimError::Start(error) => Error::ExecStart(error),
                    other => other.into(),
                })
            })
            .await;
        match started {
            Ok(started) => {
                exec.state().pid = started.pid;
                self.containers.exec_began(&exec.container, &exec.id);
                Ok(started)
            }
            Err(error) => {
                let code = match &error {
                    Error::ExecStart(error) => match error.kind() {
                        dray_runtime::ErrorKind::Other => 126,
                        kind => kind.exit_code(),
                    },
                    _ => 126,
                };
                self.ended(exec, code);
                Err(error)
            }
        }
    }

    /// Records an exec's end, once.
    fn ended(&self, exec: &Arc<Exec>, code: i32) {
        {
            let mut state = exec.state();
            if state.ended.is_some() {
                return;
            }
            (state.running, state.exit_code, state.ended) = (false, Some(code), Some(Instant::now()));
        }
        self.containers.exec_ended(&exec.container, &exec.id);
        self.announce(exec, "exec_die", &[("exitCode", code.to_string())]);
    }

    /// Waits for the end of an exec that no connection waits for. It ends with the container at the latest.
    fn watch_end(self: &Arc<Self>, exec: &Arc<Exec>) {
        let (service, exec) = (Arc::clone(self), Arc::clone(exec));
        self.containers.runtime().spawn(async move {
            let status = service.containers.exec_end(&exec.container, &exec.id).await;
            service.ended(&exec, status.map_or(137, |status| status.code));
        });
    }

    /// Changes the size of an exec's terminal.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn resize(self: &Arc<Self>, id: &str, height: u16, width: u16) -> Result<(), Error> {
        let exec = self.find(id)?;
        // Clients resize as soon as they have asked for the start.
        let began = Instant::now();
        while exec.state().pid == 0
            && exec.state().ended.is_none()
            && began.elapsed() < Duration::from_secs(10)
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if !exec.state().running {
            return Err(Error::ExecNotStarted);
        }
        let containers = Arc::clone(&self.containers);
        containers
            .blocking(move |containers| {
                let target = containers.exec_target(&exec.container)?;
                Ok(target.shim()?.resize(Some(&exec.id), height, width)?)
            })
            .await
    }
}

fn exec_request(
    exec: &Exec,
    target: &ExecTarget,
    size: Option<[u32; 2]>,
    streams: AttachStreams,
    detach: bool,
) -> Result<ExecRequest, Error> {
    let request = &exec.request;
    let user = if request.user.is_empty() { target.default_user() } else { request.user.clone() };
    let user = target.user(&user)?;
    let side = |side: u32| u16::try_from(side).unwrap_or(u16::MAX);
    let console_size = size.filter(|[h, w]| *h > 0 && *w > 0).map(|[h, w]| (side(h), side(w)));
    let process = Process {
        terminal: request.tty,
        args: exec.command().to_vec(),
        env: target.env(request.tty, request.env.as_deref().unwrap_or_default(), &user),
        cwd: target.cwd(&request.working_dir),
        capabilities: Some(target.capabilities(request.privileged, user.uid)?),
        no_new_privileges: target.no_new_privileges()?,
        rlimits: target.rlimits(),
        user: container::oci_user(&user),
        ..Process::default()
    };
    Ok(ExecRequest {
        exec_id: exec.id.clone(),
        process,
        tty: request.tty,
        streams,
        detach,
        console_size,
        unconfined: request.privileged || target.is_unconfined(),
    })
}
