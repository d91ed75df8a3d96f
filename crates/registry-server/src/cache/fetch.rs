//! One fetch of a blob for all who ask for it: stored as it comes, and read along by its clients, each at its own pace.
//!
//! ```text
//! upstream ─► batch ─┬─► hash
//!                    ├─► the object's draft ─► sealed, recorded: a blob like any other
//!                    └─► a file (the draft's own, or a nameless one) ◄─ read by clients, up to what is written
//! ```
//! The last byte is held back until the digest has been found right: no client ever gets the whole of something else.
//! A fetch goes on when its clients go away, and what it did not bring to its end leaves nothing.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use dray_registry::{BlobStream, Error, Pace};
use dray_spec::{Descriptor, Digest, Hasher};
use futures_util::stream::{BoxStream, StreamExt};
use tokio::sync::{Notify, watch};

use super::flight::{Flights, Wanted};
use super::upstream::{Judgement, Upstream};
use super::{Cache, owner};
use crate::api::{Problem, Registry, hash, now};
use crate::metadata::{Metadata, Mounted, Put, Quota, Upload};
use crate::name::{Key, Repository, UploadId};
use crate::report::{CacheOutcome, CacheThing, Report};
use crate::storage::{Draft, Storage};

/// How much is collected before it is hashed and written.
const BATCH: usize = 512 * 1024;
/// How much a client reads at once.
const PIECE: u64 = 256 * 1024;
/// How often a stream that broke off is opened again without a byte more.
const REOPENED: u32 = 3;
/// Repositories that are looked at for a blob that is here already.
const HOLDERS: usize = 16;

/// A blob on its way.
#[derive(Default)]
pub(crate) struct Fetch {
    progress: watch::Sender<Progress>,
    /// Where it is read from meanwhile.
    file: OnceLock<Arc<File>>,
}

#[derive(Debug, Clone, Default)]
struct Progress {
    /// How long the blob is; not said of one that is not read along.
    size: Option<u64>,
    /// What may be read.
    ready: u64,
    end: Option<Result<(), Failure>>,
}

/// Why a blob did not come.
#[derive(Debug, Clone)]
enum Failure {
    /// The upstream has none.
    Absent,
    /// Something broke.
    Broken(Arc<str>),
}

impl Failure {
    fn broken(problem: impl std::fmt::Display) -> Self {
        Self::Broken(problem.to_string().into())
    }
}

/// Where a blob is that was asked for.
pub(crate) enum Joined {
    /// Stored by now.
    Here,
    /// On its way.
    Coming(Arc<Fetch>, u64),
}

