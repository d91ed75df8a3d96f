//! The database: one SQLite file in WAL mode, written through one connection and read through another.
//!
//! ```text
//! record(kind, id, name?, document)          PRIMARY KEY (kind, id); (kind, name) unique
//!      └─ containers, networks, volumes, build cache, …: JSON of the crates above
//!
//! tag(reference) ──────────► image(id, config, parent?, manifest?, created, size)
//!   "docker.io/a/b:v1"           │ id = digest of config, the document itself
//!   "docker.io/a/b@sha256:…"     ├─► image_layer(image, position) ──► layer(id, diff_id?, size, boot?)
//!                                └─► image_blob(image, digest)  ──► blobs/sha256/<hex>
//! hold(holder, layer) ─────────────────────────────────────────────► layer
//! ```
//!
//! `layer.boot` is the boot ID of the machine while the layer's files may not be on the disk yet, null from
//! then on. Layer IDs are never used twice (AUTOINCREMENT).
//!
//! # Durability
//! A write is acknowledged when its transaction is in the WAL and the WAL is on the disk
//! (`synchronous=FULL`). Writers that wait at the same time share one transaction and one flush: whoever gets
//! the connection carries out everybody's waiting work, each within a savepoint of its own, and then commits
//! once. So fifty containers that start at once do not wait fifty times for the disk.
//! Relaxed writes are committed without the flush; a power cut may lose the latest of them, in order.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::{Error, Result, fault};

/// One migration per schema version, applied in order; never changed once released.
const MIGRATIONS: &[&str] = &[
    // 1: the beginning.
    "CREATE TABLE record (
        kind TEXT NOT NULL, id TEXT NOT NULL, name TEXT, document TEXT NOT NULL,
        PRIMARY KEY (kind, id)
     ) WITHOUT ROWID;
     CREATE UNIQUE INDEX record_name ON record (kind, name) WHERE name IS NOT NULL;
     CREATE TABLE layer (
        id INTEGER PRIMARY KEY AUTOINCREMENT, diff_id TEXT UNIQUE, size INTEGER NOT NULL, boot TEXT
     );
     CREATE TABLE image (
        id TEXT PRIMARY KEY, config BLOB NOT NULL, parent TEXT, manifest TEXT,
        created TEXT NOT NULL, size INTEGER NOT NULL
     );
     CREATE INDEX image_parent ON image (parent) WHERE parent IS NOT NULL;
     CREATE TABLE image_layer (
        image TEXT NOT NULL REFERENCES image ON DELETE CASCADE, position INTEGER NOT NULL,
        layer INTEGER NOT NULL REFERENCES layer,
        PRIMARY KEY (image, position)
     ) WITHOUT ROWID;
     CREATE INDEX image_layer_layer ON image_layer (layer);
     CREATE TABLE image_blob (
        image TEXT NOT NULL REFERENCES image ON DELETE CASCADE, digest TEXT NOT NULL,
        PRIMARY KEY (image, digest)
     ) WITHOUT ROWID;
     CREATE INDEX image_blob_digest ON image_blob (digest);
     CREATE TABLE tag (
        reference TEXT PRIMARY KEY, image TEXT NOT NULL REFERENCES image ON DELETE CASCADE
     ) WITHOUT ROWID;
     CREATE INDEX tag_image ON tag (image);
     CREATE TABLE hold (
        holder TEXT NOT NULL, layer INTEGER NOT NULL,
        PRIMARY KEY (holder, layer)
     ) WITHOUT ROWID;
     CREATE INDEX hold_layer ON hold (layer);",
];

/// The database; a clone is the same one.
#[derive(Clone, Debug)]
pub(crate) struct Db(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
    waiting: Mutex<Vec<Box<dyn Job>>>,
}

/// Whether an acknowledged write waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// It survives a power cut.
    Full,
    /// It survives the death of the process.
    Relaxed,
}

/// A waiting write.
trait Job: Send {
    fn durability(&self) -> Durability;
    /// Runs within the shared transaction; true if its changes are to stay.
    fn run(&mut self, connection: &Connection) -> bool;
    /// The transaction is committed, or not.
    fn done(self: Box<Self>, committed: Result<(), Arc<rusqlite::Error>>);
}

impl std::fmt::Debug for dyn Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job")
    }
}

type Answer<T> = Arc<Mutex<Option<Result<T>>>>;

