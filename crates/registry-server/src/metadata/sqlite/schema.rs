//! The tables, and their migrations. The picture is in [`crate::metadata`].

use rusqlite::Connection;

use crate::metadata::{Error, Result};

/// One migration per schema version, applied in order; never changed once released.
const MIGRATIONS: &[&str] = &[
    // 1: the beginning.
    "CREATE TABLE repository (
        id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, bytes INTEGER NOT NULL DEFAULT 0
     );
     CREATE TABLE blob (
        id INTEGER PRIMARY KEY AUTOINCREMENT, digest TEXT NOT NULL UNIQUE, size INTEGER NOT NULL,
        key TEXT UNIQUE, content BLOB, CHECK ((key IS NULL) <> (content IS NULL))
     );
     CREATE TABLE link (
        repository INTEGER NOT NULL REFERENCES repository, blob INTEGER NOT NULL REFERENCES blob,
        touched INTEGER NOT NULL,
        PRIMARY KEY (repository, blob)
     ) WITHOUT ROWID;
     CREATE INDEX link_blob ON link (blob);
     CREATE INDEX link_touched ON link (touched);
     CREATE TABLE manifest (
        repository INTEGER NOT NULL REFERENCES repository, digest TEXT NOT NULL,
        media_type TEXT NOT NULL, content BLOB NOT NULL, pushed INTEGER NOT NULL,
        subject TEXT, artifact_type TEXT, annotations TEXT,
        UNIQUE (repository, digest)
     );
     CREATE INDEX manifest_subject ON manifest (repository, subject, digest) WHERE subject IS NOT NULL;
     CREATE TABLE reference (
        repository INTEGER NOT NULL, manifest TEXT NOT NULL, target TEXT NOT NULL, child INTEGER NOT NULL,
        PRIMARY KEY (repository, manifest, target),
        FOREIGN KEY (repository, manifest) REFERENCES manifest (repository, digest) ON DELETE CASCADE
     ) WITHOUT ROWID;
     CREATE INDEX reference_target ON reference (repository, target);
     CREATE TABLE tag (
        repository INTEGER NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL, updated INTEGER NOT NULL,
        PRIMARY KEY (repository, name),
        FOREIGN KEY (repository, digest) REFERENCES manifest (repository, digest) ON DELETE CASCADE
     ) WITHOUT ROWID;
     CREATE INDEX tag_digest ON tag (repository, digest);
     CREATE TABLE upload (
        id TEXT PRIMARY KEY, repository TEXT NOT NULL, offset INTEGER NOT NULL, hasher BLOB NOT NULL,
        buffer BLOB NOT NULL, key TEXT UNIQUE, state BLOB NOT NULL, updated INTEGER NOT NULL
     ) WITHOUT ROWID;
     CREATE INDEX upload_updated ON upload (updated);
     CREATE TABLE garbage (key TEXT PRIMARY KEY, state BLOB NOT NULL) WITHOUT ROWID;
     CREATE TABLE robot (
        name TEXT PRIMARY KEY, secret BLOB NOT NULL, scopes TEXT NOT NULL,
        created INTEGER NOT NULL, expires INTEGER NOT NULL
     ) WITHOUT ROWID;
     CREATE TABLE shared (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;",
    // 2: what is kept for other registries.
    "CREATE TABLE used (
        repository INTEGER NOT NULL, digest TEXT NOT NULL, at INTEGER NOT NULL,
        PRIMARY KEY (repository, digest),
        FOREIGN KEY (repository, digest) REFERENCES manifest (repository, digest) ON DELETE CASCADE
     ) WITHOUT ROWID;
     CREATE INDEX used_at ON used (at);
     CREATE TABLE checked (
        repository INTEGER NOT NULL, name TEXT NOT NULL, at INTEGER NOT NULL,
        PRIMARY KEY (repository, name),
        FOREIGN KEY (repository, name) REFERENCES tag (repository, name) ON DELETE CASCADE
     ) WITHOUT ROWID;",
    // 3: copies at other registries.
    "CREATE TABLE replication (
        target TEXT NOT NULL, repository TEXT NOT NULL, generation INTEGER NOT NULL, due INTEGER, claimed INTEGER NOT NULL,
        attempts INTEGER NOT NULL, error TEXT, synced INTEGER, upload_digest TEXT, upload_location TEXT,
        PRIMARY KEY (target, repository)
     ) WITHOUT ROWID;
     CREATE INDEX replication_due ON replication (target, due) WHERE due IS NOT NULL;",
];

/// Brings the tables up to this version.
pub(super) fn migrate(connection: &Connection) -> Result<()> {
    let known = MIGRATIONS.len() as i64;
    let found: i64 = connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(Error::sqlite("read the schema's version"))?;
    if found > known {
        return Err(Error::SchemaTooNew { found, known });
    }
    for (version, migration) in (1..).zip(MIGRATIONS).skip(usize::try_from(found).unwrap_or(0)) {
        let batch = format!("BEGIN EXCLUSIVE; {migration} PRAGMA user_version={version}; COMMIT");
        if let Err(source) = connection.execute_batch(&batch) {
            let _ = connection.execute_batch("ROLLBACK");
            return Err(Error::Sqlite { operation: "migrate", source });
        }
    }
    Ok(())
}