impl Cache {
    /// Joins the fetch of a blob, or begins it.
    ///
    /// # Errors
    /// The upstream has no such blob, or cannot be asked.
    pub(crate) async fn join(
        &self,
        registry: &Registry,
        upstream: &Arc<Upstream>,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Joined, Problem> {
        let (fetch, first) = self.flights.join(repository, digest);
        // Before the task begins, or the end could be missed.
        let mut watched = fetch.progress.subscribe();
        let outcome = if first { CacheOutcome::Miss } else { CacheOutcome::Shared };
        registry.report.cache(CacheThing::Blob, outcome);
        if first {
            // Before anything is waited for: who began it may hang up, and others have joined.
            let wanted = (repository.clone(), digest.clone());
            let landing = Landing { flights: self.flights.clone(), fetch: fetch.clone(), wanted };
            let fetching = Fetching {
                storage: registry.storage.clone(),
                metadata: registry.metadata.clone(),
                report: registry.report.clone(),
                inline: registry.limits.inline as u64,
                quotas: registry.quotas(repository),
                upstreams: self.upstreams.clone(),
                spool: self.spool.clone(),
                grown: self.grown.clone(),
                upstream: upstream.clone(),
                repository: repository.clone(),
                digest: digest.clone(),
                landing,
            };
            tokio::spawn(fetching.run());
        }
        let known = watched.wait_for(|progress| progress.size.is_some() || progress.end.is_some()).await;
        let progress = known.map_err(|_| Problem::Abandoned)?.clone();
        match (progress.size, progress.end) {
            (Some(size), None | Some(Ok(()))) => Ok(Joined::Coming(fetch, size)),
            // All of it may have been there before storing it failed.
            (Some(size), _) if progress.ready == size => Ok(Joined::Coming(fetch, size)),
            (None, Some(Ok(()))) => Ok(Joined::Here),
            (_, Some(Err(Failure::Absent))) => Err(Problem::BlobUnknown(digest.clone())),
            (_, Some(Err(Failure::Broken(problem)))) => Err(Problem::Upstream {
                registry: upstream.domain().to_owned(),
                problem: problem.to_string(),
            }),
            (None, None) => Err(Problem::Abandoned),
        }
    }
}

impl Fetch {
    /// The bytes of a part of the blob, as they come.
    pub(crate) fn stream(self: Arc<Self>, part: Range<u64>) -> BoxStream<'static, io::Result<Bytes>> {
        let watched = self.progress.subscribe();
        let read = futures_util::stream::try_unfold(
            (self, watched, part),
            |(fetch, mut watched, part)| async move {
                if part.is_empty() {
                    return Ok(None);
                }
                let start = part.start;
                let known =
                    watched.wait_for(|progress| progress.ready > start || progress.end.is_some()).await;
                let progress = known.map_err(|_| broken("it was given up"))?.clone();
                let end = part.end.min(progress.ready).min(start + PIECE);
                let Some(file) = fetch.file.get().filter(|_| end > start).cloned() else {
                    let problem = match progress.end {
                        Some(Err(Failure::Broken(problem))) => problem.to_string(),
                        _ => "it ended early".to_owned(),
                    };
                    return Err(broken(&problem));
                };
                let reading = tokio::task::spawn_blocking(move || {
                    let mut bytes = vec![0; usize::try_from(end - start).unwrap_or(0)];
                    file.read_exact_at(&mut bytes, start).map(|()| Bytes::from(bytes))
                });
                let bytes = reading.await.map_err(io::Error::other)??;
                Ok(Some((bytes, (fetch, watched, end..part.end))))
            },
        );
        read.boxed()
    }

    fn publish(&self, change: impl FnOnce(&mut Progress)) {
        self.progress.send_modify(change);
    }
}

fn broken(problem: &str) -> io::Error {
    io::Error::other(format!("fetch from the upstream: {problem}"))
}

/// Takes the fetch out of the air, whatever happens to its task.
struct Landing {
    flights: Flights,
    fetch: Arc<Fetch>,
    wanted: Wanted,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.flights.leave(&self.wanted, &self.fetch);
        self.fetch.publish(|progress| {
            progress.end.get_or_insert_with(|| Err(Failure::broken("it was given up")));
        });
    }
}

/// The task of a fetch.
struct Fetching {
    storage: Arc<dyn Storage>,
    metadata: Arc<dyn Metadata>,
    report: Report,
    inline: u64,
    quotas: Vec<Quota>,
    /// All of them, to tell which repositories are of the same one.
    upstreams: Vec<Arc<Upstream>>,
    spool: PathBuf,
    upstream: Arc<Upstream>,
    repository: Repository,
    digest: Digest,
    grown: Arc<Notify>,
    landing: Landing,
}

impl Fetching {
    async fn run(self) {
        let done = self.fetch().await;
        if let Err(Failure::Broken(problem)) = &done {
            tracing::warn!(repository = %self.repository, digest = %self.digest, %problem, "fetch a blob");
        }
        if done.is_ok() {
            self.grown.notify_one();
        }
        let landing = self.landing;
        // Who asks from now on finds the blob, or begins anew: nobody joins what has failed.
        landing.flights.leave(&landing.wanted, &landing.fetch);
        landing.fetch.publish(|progress| progress.end = Some(done));
    }