struct Write<F, T> {
    durability: Durability,
    work: Option<F>,
    result: Option<Result<T>>,
    answer: Answer<T>,
}

impl<F, T> Job for Write<F, T>
where
    F: FnOnce(&Connection) -> Result<T> + Send,
    T: Send,
{
    fn durability(&self) -> Durability {
        self.durability
    }

    fn run(&mut self, connection: &Connection) -> bool {
        let Some(work) = self.work.take() else { return false };
        let result = work(connection);
        let keep = result.is_ok();
        self.result = Some(result);
        keep
    }

    fn done(self: Box<Self>, committed: Result<(), Arc<rusqlite::Error>>) {
        let result = match (self.result, committed) {
            (Some(Ok(_)) | None, Err(error)) => Err(commit_error(&error)),
            (Some(result), _) => result,
            (None, Ok(())) => return,
        };
        *lock(&self.answer) = Some(result);
    }
}

/// A failed commit, told to each of those who shared it.
fn commit_error(error: &rusqlite::Error) -> Error {
    let source = match error {
        rusqlite::Error::SqliteFailure(code, text) => rusqlite::Error::SqliteFailure(*code, text.clone()),
        other => rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ERROR),
            Some(other.to_string()),
        ),
    };
    Error::Database { operation: "commit", source }
}

/// A panic elsewhere leaves no half-done state behind these locks: transactions roll back on their own.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Db {
    /// Opens the database, makes or migrates its tables.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let writer = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        migrate(&writer, path)?;
        let reader = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        reader.pragma_update(None, "query_only", true).map_err(Error::db("open"))?;
        Ok(Self(Arc::new(Inner {
            writer: Mutex::new(writer),
            reader: Mutex::new(reader),
            waiting: Mutex::default(),
        })))
    }

    /// Reads what is committed.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        work(&lock(&self.0.reader))
    }

    /// Writes durably; shares the transaction with whoever waits at the same time.
    pub(crate) fn write<T, F>(&self, work: F) -> Result<T>
    where
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        self.enqueue(Durability::Full, work)
    }

    /// Writes without waiting for the disk.
    pub(crate) fn write_relaxed<T, F>(&self, work: F) -> Result<T>
    where
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        self.enqueue(Durability::Relaxed, work)
    }

    /// Writes durably in a transaction of its own, for work that borrows.
    pub(crate) fn transaction<T>(
        &self,
        durability: Durability,
        work: impl FnOnce(&Connection) -> Result<T>,
    ) -> Result<T> {
        let writer = lock(&self.0.writer);
        begin(&writer, durability)?;
        match work(&writer) {
            Ok(value) => commit(&writer).map(|()| value).map_err(|error| {
                roll_back(&writer);
                Error::Database { operation: "commit", source: error }
            }),
            Err(error) => {
                roll_back(&writer);
                Err(error)
            }
        }
    }

    fn enqueue<T, F>(&self, durability: Durability, work: F) -> Result<T>
    where
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let answer: Answer<T> = Arc::default();
        let job = Write { durability, work: Some(work), result: None, answer: answer.clone() };
        lock(&self.0.waiting).push(Box::new(job));
        let writer = lock(&self.0.writer);
        if let Some(result) = lock(&answer).take() {
            return result;
        }
        let jobs = std::mem::take(&mut *lock(&self.0.waiting));
        run_all(&writer, jobs);
        drop(writer);
        lock(&answer).take().unwrap_or_else(|| {
            Err(Error::Database { operation: "write", source: rusqlite::Error::InvalidQuery })
        })
    }
}

/// Carries out all jobs in one transaction and answers each.
fn run_all(writer: &Connection, mut jobs: Vec<Box<dyn Job>>) {
    let durability = match jobs.iter().any(|job| job.durability() == Durability::Full) {
        true => Durability::Full,
        false => Durability::Relaxed,
    };
    let outcome = begin_raw(writer, durability).and_then(|()| {
        for job in &mut jobs {
            writer.execute_batch("SAVEPOINT job")?;
            match job.run(writer) {
                true => writer.execute_batch("RELEASE job")?,
                false => writer.execute_batch("ROLLBACK TO job; RELEASE job")?,
            }
        }
        commit(writer)
    });
    let outcome = outcome.map_err(|error| {
        roll_back(writer);
        Arc::new(error)
    });
    for job in jobs {
        job.done(outcome.clone());
    }
}

