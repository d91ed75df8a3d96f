//! The connections: one thread that writes, a pool that reads, and one thread that flushes.
//!
//! ```text
//! callers ─► jobs ─► writer: one transaction of all jobs that wait, a savepoint for each
//!                      │ commit (no flush: microseconds)
//!                      ├─► relaxed ones are answered
//!                      └─► flusher: one fdatasync of the WAL for all commits until now ─► durable ones are answered
//! ```
//! So sixty-four pushes at once wait for one transaction and one flush together, and while the disk is busy the next
//! transaction is filled. A job that fails takes back only its own savepoint.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tokio::sync::oneshot;

use super::schema;
use crate::metadata::{Error, Result};

/// Most jobs of one transaction: a reader's snapshot must not grow old behind an endless one.
const BATCH: usize = 256;

/// Whether an acknowledged write waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// It survives a power cut.
    Full,
    /// It survives the death of the process.
    Relaxed,
}

/// Tells a caller how it ended; `None` when all is well.
type Finish = Box<dyn FnOnce(Option<&str>) + Send>;

/// Does the work; given the connection, or why there is no transaction.
type Run = Box<dyn FnOnce(std::result::Result<&Connection, &str>) -> Finish + Send>;

struct Job {
    durability: Durability,
    run: Run,
}

/// An open database.
pub(crate) struct Database {
    path: PathBuf,
    jobs: Option<Sender<Job>>,
    readers: Mutex<Vec<Connection>>,
    threads: Vec<JoinHandle<()>>,
}

impl Database {
    /// Opens the database, makes or migrates its tables, starts the threads.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let writer = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        schema::migrate(&writer)?;
        let wal_path = wal_of(path);
        let wal = File::options().write(true).open(&wal_path).map_err(|source| Error::Io {
            operation: "open",
            path: wal_path.clone(),
            source,
        })?;
        let (jobs, queue) = channel();
        let (flushes, flush_queue) = channel();
        let threads = vec![
            spawn("metadata-write", move || write_until_closed(&writer, &queue, &flushes))?,
            spawn("metadata-flush", move || flush_until_closed(&wal, &wal_path, &flush_queue))?,
        ];
        Ok(Self { path: path.to_path_buf(), jobs: Some(jobs), readers: Mutex::default(), threads })
    }

    /// Reads what is committed. Takes microseconds, so it is done where it is asked for.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let pooled = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let reader = match pooled {
            Some(reader) => reader,
            None => self.reader()?,
        };
        let done = work(&reader);
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
        done
    }

    fn reader(&self) -> Result<Connection> {
        let reader = connect(&self.path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        reader.pragma_update(None, "query_only", true).map_err(Error::sqlite("open"))?;
        Ok(reader)
    }

    /// Writes all or nothing.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        durability: Durability,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let run = Box::new(move |connection: std::result::Result<&Connection, &str>| -> Finish {
            let done = match connection {
                Ok(connection) => in_savepoint(connection, work),
                Err(failure) => Err(Error::Begin(failure.to_owned())),
            };
            Box::new(move |failure: Option<&str>| {
                let result = match failure {
                    None => done,
                    Some(failure) => done.and_then(|_| Err(Error::Commit(failure.to_owned()))),
                };
                // The caller may have gone; what is written is written.
                let _ = answer.send(result);
            })
        });
        let jobs = self.jobs.as_ref().ok_or(Error::Stopped)?;
        jobs.send(Job { durability, run }).map_err(|_| Error::Stopped)?;
        answered.await.map_err(|_| Error::Stopped)?
    }
}

impl Drop for Database {
    /// Waits until everything that was asked for is done.
    fn drop(&mut self) {
        drop(self.jobs.take());
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.into()).spawn(work).map_err(|source| Error::Io {
        operation: "start the thread of",
        path: name.into(),
        source,
    })
}

fn wal_of(path: &Path) -> PathBuf {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    wal.into()
}

fn in_savepoint<T>(connection: &Connection, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
    connection.execute_batch("SAVEPOINT job").map_err(Error::sqlite("begin"))?;
    let done = work(connection);
    let end = if done.is_ok() { "RELEASE job" } else { "ROLLBACK TO job; RELEASE job" };
    connection.execute_batch(end).map_err(Error::sqlite("end"))?;
    done
}

