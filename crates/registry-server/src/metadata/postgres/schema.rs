//! The tables, and their migrations. The picture is in [`crate::metadata`]; what differs from SQLite's is `growth`.

use super::lock::Locks;
use super::pool::{Durability, Pool};
use crate::metadata::{Error, Result};

/// One migration per schema version, applied in order; never changed once released.
///
/// `growth`: the bytes that a repository has won or lost and that `repository.bytes` does not hold yet. Were the sum
/// changed with each blob, all who push to a repository would wait for each other; so they add rows, and the collector
/// adds them up.
const MIGRATIONS: &[&str] = &[
    // 1: the beginning.
    "CREATE TABLE repository (
        id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name TEXT COLLATE \"C\" NOT NULL UNIQUE,
        bytes BIGINT NOT NULL DEFAULT 0
     );
     CREATE TABLE growth (repository BIGINT NOT NULL, bytes BIGINT NOT NULL);
     CREATE INDEX growth_repository ON growth (repository);
     CREATE TABLE blob (
        id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, digest TEXT COLLATE \"C\" NOT NULL UNIQUE,
        size BIGINT NOT NULL, key TEXT COLLATE \"C\" UNIQUE, content BYTEA,
        CHECK ((key IS NULL) <> (content IS NULL))
     );
     CREATE TABLE link (
        repository BIGINT NOT NULL REFERENCES repository, blob BIGINT NOT NULL REFERENCES blob,
        touched BIGINT NOT NULL,
        PRIMARY KEY (repository, blob)
     );
     CREATE INDEX link_blob ON link (blob);
     CREATE INDEX link_touched ON link (touched);
     CREATE TABLE manifest (
        repository BIGINT NOT NULL REFERENCES repository, digest TEXT COLLATE \"C\" NOT NULL,
        media_type TEXT NOT NULL, content BYTEA NOT NULL, pushed BIGINT NOT NULL,
        subject TEXT COLLATE \"C\", artifact_type TEXT, annotations TEXT,
        PRIMARY KEY (repository, digest)
     );
     CREATE INDEX manifest_subject ON manifest (repository, subject, digest) WHERE subject IS NOT NULL;
     CREATE TABLE reference (
        repository BIGINT NOT NULL, manifest TEXT COLLATE \"C\" NOT NULL, target TEXT COLLATE \"C\" NOT NULL,
        child BOOLEAN NOT NULL,
        PRIMARY KEY (repository, manifest, target),
        FOREIGN KEY (repository, manifest) REFERENCES manifest (repository, digest) ON DELETE CASCADE
     );
     CREATE INDEX reference_target ON reference (repository, target);
     CREATE TABLE tag (
        repository BIGINT NOT NULL, name TEXT COLLATE \"C\" NOT NULL, digest TEXT COLLATE \"C\" NOT NULL,
        updated BIGINT NOT NULL,
        PRIMARY KEY (repository, name),
        FOREIGN KEY (repository, digest) REFERENCES manifest (repository, digest) ON DELETE CASCADE
     );
     CREATE INDEX tag_digest ON tag (repository, digest);
     CREATE TABLE upload (
        id TEXT COLLATE \"C\" PRIMARY KEY, repository TEXT COLLATE \"C\" NOT NULL, received BIGINT NOT NULL,
        hasher BYTEA NOT NULL, buffer BYTEA NOT NULL, key TEXT COLLATE \"C\" UNIQUE, state BYTEA NOT NULL,
        updated BIGINT NOT NULL
     );
     CREATE INDEX upload_updated ON upload (updated);
     CREATE TABLE garbage (key TEXT COLLATE \"C\" PRIMARY KEY, state BYTEA NOT NULL);
     CREATE TABLE robot (
        name TEXT COLLATE \"C\" PRIMARY KEY, secret BYTEA NOT NULL, scopes TEXT NOT NULL,
        created BIGINT NOT NULL, expires BIGINT NOT NULL
     );
     CREATE TABLE shared (name TEXT COLLATE \"C\" PRIMARY KEY, value BYTEA NOT NULL);",
    // 2: what is kept for other registries.
    "CREATE TABLE used (
        repository BIGINT NOT NULL, digest TEXT COLLATE \"C\" NOT NULL, at BIGINT NOT NULL,
        PRIMARY KEY (repository, digest),
        FOREIGN KEY (repository, digest) REFERENCES manifest (repository, digest) ON DELETE CASCADE
     );
     CREATE INDEX used_at ON used (at);
     CREATE TABLE checked (
        repository BIGINT NOT NULL, name TEXT COLLATE \"C\" NOT NULL, at BIGINT NOT NULL,
        PRIMARY KEY (repository, name),
        FOREIGN KEY (repository, name) REFERENCES tag (repository, name) ON DELETE CASCADE
     );",
    // 3: copies at other registries.
    "CREATE TABLE replication (
        target TEXT COLLATE \"C\" NOT NULL, repository TEXT COLLATE \"C\" NOT NULL, generation BIGINT NOT NULL, due BIGINT, claimed BIGINT NOT NULL,
        attempts BIGINT NOT NULL, error TEXT, synced BIGINT, upload_digest TEXT, upload_location TEXT,
        PRIMARY KEY (target, repository)
     );
     CREATE INDEX replication_due ON replication (target, due) WHERE due IS NOT NULL;",
];

/// Brings the tables up to this version. Servers that begin at the same time do it one after the other.
pub(super) async fn migrate(pool: &Pool) -> Result<()> {
    let known = MIGRATIONS.len() as i64;
    let session = pool.begin(Durability::Full, &Locks::alone()).await?;
    session.batch("CREATE TABLE IF NOT EXISTS dray_schema (version BIGINT NOT NULL)").await?;
    let row = session.one("SELECT coalesce(max(version), 0) FROM dray_schema", &[]).await?;
    let found: i64 = row.map_or(Ok(0), |row| super::column(&row, 0))?;
    if found > known {
        return Err(Error::SchemaTooNew { found, known });
    }
    for (version, migration) in (1..).zip(MIGRATIONS).skip(usize::try_from(found).unwrap_or(0)) {
        session.batch(migration).await?;
        session
            .batch(&format!("DELETE FROM dray_schema; INSERT INTO dray_schema VALUES ({version})"))
            .await?;
    }
    session.commit().await
}
