//! The download of one blob, through drops and from one source to the next.
//!
//! ```text
//! small   source ── one stream ─────────────► ingest
//! large   source ─┬ stream: part 0, part 3 … ┐
//!                 ├ stream: part 1 …         ├► parts     a thread hashes behind them
//!                 └ stream: part 2 …         ┘
//! ```
//!
//! A second stream begins when the first has shown that the source knows ranges. The parts are taken in order, so
//! that what is unpacked behind the download never waits for the end.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dray_registry::{Error as RegistryError, RetryPolicy};
use dray_spec::Descriptor;
use dray_store::Part;
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc};
use tokio::task::{JoinHandle, JoinSet};

use super::error::PullError;
use super::landing::{HeldIngest, HeldParts, Landing};
use super::source::Sources;
use super::state::{Reporter, Stage};
use super::transfer::Transfers;
use crate::follow::Growth;

/// Chunks of the network that wait for the disk.
const CHUNKS_AHEAD: usize = 16;
/// As much is written at once where it is there.
const WRITE: usize = 512 * 1024;

/// A blob that is to be fetched.
#[derive(Clone)]
pub(crate) struct Download {
    pub(crate) transfers: Arc<Transfers>,
    pub(crate) sources: Sources,
    pub(crate) blob: Descriptor,
    pub(crate) retry: RetryPolicy,
    /// As many bytes make up for the drops before them.
    pub(crate) least: u64,
    pub(crate) growth: Arc<Growth>,
    pub(crate) reporter: Reporter,
}

impl Download {
    /// Fetches what is lacking.
    pub(crate) async fn run(&self, landing: Landing) -> Result<Landing, PullError> {
        self.reporter.stage(Stage::Downloading);
        match landing {
            Landing::One(held) => self.one(held).await.map(Landing::One),
            Landing::Many(held) => {
                let done = self.many(&held).await;
                if done.is_err() {
                    let held = held.clone();
                    super::blocking(move || held.parts.abort_if_empty()).await??;
                }
                done.map(|()| Landing::Many(held))
            }
        }
    }

    async fn one(&self, held: Box<HeldIngest>) -> Result<Box<HeldIngest>, PullError> {
        let from = held.ingest.offset();
        let (chunks, writer) = write_ingest(held, self.blob.size, self.growth.clone());
        self.fetch(from, self.blob.size, &chunks, &None).await?;
        drop(chunks);
        writer.await.map_err(|_| PullError::Stopped)??.ok_or(PullError::Stopped)
    }

    async fn many(&self, held: &Arc<HeldParts>) -> Result<(), PullError> {
        let (hashed, growth) = (held.clone(), self.growth.clone());
        let hashing = tokio::task::spawn_blocking(move || hashed.parts.hash(|at| growth.wait_past(at)));
        let ranges = Arc::new(Notify::new());
        let mut streams = JoinSet::new();
        streams.spawn(self.clone().stream(held.clone(), ranges.clone(), None));
        let mut more = self.transfers.cut.streams.saturating_sub(1);
        loop {
            tokio::select! {
                ended = streams.join_next() => match ended {
                    Some(ended) => ended.map_err(|_| PullError::Stopped)??,
                    None => break,
                },
                () = ranges.notified(), if more > 0 => {
                    while more > 0 && let Ok(place) = self.transfers.streams.clone().try_acquire_owned() {
                        streams.spawn(self.clone().stream(held.clone(), ranges.clone(), Some(place)));
                        more -= 1;
                    }
                    more = 0;
                }
            }
        }
        hashing.await.map_err(|_| PullError::Stopped)??;
        Ok(())
    }

    /// Brings one part after another until none is left.
    async fn stream(
        self,
        held: Arc<HeldParts>,
        ranges: Arc<Notify>,
        _place: Option<OwnedSemaphorePermit>,
    ) -> Result<(), PullError> {
        while let Some(part) = held.parts.claim() {
            let claimed = Claimed { held: held.clone(), part };
            let (chunks, writer) = write_part(held.clone(), part.from, self.growth.clone());
            let beside = Some((held.clone(), ranges.clone()));
            let fetched = self.fetch(part.from, part.to, &chunks, &beside).await;
            drop(chunks);
            // What has come counts, whatever ended it.
            writer.await.map_err(|_| PullError::Stopped)??;
            drop(claimed);
            fetched?;
        }
        Ok(())
    }

