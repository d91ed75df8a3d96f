//! The database: one SQLite file in WAL mode, written through one connection and read through another.
//!
//! ```text
//! record(kind, id, name?, document)          PRIMARY KEY (kind, id); (kind, name) unique
//!      └─ containers, networks, volumes, build cache, …: JSON of the crates above
//!
//! tag(reference) ──────────► image(id, config, parent?, manifest?, created, size)
//!   "docker.io/a/b:v1"           │ id = digest of config, the document itself
//!   "docker.io/a/b@sha256:…"     ├─► image_layer(image, position) ──► layer(id, diff_id?, size, boot?, base?, own?)
//!                                └─► image_blob(image, digest)  ──► blobs/sha256/<hex>
//! hold(holder, layer) ─────────────────────────────────────────────► layer
//! ```
//!
//! `layer.boot` is the boot ID of the machine while the layer's files may not be on the disk yet, null from
//! then on. `layer.base` is the layer upon which it lies, `layer.own` what of its size is in its own folder. Layer IDs are
//! never used twice (AUTOINCREMENT).
//!
//! # Durability
//! A transaction is committed to the WAL without a flush (`synchronous=NORMAL`), which takes microseconds. A
//! durable write then waits until the WAL has been flushed past its commit: whoever finds no flush on its way
//! does one, for everybody who has committed until then. So fifty containers that are created at once do not
//! wait fifty times for the disk. A relaxed write does not wait; a power cut may lose the latest of them, in
//! order.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::{Error, Result, fault};

/// The store's own lock keeps other processes out, so the two connections need no locks of the kernel's to read and
/// write: SQLite's exclusive kind takes one when it opens the file, and has its index of the WAL in memory.
const VFS: &str = "unix-excl";

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
    // 2: layers upon others.
    "ALTER TABLE layer ADD COLUMN base INTEGER REFERENCES layer;
     ALTER TABLE layer ADD COLUMN own INTEGER;
     CREATE INDEX layer_base ON layer (base) WHERE base IS NOT NULL;",
    // 3: when names were given, in nanoseconds since 1970; 0 where nobody knows.
    "ALTER TABLE tag ADD COLUMN time INTEGER NOT NULL DEFAULT 0;",
];

/// The database; a clone is the same one.
#[derive(Clone, Debug)]
pub(crate) struct Db(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
    flusher: Flusher,
}

/// Whether an acknowledged write waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// It survives a power cut.
    Full,
    /// It survives the death of the process.
    Relaxed,
}

/// Brings commits to the disk, as many as there are with one flush.
#[derive(Debug)]
struct Flusher {
    path: PathBuf,
    wal: File,
    progress: Mutex<Progress>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct Progress {
    /// How many transactions have been committed, and how many of them are on the disk.
    committed: u64,
    flushed: u64,
    /// The last of them that somebody waits or waited for.
    durable: u64,
    /// A flush is on its way.
    running: bool,
}

impl Flusher {
    /// SQLite keeps the WAL as one file as long as a connection is open, and takes no locks on it.
    fn open(database: &Path) -> Result<Self> {
        let mut path = database.as_os_str().to_owned();
        path.push("-wal");
        let path = PathBuf::from(path);
        let wal =
            File::options().write(true).open(&path).map_err(|source| Error::io("open", &path, source))?;
        Ok(Self { path, wal, progress: Mutex::default(), moved: Condvar::new() })
    }

    /// Counts a commit that changed something, and gives the number of the commit to wait for; called while nobody
    /// else can commit. One that found everything as it should be waits for the durable commits before it, which
    /// may be on their way to the disk; relaxed ones make nothing that a durable one relies on.
    fn committed(&self, changed: bool, durability: Durability) -> u64 {
        let mut progress = lock(&self.progress);
        progress.committed += u64::from(changed);
        if changed && durability == Durability::Full {
            progress.durable = progress.committed;
        }
        if changed { progress.committed } else { progress.durable }
    }