fn begin(writer: &Connection, durability: Durability) -> Result<()> {
    begin_raw(writer, durability).map_err(Error::db("begin"))
}

fn begin_raw(writer: &Connection, durability: Durability) -> rusqlite::Result<()> {
    let batch = match durability {
        Durability::Full => "PRAGMA synchronous=FULL; BEGIN IMMEDIATE",
        Durability::Relaxed => "PRAGMA synchronous=NORMAL; BEGIN IMMEDIATE",
    };
    writer.execute_batch(batch)
}

fn commit(writer: &Connection) -> rusqlite::Result<()> {
    fault::point("db.before-commit");
    writer.execute_batch("COMMIT")?;
    fault::point("db.after-commit");
    Ok(())
}

fn roll_back(writer: &Connection) {
    if !writer.is_autocommit()
        && let Err(error) = writer.execute_batch("ROLLBACK")
    {
        tracing::warn!(%error, "database: roll back");
    }
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection> {
    let failed = Error::db;
    let connection =
        Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(failed("open"))?;
    connection.busy_timeout(Duration::from_secs(10)).map_err(failed("open"))?;
    // A small page cache: the daemon idles in 20 MiB, and the kernel caches the file anyway.
    connection
        .execute_batch(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;
             PRAGMA cache_size=-256; PRAGMA temp_store=MEMORY; PRAGMA journal_size_limit=4194304;",
        )
        .map_err(failed("open"))?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

fn migrate(connection: &Connection, path: &Path) -> Result<()> {
    let known = MIGRATIONS.len() as i64;
    let found: i64 = connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(Error::db("read schema version"))?;
    if found > known {
        return Err(Error::SchemaTooNew { path: path.to_path_buf(), found, known });
    }
    for (version, migration) in (1..).zip(MIGRATIONS).skip(usize::try_from(found).unwrap_or(0)) {
        let batch = format!("BEGIN EXCLUSIVE; {migration} PRAGMA user_version={version}; COMMIT");
        if let Err(error) = connection.execute_batch(&batch) {
            roll_back(connection);
            return Err(Error::Database { operation: "migrate", source: error });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn db() -> (tempfile::TempDir, Db) {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&dir.path().join("state.db")).unwrap();
        (dir, db)
    }

    fn insert(connection: &Connection, id: &str) -> Result<()> {
        connection
            .execute("INSERT INTO record VALUES ('k', ?1, NULL, '{}')", [id])
            .map_err(Error::db("insert"))?;
        Ok(())
    }

    fn count(db: &Db) -> i64 {
        db.read(|c| {
            c.query_row("SELECT count(*) FROM record", [], |row| row.get(0)).map_err(Error::db("count"))
        })
        .unwrap()
    }

    #[test]
    fn many_writers_share_and_one_failure_harms_no_other() {
        let (_dir, db) = db();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let db = db.clone();
                scope.spawn(move || {
                    for n in 0..25 {
                        let id = format!("{thread}-{n}");
                        let answer = db.write(move |c| insert(c, &id));
                        answer.unwrap();
                        let again = format!("{thread}-{n}");
                        assert!(db.write(move |c| insert(c, &again)).is_err());
                    }
                });
            }
        });
        assert_eq!(count(&db), 200);
    }

    #[test]
    fn failed_work_leaves_nothing() {
        let (_dir, db) = db();
        let result = db.transaction(Durability::Full, |c| {
            insert(c, "a")?;
            Err::<(), _>(Error::Locked("x".into()))
        });
        assert!(result.is_err());
        let result = db.write(|c| {
            insert(c, "b")?;
            Err::<(), _>(Error::Locked("x".into()))
        });
        assert!(result.is_err());
        assert_eq!(count(&db), 0);
    }

    #[test]
    fn a_later_schema_is_refused() {
        let (dir, db) = db();
        drop(db);
        let path = dir.path().join("state.db");
        Connection::open(&path).unwrap().execute_batch("PRAGMA user_version=99").unwrap();
        let error = Db::open(&path).unwrap_err();
        assert!(matches!(error, Error::SchemaTooNew { found: 99, .. }), "{error}");
    }

    #[test]
    fn reopening_migrates_nothing() {
        let (dir, db) = db();
        db.write(|c| insert(c, "a")).unwrap();
        drop(db);
        assert_eq!(count(&Db::open(&dir.path().join("state.db")).unwrap()), 1);
    }
}