    /// Sends `from..to` of the blob to the writer, through drops. A source without ranges may send more: the rest
    /// of the blob.
    async fn fetch(
        &self,
        from: u64,
        to: u64,
        chunks: &Chunks,
        beside: &Option<Beside>,
    ) -> Result<(), PullError> {
        let (mut at, mut attempt, mut counted) = (from, 1, from);
        while at < to && !chunks.is_closed() {
            let error = match self.read(&mut at, to, chunks, beside).await {
                Ok(()) => continue,
                Err(error) => error,
            };
            let RegistryError::Interrupted { .. } = error else { return Err(error.into()) };
            // A source that gives a few bytes each time would be asked without end.
            attempt = if at - counted >= self.least { 1 } else { attempt + 1 };
            if attempt == 1 {
                counted = at;
            }
            if attempt <= self.retry.attempts.max(1) {
                self.pause(&error, attempt).await;
            } else if !self.sources.pass_over(self.sources.current(), &error) {
                return Err(error.into());
            } else {
                (attempt, counted) = (1, at);
            }
        }
        Ok(())
    }

    /// One answer of a source, from `at` as far as it goes.
    async fn read(
        &self,
        at: &mut u64,
        to: u64,
        chunks: &Chunks,
        beside: &Option<Beside>,
    ) -> Result<(), RegistryError> {
        let mut stream = self.sources.open(&self.blob, (*at, to), beside.is_some()).await?;
        if let Some((_, ranges)) = beside
            && stream.is_partial()
        {
            ranges.notify_one();
        }
        while let Some(chunk) = stream.next().await {
            let chunk = chunk?;
            let length = chunk.len() as u64;
            if chunks.send(chunk).await.is_err() {
                // The writer has failed; its own error says why.
                return Ok(());
            }
            *at += length;
            self.reporter.downloaded(beside.as_ref().map_or(*at, |(held, _)| held.parts.there()));
        }
        Ok(())
    }

    async fn pause(&self, error: &RegistryError, attempt: u32) {
        let pause = self.retry.pause(attempt);
        tracing::debug!(%error, ?pause, blob = %self.blob.digest, "download goes on after a drop");
        if pause >= Duration::from_secs(1) {
            self.reporter.stage(Stage::Retrying(pause.as_secs()));
        }
        tokio::time::sleep(pause).await;
        self.reporter.stage(Stage::Downloading);
    }
}

/// For a stream that is one of several: where all of them write, and who waits to hear that ranges are known.
type Beside = (Arc<HeldParts>, Arc<Notify>);

/// A part that a stream is at; given back whatever ends the stream.
struct Claimed {
    held: Arc<HeldParts>,
    part: Part,
}

impl Drop for Claimed {
    fn drop(&mut self) {
        self.held.parts.release(&self.part);
    }
}

type Chunks = mpsc::Sender<Bytes>;
type Writer<T> = JoinHandle<Result<T, dray_store::Error>>;

/// A thread which appends what comes, until no more does. An ingest that got nothing is not worth keeping.
fn write_ingest(
    mut held: Box<HeldIngest>,
    size: u64,
    growth: Arc<Growth>,
) -> (Chunks, Writer<Option<Box<HeldIngest>>>) {
    let (sender, mut receiver) = mpsc::channel::<Bytes>(CHUNKS_AHEAD);
    let writer = tokio::task::spawn_blocking(move || {
        while let Some(chunk) = receiver.blocking_recv() {
            if let Err(error) = held.ingest.append(&chunk) {
                // A full disk is not helped by keeping a part.
                let _ = held.ingest.abort();
                return Err(error);
            }
            growth.reached(held.ingest.offset());
        }
        if held.ingest.offset() == 0 && size > 0 {
            return held.ingest.abort().map(|()| None);
        }
        Ok(Some(held))
    });
    (sender, writer)
}

/// A thread which writes what comes to its place, several chunks at once where they are there.
fn write_part(held: Arc<HeldParts>, mut at: u64, growth: Arc<Growth>) -> (Chunks, Writer<()>) {
    let (sender, mut receiver) = mpsc::channel::<Bytes>(CHUNKS_AHEAD);
    let writer = tokio::task::spawn_blocking(move || {
        let mut gathered = BytesMut::with_capacity(WRITE);
        while let Some(chunk) = receiver.blocking_recv() {
            gathered.extend_from_slice(&chunk);
            while gathered.len() < WRITE
                && let Ok(chunk) = receiver.try_recv()
            {
                gathered.extend_from_slice(&chunk);
            }
            if let Err(error) = held.parts.write(at, &gathered) {
                let _ = held.parts.abort();
                return Err(error);
            }
            at += gathered.len() as u64;
            gathered.clear();
            growth.reached(held.parts.contiguous());
        }
        Ok(())
    });
    (sender, writer)
}