    async fn fetch(&self) -> Result<(), Failure> {
        // It may have landed between the look at the metadata and the joining.
        let known = self.metadata.blob(&self.repository, &self.digest).await.map_err(Failure::broken)?;
        if known.is_some() {
            return Ok(());
        }
        let there = self.upstream.repository(&self.repository).map_err(Failure::broken)?;
        let holders = self.holders().await?;
        if !holders.is_empty()
            && there.has_blob(&self.digest).await.unwrap_or(false)
            && self.mount(&holders).await?
        {
            return Ok(());
        }
        let stream = there.whole_blob(&self.digest).await.map_err(|error| self.failure(&error))?;
        let size = stream.size();
        let mut source =
            Source { there, stream, digest: self.digest.clone(), size, at: 0, reopened: 0, counted: 0 };
        match size <= self.inline {
            true => self.take_small(&mut source).await,
            false => self.take_large(&mut source).await,
        }
    }

    fn failure(&self, error: &Error) -> Failure {
        match self.upstream.judge(error) {
            Judgement::Absent | Judgement::Refused => Failure::Absent,
            Judgement::Away => Failure::broken(error),
        }
    }

    /// Other copies of the same registry that have the blob.
    async fn holders(&self) -> Result<Vec<Repository>, Failure> {
        let names = self.metadata.holders(&self.digest, HOLDERS).await.map_err(Failure::broken)?;
        let same = |name: &Repository| {
            let upstream = owner(&self.upstreams, name);
            *name != self.repository && upstream.is_some_and(|other| Arc::ptr_eq(other, &self.upstream))
        };
        Ok(names.iter().filter_map(|name| Repository::parse(name)).filter(same).collect())
    }