fn write_until_closed(writer: &Connection, queue: &Receiver<Job>, flushes: &Sender<Vec<Finish>>) {
    while let Ok(first) = queue.recv() {
        if let Err(error) = writer.execute_batch("BEGIN IMMEDIATE") {
            // Each job is answered with the failure; the next may find the database well again.
            (first.run)(Err(&error.to_string()))(None);
            continue;
        }
        let (mut relaxed, mut full) = (Vec::new(), Vec::new());
        let jobs = std::iter::once(first).chain(std::iter::from_fn(|| queue.try_recv().ok())).take(BATCH);
        for job in jobs {
            let finish = (job.run)(Ok(writer));
            match job.durability {
                Durability::Full => full.push(finish),
                Durability::Relaxed => relaxed.push(finish),
            }
        }
        let failure = writer.execute_batch("COMMIT").err().map(|error| error.to_string());
        if failure.is_some() && !writer.is_autocommit() {
            let _ = writer.execute_batch("ROLLBACK");
        }
        finish_all(relaxed, failure.as_deref());
        if failure.is_some() || full.is_empty() {
            finish_all(full, failure.as_deref());
        } else if let Err(unsent) = flushes.send(full) {
            finish_all(unsent.0, Some("the flusher has stopped"));
        }
    }
}

fn flush_until_closed(wal: &File, path: &Path, queue: &Receiver<Vec<Finish>>) {
    while let Ok(mut waiting) = queue.recv() {
        // Everything that is in the queue has been committed already: one flush is enough for all.
        waiting.extend(std::iter::from_fn(|| queue.try_recv().ok()).flatten());
        let failure = wal.sync_data().err().map(|error| format!("sync {}: {error}", path.display()));
        finish_all(waiting, failure.as_deref());
    }
}

fn finish_all(finishes: Vec<Finish>, failure: Option<&str>) {
    for finish in finishes {
        finish(failure);
    }
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(Error::sqlite("open"))?;
    connection.busy_timeout(Duration::from_secs(10)).map_err(Error::sqlite("open"))?;
    connection
        .execute_batch(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;
             PRAGMA cache_size=-2048; PRAGMA temp_store=MEMORY; PRAGMA journal_size_limit=16777216;",
        )
        .map_err(Error::sqlite("open"))?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(connection: &Connection, name: &str) -> Result<()> {
        connection
            .execute("INSERT INTO shared VALUES (?1, x'00')", [name])
            .map_err(Error::sqlite("insert"))
            .map(drop)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn many_writers_share_a_transaction_and_a_failure_harms_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let database = std::sync::Arc::new(Database::open(&dir.path().join("r.db")).unwrap());
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..200 {
            let database = database.clone();
            let durability = if n % 3 == 0 { Durability::Relaxed } else { Durability::Full };
            tasks.spawn(async move {
                database.write(durability, move |c| insert(c, &n.to_string())).await.unwrap();
                assert!(database.write(durability, move |c| insert(c, &n.to_string())).await.is_err());
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        let count: i64 = database
            .read(|c| {
                c.query_row("SELECT count(*) FROM shared", [], |r| r.get(0)).map_err(Error::sqlite("count"))
            })
            .unwrap();
        assert_eq!(count, 200);
    }

    #[tokio::test]
    async fn what_was_asked_for_is_done_before_it_closes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.db");
        let database = Database::open(&path).unwrap();
        database.write(Durability::Relaxed, |c| insert(c, "a")).await.unwrap();
        drop(database);
        let again = Database::open(&path).unwrap();
        assert!(again.write(Durability::Full, |c| insert(c, "a")).await.is_err(), "it is there already");
    }

    #[test]
    fn a_later_schema_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.db");
        drop(Database::open(&path).unwrap());
        Connection::open(&path).unwrap().execute_batch("PRAGMA user_version=99").unwrap();
        assert!(matches!(Database::open(&path), Err(Error::SchemaTooNew { found: 99, .. })));
    }
}
