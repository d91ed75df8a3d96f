//! Builds in progress, by the reference that their client gives them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dray_build::{Built, Cancel, ContextDir};
use dray_buildkit::grpc::{Code, Status};
use dray_buildkit::proto::control::{SolveResponse, StatusResponse};
use dray_buildkit::proto::gateway::ReturnRequest;
use dray_engine::build::{Output, RemoteCache, Results};
use tokio::sync::{Notify, mpsc, oneshot};

use super::control::no_such_job;
use super::failure;
use super::history::Recorded;
use super::progress::Progress;

/// How long a call waits for its job: clients make the calls of one build at the same time.
const PATIENCE: Duration = Duration::from_secs(30);
/// Messages of builds that nobody has asked for yet; clients ask late for those of a short build.
const KEPT_MESSAGES: usize = 256;

/// A build in progress.
pub(super) struct Job {
    pub reference: String,
    pub session: String,
    pub outputs: Vec<Output>,
    pub cache_exports: Vec<RemoteCache>,
    pub entitlements: Vec<String>,
    pub cancel: Cancel,
    pub progress: Progress,
    /// Its place in the history.
    pub recorded: Option<Recorded>,
    state: Mutex<State>,
    returned: Mutex<Option<oneshot::Receiver<ReturnRequest>>>,
}

#[derive(Default)]
struct State {
    built: Option<Results>,
    /// Folders that graphs stand for, by their references.
    folders: HashMap<String, ContextDir>,
    failure: Option<Status>,
    give_back: Option<oneshot::Sender<ReturnRequest>>,
}

impl Job {
    /// Waits until the client has made its result known.
    pub async fn returned(&self) -> Result<(), Status> {
        let receiver = lock(&self.returned).take();
        let receiver = receiver.ok_or_else(|| failure::internal("a build was waited for twice"))?;
        let request = receiver.await.map_err(|_| failure::internal("a build was given up"))?;
        let Some(given) = request.failure() else { return Ok(()) };
        // The failure as it was here, before the client has wrapped it.
        Err(lock(&self.state).failure.take().unwrap_or(given))
    }

    /// Tells the history how it ended.
    pub fn record(&self, result: Result<&SolveResponse, &Status>) {
        if let Some(recorded) = &self.recorded {
            recorded.finish(result.map(|solved| &solved.exporter_response));
        }
    }

    /// The client's last word.
    pub fn give_back(&self, request: ReturnRequest) {
        let sender = lock(&self.state).give_back.take();
        if let Some(sender) = sender {
            let _ = sender.send(request);
        }
    }

    pub fn succeed(&self, built: Results) {
        lock(&self.state).built = Some(built);
    }

    pub fn fail(&self, status: &Status) {
        lock(&self.state).failure = Some(status.clone());
    }

    /// Keeps a folder until the job ends; gives the reference that a client reads it by.
    pub fn keep(&self, folder: ContextDir) -> String {
        let folders = &mut lock(&self.state).folders;
        let reference = format!("{}-{}", self.reference, folders.len());
        folders.insert(reference.clone(), folder);
        reference
    }

    /// A folder that was kept.
    pub fn folder(&self, reference: &str) -> Option<ContextDir> {
        lock(&self.state).folders.get(reference).cloned()
    }

    /// What was built. It stays until the job ends: other builds may have it as their input.
    pub fn built(&self) -> Option<Results> {
        lock(&self.state).built.clone()
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
        (outputs, cache_exports): (Vec<Output>, Vec<RemoteCache>),
        entitlements: Vec<String>,
        record: impl FnOnce() -> Option<Recorded>,
    ) -> Result<(Arc<Job>, Ends<'_>), Status> {
        let mut running = lock(&self.running);
        if reference.is_empty() || running.contains_key(reference) {
            let text = format!("job ID {reference} exists");
            return Err(Status::new(Code::AlreadyExists, text));
        }
        // Who finds the record finds the messages too.
        let mut messages = lock(&self.messages);
        let recorded = record();
        let (progress, receiver) = Progress::new(reference);
        let progress = progress.logged(recorded.as_ref().map(Recorded::log));
        let (give_back, returned) = oneshot::channel();
        let job = Arc::new(Job {
            reference: reference.to_owned(),
            session: session.to_owned(),
            outputs,
            cache_exports,
            entitlements,
            cancel: Cancel::new(),
            progress: progress.clone(),
            recorded,
            state: Mutex::new(State { give_back: Some(give_back), ..State::default() }),
            returned: Mutex::new(Some(returned)),
        });
        running.insert(reference.to_owned(), Arc::clone(&job));
        drop(running);
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

    /// What a running job has built, by the image's id.
    pub fn built(&self, image: &str) -> Option<Built> {
        let jobs: Vec<_> = lock(&self.running).values().cloned().collect();
        let mut results = jobs.iter().filter_map(|job| job.built());
        results.find_map(|results| {
            let mut each = results.each().map(|(_, built)| built);
            each.find(|built| built.image.as_str() == image).cloned()
        })
    }

    /// Whether nobody has asked yet what a job tells.
    pub fn has_messages(&self, reference: &str) -> bool {
        lock(&self.messages).iter().any(|(of, ..)| of == reference)
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