    /// Waits until that commit is on the disk.
    fn wait_for(&self, commit: u64) -> Result<()> {
        let mut progress = lock(&self.progress);
        while progress.flushed < commit {
            if progress.running {
                progress = self.moved.wait(progress).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            progress.running = true;
            let reached = progress.committed;
            drop(progress);
            let result = self.wal.sync_data();
            progress = lock(&self.progress);
            progress.running = false;
            if result.is_ok() {
                progress.flushed = progress.flushed.max(reached);
            }
            self.moved.notify_all();
            result.map_err(|source| Error::io("sync", &self.path, source))?;
        }
        Ok(())
    }
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
        let flusher = Flusher::open(path)?;
        Ok(Self(Arc::new(Inner { writer: Mutex::new(writer), reader: Mutex::new(reader), flusher })))
    }

    /// Reads what is committed.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        work(&lock(&self.0.reader))
    }

    /// Writes durably, all or nothing.
    pub(crate) fn write<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.transaction(Durability::Full, work)
    }

    /// Writes without waiting for the disk, all or nothing.
    pub(crate) fn write_relaxed<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.transaction(Durability::Relaxed, work)
    }

    /// Does `work` in a transaction.
    pub(crate) fn transaction<T>(
        &self,
        durability: Durability,
        work: impl FnOnce(&Connection) -> Result<T>,
    ) -> Result<T> {
        let writer = lock(&self.0.writer);
        writer.execute_batch("BEGIN IMMEDIATE").map_err(Error::db("begin"))?;
        let changes = writer.total_changes();
        let done = work(&writer).and_then(|value| commit(&writer).map(|()| value));
        let value = done.inspect_err(|_| roll_back(&writer))?;
        let number = self.0.flusher.committed(writer.total_changes() != changes, durability);
        drop(writer);
        if durability == Durability::Full {
            self.0.flusher.wait_for(number)?;
            fault::point("db.flushed");
        }
        Ok(value)
    }
}

fn commit(writer: &Connection) -> Result<()> {
    fault::point("db.before-commit");
    writer.execute_batch("COMMIT").map_err(Error::db("commit"))?;
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
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags_and_vfs(path, flags, VFS).map_err(failed("open"))?;
    connection.busy_timeout(Duration::from_secs(10)).map_err(failed("open"))?;
    // A small page cache: the daemon idles in 20 MiB, and the kernel caches the file anyway.
    connection
        .execute_batch(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;
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
                        db.write(|c| insert(c, &id)).unwrap();
                        assert!(db.write(|c| insert(c, &id)).is_err());
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
    fn what_is_flushed_is_the_file_that_sqlite_writes() {
        use std::os::unix::fs::MetadataExt;
        let (dir, db) = db();
        for round in 0..2000 {
            db.write_relaxed(|c| insert(c, &round.to_string())).unwrap();
        }
        db.write(|c| insert(c, "last")).unwrap();
        let (ours, theirs) =
            (db.0.flusher.wal.metadata().unwrap(), dir.path().join("state.db-wal").metadata().unwrap());
        assert_eq!((ours.dev(), ours.ino()), (theirs.dev(), theirs.ino()));
        assert!(ours.len() > 0);
        let progress = lock(&db.0.flusher.progress);
        assert_eq!((progress.committed, progress.flushed), (2001, 2001));
    }

    #[test]
    fn what_changes_nothing_waits_for_durable_writes_only() {
        let (_dir, db) = db();
        let again = |db: &Db| {
            db.write(|c| {
                c.execute("INSERT OR IGNORE INTO record VALUES ('k', 'a', NULL, '{}')", [])
                    .map_err(Error::db("insert"))
            })
        };
        let progress = || {
            let progress = lock(&db.0.flusher.progress);
            (progress.committed, progress.flushed)
        };
        db.write(|c| insert(c, "a")).unwrap();
        db.write_relaxed(|c| insert(c, "b")).unwrap();
        assert_eq!(progress(), (2, 1));
        again(&db).unwrap();
        assert_eq!(progress(), (2, 1), "nothing is new, nothing is waited for");
        db.write(|c| insert(c, "c")).unwrap();
        assert_eq!(progress(), (3, 3));
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
