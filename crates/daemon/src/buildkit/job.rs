//! Builds in progress, by the reference that their client gives them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dray_build::{Built, Cancel};
use dray_buildkit::grpc::{Code, Status};
use dray_buildkit::proto::control::{Exporter, StatusResponse};
use dray_buildkit::proto::gateway::ReturnRequest;
use dray_engine::build::{Options, Service};
use dray_spec::Reference;
use tokio::sync::{Notify, mpsc, oneshot};

use super::control::no_such_job;
use super::failure;
use super::progress::Progress;

/// How long a call waits for its job: clients make the calls of one build at the same time.
const PATIENCE: Duration = Duration::from_secs(30);
/// Messages of builds that nobody has asked for yet; clients ask late for those of a short build.
const KEPT_MESSAGES: usize = 256;

/// A build in progress.
pub(super) struct Job {
    pub reference: String,
    pub session: String,
    pub export: Export,
    pub entitlements: Vec<String>,
    pub cancel: Cancel,
    pub progress: Progress,
    state: Mutex<State>,
    returned: Mutex<Option<oneshot::Receiver<ReturnRequest>>>,
}

#[derive(Default)]
struct State {
    built: Option<Built>,
    failure: Option<Status>,
    give_back: Option<oneshot::Sender<ReturnRequest>>,
}

/// What is to become of the result.
#[derive(Clone, Debug, Default)]
pub(super) struct Export {
    exporters: Vec<Exporter>,
}

impl Export {
    pub fn new(exporters: Vec<Exporter>) -> Self {
        Export { exporters }
    }

    /// Says what this daemon cannot do with a result: it keeps images in its own store.
    pub fn check(&self) -> Result<(), Status> {
        let [exporter] = self.exporters.as_slice() else {
            return Err(failure::unsupported(match self.exporters.len() {
                0 => "builds without an image (type=cacheonly) are",
                _ => "several outputs at once are",
            }));
        };
        let attr = |name: &str| exporter.attrs.get(name).map(String::as_str).unwrap_or_default();
        match exporter.kind.as_str() {
            // The client pushes with the Engine's own API.
            "moby" => {}
            "image" if attr("push") != "true" => {}
            "image" => return Err(failure::unsupported("push by the image exporter is")),
            other => return Err(failure::unsupported(format!("exporter {other:?} is"))),
        }
        if exporter.attrs.keys().any(|name| name.starts_with("annotation")) {
            return Err(failure::unsupported("annotations are"));
        }
        Ok(())
    }

    fn tags(&self) -> Vec<String> {
        let names = self.exporters.first().and_then(|exporter| exporter.attrs.get("name"));
        let names = names.map(String::as_str).unwrap_or_default();
        names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }
}

impl Job {
    /// The names of the result.
    pub fn names(&self, builds: &Service) -> Result<Vec<Reference>, Status> {
        let options = Options { tags: self.export.tags(), ..Options::default() };
        builds.check(&options).map_err(|error| failure::invalid(error.to_string()))
    }

    /// Waits until the client has made its result known.
    pub async fn returned(&self) -> Result<(), Status> {
        let receiver = lock(&self.returned).take();
        let receiver = receiver.ok_or_else(|| failure::internal("a build was waited for twice"))?;
        let request = receiver.await.map_err(|_| failure::internal("a build was given up"))?;
        let Some(given) = request.failure() else { return Ok(()) };
        // The failure as it was here, before the client has wrapped it.
        Err(lock(&self.state).failure.take().unwrap_or(given))
    }

    /// The client's last word.
    pub fn give_back(&self, request: ReturnRequest) {
        let sender = lock(&self.state).give_back.take();
        if let Some(sender) = sender {
            let _ = sender.send(request);
        }
    }

    pub fn succeed(&self, built: Built) {
        lock(&self.state).built = Some(built);
    }

    pub fn fail(&self, status: &Status) {
        lock(&self.state).failure = Some(status.clone());
    }

    pub fn take_built(&self) -> Option<Built> {
        lock(&self.state).built.take()
    }
}

/// The jobs of a daemon.
#[derive(Default)]
pub(super) struct Jobs {
    running: Mutex<HashMap<String, Arc<Job>>>,
    messages: Mutex<VecDeque<(String, mpsc::Receiver<StatusResponse>, Progress)>>,
    changed: Notify,
}

/// Ends a job when it is dropped: whoever is at work for it stops.
pub(super) struct Ends<'a> {
    jobs: &'a Jobs,
    job: Arc<Job>,
}

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        lock(&self.jobs.running).remove(&self.job.reference);
        self.job.cancel.cancel();
        self.job.progress.close();
    }
}

impl Jobs {
    /// Begins a job.
    ///
    /// # Errors
    /// If its reference is another's.
    pub fn begin(
        &self,
        reference: &str,
        session: &str,
        export: Export,
        entitlements: Vec<String>,
    ) -> Result<(Arc<Job>, Ends<'_>), Status> {
        let (progress, receiver) = Progress::new(reference);
        let (give_back, returned) = oneshot::channel();
        let job = Arc::new(Job {
            reference: reference.to_owned(),
            session: session.to_owned(),
            export,
            entitlements,
            cancel: Cancel::new(),
            progress: progress.clone(),
            state: Mutex::new(State { give_back: Some(give_back), ..State::default() }),
            returned: Mutex::new(Some(returned)),
        });
        let mut running = lock(&self.running);
        if reference.is_empty() || running.contains_key(reference) {
            let text = format!("job ID {reference} exists");
            return Err(Status::new(Code::AlreadyExists, text));
        }
        running.insert(reference.to_owned(), Arc::clone(&job));
        drop(running);
        let mut messages = lock(&self.messages);
        if messages.len() >= KEPT_MESSAGES {
            messages.pop_front();
        }
        messages.push_back((reference.to_owned(), receiver, progress));
        drop(messages);
        self.changed.notify_waiters();
        Ok((Arc::clone(&job), Ends { jobs: self, job }))
    }

    /// A running job, waited for.
    pub async fn find(&self, reference: &str) -> Result<Arc<Job>, Status> {
        self.wait(reference, || lock(&self.running).get(reference).cloned()).await
    }

    /// What a job tells, from its beginning, for the one who asks first.
    pub async fn messages(&self, reference: &str) -> Result<mpsc::Receiver<StatusResponse>, Status> {
        let take = || {
            let mut messages = lock(&self.messages);
            let at = messages.iter().position(|(of, ..)| of == reference)?;
            messages.remove(at)
        };
        let (_, receiver, progress) = self.wait(reference, take).await?;
        progress.subscribed();
        Ok(receiver)
    }

    async fn wait<T>(&self, reference: &str, look: impl Fn() -> Option<T>) -> Result<T, Status> {
        let found = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if let Some(found) = look() {
                    return found;
                }
                changed.await;
            }
        };
        tokio::time::timeout(PATIENCE, found).await.map_err(|_| no_such_job(reference))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