    /// Mounts the blob from another copy, now that the upstream has said that it is in this repository too.
    async fn mount(&self, holders: &[Repository]) -> Result<bool, Failure> {
        for holder in holders {
            let mounted =
                self.metadata.mount(holder, &self.repository, &self.digest, &self.quotas, now()).await;
            if mounted.map_err(Failure::broken)? == Mounted::Mounted {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A blob that is kept in the metadata; nobody reads along.
    async fn take_small(&self, source: &mut Source) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        while let Some(batch) = source.next().await? {
            batch.pieces.iter().for_each(|piece| bytes.extend_from_slice(piece));
        }
        if !self.digest.verifies(&bytes) {
            return Err(Failure::broken("the bytes have another digest"));
        }
        self.report.fetched(bytes.len() as u64);
        let put =
            self.metadata.put_small(&self.repository, &self.digest, bytes.into(), &self.quotas, now()).await;
        stored(put.map_err(Failure::broken)?)
    }

    /// A blob that becomes an object. Its key is recorded before the object is made.
    async fn take_large(&self, source: &mut Source) -> Result<(), Failure> {
        let upload = Upload {
            id: UploadId::random(),
            repository: self.repository.clone(),
            offset: 0,
            hasher: Hasher::new().save(),
            buffer: Bytes::new(),
            key: Some(Key::random()),
            state: Vec::new(),
            updated: now(),
        };
        self.metadata.begin_upload(&upload).await.map_err(Failure::broken)?;
        let done = self.write(source, &upload).await;
        if done.is_err() {
            // Whatever is left of it is the collector's.
            let _ = self.metadata.cancel_upload(&upload.repository, &upload.id).await;
        }
        done
    }

    async fn write(&self, source: &mut Source, upload: &Upload) -> Result<(), Failure> {
        let fetch = &self.landing.fetch;
        let key = upload.key.as_ref().ok_or_else(|| Failure::broken("no key"))?;
        let draft = self.storage.create(key).await.map_err(Failure::broken)?;
        let (file, spooled) = match draft.written() {
            Some(file) => (file, false),
            None => (Arc::new(nameless(&self.spool).map_err(Failure::broken)?), true),
        };
        let mut sink =
            Sink { draft, spool: spooled.then(|| file.clone()), hasher: Hasher::like(&self.digest), at: 0 };
        let _ = fetch.file.set(file);
        let size = source.size;
        fetch.publish(|progress| progress.size = Some(size));
        let mut batch = source.next().await?;
        while let Some(full) = batch {
            let (written, following) = tokio::join!(sink.write(full), source.next());
            written?;
            batch = following?;
            let at = sink.at;
            fetch.publish(|progress| progress.ready = at.min(size - 1));
        }
        let Sink { mut draft, hasher, at, .. } = sink;
        if hasher.finish() != self.digest {
            return Err(Failure::broken("the bytes have another digest"));
        }
        fetch.publish(|progress| progress.ready = size);
        self.report.fetched(size);
        draft.seal().await.map_err(Failure::broken)?;
        let ended = Upload { offset: at, ..upload.clone() };
        let put = self.metadata.commit_upload(&ended, &self.digest, &self.quotas, now()).await;
        stored(put.map_err(Failure::broken)?)
    }
}

fn stored(put: Put) -> Result<(), Failure> {
    match put {
        Put::Stored => Ok(()),
        Put::OverQuota(quota) => {
            Err(Failure::broken(format!("it is more than the quota of {:?} allows", quota.prefix)))
        }
        other => Err(Failure::broken(format!("it was not stored: {other:?}"))),
    }
}

/// A file without a name, which is gone when nobody has it open.
pub(crate) fn nameless(folder: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    std::fs::create_dir_all(folder)?;
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => return Ok(file.into()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR) => {}
        Err(error) => return Err(error.into()),
    }
    let path = folder.join(format!(".dray-fetch-{}", Key::random()));
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// Pieces of a stream.
struct Batch {
    pieces: Vec<Bytes>,
    length: usize,
}

/// The upstream's bytes; a stream that breaks off is gone on with where it was.
struct Source {
    there: dray_registry::Repository,
    stream: BlobStream,
    digest: Digest,
    size: u64,
    at: u64,
    reopened: u32,
    /// Where it was when that was counted anew.
    counted: u64,
}

impl Source {
    async fn next(&mut self) -> Result<Option<Batch>, Failure> {
        let mut batch = Batch { pieces: Vec::new(), length: 0 };
        while batch.length < BATCH {
            match self.stream.next().await {
                None => break,
                Some(Ok(piece)) => {
                    self.at += piece.len() as u64;
                    batch.length += piece.len();
                    batch.pieces.push(piece);
                }
                Some(Err(error @ Error::Interrupted { .. })) if self.reopened < REOPENED => {
                    tracing::debug!(%error, "a blob is gone on with");
                    // One that gives a few bytes each time would be asked without end.
                    if self.at - self.counted >= Pace::default().least {
                        (self.reopened, self.counted) = (0, self.at);
                    }
                    self.reopened += 1;
                    let whole = Descriptor::new("application/octet-stream", self.digest.clone(), self.size);
                    self.stream = self.there.blob(&whole, self.at).await.map_err(Failure::broken)?;
                }
                Some(Err(error)) => return Err(Failure::broken(error)),
            }
        }
        Ok((batch.length > 0).then_some(batch))
    }
}

/// Where the bytes go.
struct Sink {
    draft: Box<dyn Draft>,
    spool: Option<Arc<File>>,
    hasher: Hasher,
    at: u64,
}

impl Sink {
    async fn write(&mut self, batch: Batch) -> Result<(), Failure> {
        let hashing = hash(self.hasher.clone(), batch.pieces.clone(), batch.length);
        let spooling = spool(self.spool.clone(), batch.pieces.clone(), self.at);
        let (hasher, spooled, written) = tokio::join!(hashing, spooling, self.draft.write(batch.pieces));
        written.map_err(Failure::broken)?;
        spooled.map_err(Failure::broken)?;
        self.hasher = hasher.map_err(Failure::broken)?;
        self.at += batch.length as u64;
        Ok(())
    }
}

async fn spool(file: Option<Arc<File>>, pieces: Vec<Bytes>, mut at: u64) -> io::Result<()> {
    let Some(file) = file else { return Ok(()) };
    let writing = tokio::task::spawn_blocking(move || {
        for piece in pieces {
            file.write_all_at(&piece, at)?;
            at += piece.len() as u64;
        }
        Ok(())
    });
    writing.await.map_err(io::Error::other)?
}
