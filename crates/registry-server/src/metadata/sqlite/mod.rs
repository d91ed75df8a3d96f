//! Metadata in one SQLite file: for a server that stands alone.
//!
//! ```text
//! <data-root>/registry.db     WAL; one process writes, others may read and add robot accounts
//! ```

mod blob;
mod cached;
mod collect;
mod connection;
mod manifest;
mod replication;
mod robot;
mod schema;
mod upload;

use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;
use dray_spec::Digest;
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    Blob, CachedManifest, Collected, Cutoff, Deleted, Error, Filter, Garbage, Metadata, Millis, Mounted,
    NewManifest, Put, Quota, Referrer, Replication, ReplicationJob, Result, Robot, StoredManifest, TagRecord,
    Upload, Usage,
};
use crate::name::{Key, Repository, UploadId};
use connection::{Database, Durability};

/// Metadata in a SQLite file.
pub struct Sqlite(Database);

impl Sqlite {
    /// Opens the file, making it where it is not there.
    ///
    /// # Errors
    /// If it cannot be opened, or is of a later version.
    pub fn open(path: &Path) -> Result<Self> {
        Database::open(path).map(Self)
    }

    async fn full<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.0.write(Durability::Full, work).await
    }

    async fn relaxed<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.0.write(Durability::Relaxed, work).await
    }
}

#[async_trait]
impl Metadata for Sqlite {
    async fn repositories(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        self.0.read(|c| {
            strings(
                c,
                "SELECT name FROM repository r WHERE name > ?1
                 AND (EXISTS (SELECT 1 FROM link WHERE repository = r.id)
                      OR EXISTS (SELECT 1 FROM manifest WHERE repository = r.id))
                 ORDER BY name LIMIT ?2",
                params![after.unwrap_or(""), rows(limit)],
            )
        })
    }

    async fn tags(
        &self,
        repository: &Repository,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Option<Vec<String>>> {
        self.0.read(|c| {
            let Some(id) = repository_id(c, repository.as_str())? else { return Ok(None) };
            let sql = "SELECT name FROM tag WHERE repository = ?1 AND name > ?2 ORDER BY name LIMIT ?3";
            strings(c, sql, params![id, after.unwrap_or(""), rows(limit)]).map(Some)
        })
    }

    async fn has_repository(&self, repository: &Repository) -> Result<bool> {
        self.0.read(|c| Ok(repository_id(c, repository.as_str())?.is_some()))
    }

    async fn blob(&self, repository: &Repository, digest: &Digest) -> Result<Option<Blob>> {
        self.0.read(|c| blob::find(c, repository, digest))
    }

    async fn touch(&self, repository: &Repository, digest: &Digest, now: Millis) -> Result<bool> {
        let (repository, digest) = (repository.clone(), digest.clone());
        self.relaxed(move |c| blob::touch(c, &repository, &digest, now)).await
    }

    async fn holders(&self, digest: &Digest, limit: usize) -> Result<Vec<String>> {
        self.0.read(|c| {
            strings(
                c,
                "SELECT r.name FROM blob b JOIN link l ON l.blob = b.id JOIN repository r ON r.id = l.repository
                 WHERE b.digest = ?1 ORDER BY r.name LIMIT ?2",
                params![digest.as_str(), rows(limit)],
            )
        })
    }

    async fn mount(
        &self,
        from: &Repository,
        to: &Repository,
        digest: &Digest,
        quotas: &[Quota],
        now: Millis,
    ) -> Result<Mounted> {
        let (from, to, digest, quotas) = (from.clone(), to.clone(), digest.clone(), quotas.to_vec());
        self.full(move |c| blob::mount(c, &from, &to, &digest, &quotas, now)).await
    }

    async fn unlink(&self, repository: &Repository, digest: &Digest) -> Result<Deleted> {
        let (repository, digest) = (repository.clone(), digest.clone());
        self.full(move |c| blob::unlink(c, &repository, &digest)).await
    }

    async fn put_small(
        &self,
        repository: &Repository,
        digest: &Digest,
        bytes: Bytes,
        quotas: &[Quota],
        now: Millis,
    ) -> Result<Put> {
        let (repository, digest, quotas) = (repository.clone(), digest.clone(), quotas.to_vec());
        self.full(move |c| blob::put_small(c, &repository, &digest, &bytes, &quotas, now)).await
    }

    async fn begin_upload(&self, upload: &Upload) -> Result<()> {
        let upload = upload.clone();
        self.relaxed(move |c| upload::begin(c, &upload)).await
    }

    async fn upload(&self, repository: &Repository, id: &UploadId) -> Result<Option<Upload>> {
        self.0.read(|c| upload::find(c, repository, id))
    }

    async fn advance_upload(&self, upload: &Upload, from: u64) -> Result<bool> {
        let upload = upload.clone();
        self.relaxed(move |c| upload::advance(c, &upload, from)).await
    }

    async fn commit_upload(
        &self,
        upload: &Upload,
        digest: &Digest,
        quotas: &[Quota],
        now: Millis,
    ) -> Result<Put> {
        let (upload, digest, quotas) = (upload.clone(), digest.clone(), quotas.to_vec());
        self.full(move |c| upload::commit(c, &upload, &digest, &quotas, now)).await
    }

    async fn cancel_upload(&self, repository: &Repository, id: &UploadId) -> Result<bool> {
        let (repository, id) = (repository.clone(), id.clone());
        self.full(move |c| upload::cancel(c, &repository, &id)).await
    }

    async fn put_manifest(&self, manifest: &NewManifest) -> Result<Put> {
        let manifest = manifest.clone();
        self.full(move |c| manifest::put(c, &manifest)).await
    }

    async fn manifest(&self, repository: &Repository, digest: &Digest) -> Result<Option<StoredManifest>> {
        self.0.read(|c| manifest::find(c, repository, digest))
    }

    async fn tagged(&self, repository: &Repository, tag: &str) -> Result<Option<StoredManifest>> {
        self.0.read(|c| manifest::tagged(c, repository, tag))
    }

    async fn delete_manifest(&self, repository: &Repository, digest: &Digest) -> Result<Deleted> {
        let (repository, digest) = (repository.clone(), digest.clone());
        self.full(move |c| manifest::delete(c, &repository, &digest)).await
    }

    async fn delete_tag(&self, repository: &Repository, tag: &str) -> Result<Deleted> {
        let (repository, tag) = (repository.clone(), tag.to_owned());
        self.full(move |c| manifest::delete_tag(c, &repository, &tag)).await
    }

    async fn expire_tag(&self, repository: &Repository, tag: &TagRecord) -> Result<Deleted> {
        let (repository, tag) = (repository.clone(), tag.clone());
        self.full(move |c| manifest::expire_tag(c, &repository, &tag)).await
    }

    async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
        filter: &Filter,
    ) -> Result<Vec<Referrer>> {
        self.0.read(|c| manifest::referrers(c, repository, subject, filter))
    }

    async fn tag_records(&self, repository: &Repository) -> Result<Vec<TagRecord>> {
        self.0.read(|c| manifest::tag_records(c, repository))
    }

    async fn collect(&self, cutoff: &Cutoff, limit: usize) -> Result<Collected> {
        let cutoff = *cutoff;
        self.full(move |c| collect::collect(c, &cutoff, rows(limit))).await
    }

    async fn garbage(&self, limit: usize) -> Result<Vec<Garbage>> {
        self.0.read(|c| collect::garbage(c, rows(limit)))
    }

    async fn forget_garbage(&self, keys: &[Key]) -> Result<()> {
        let keys = keys.to_vec();
        self.relaxed(move |c| collect::forget(c, &keys)).await
    }

    async fn unknown_keys(&self, keys: &[Key]) -> Result<Vec<Key>> {
        self.0.read(|c| collect::unknown(c, keys))
    }

    async fn note_use(&self, repository: &Repository, digest: &Digest, now: Millis) -> Result<()> {
        let (repository, digest) = (repository.clone(), digest.clone());
        self.relaxed(move |c| cached::note_use(c, &repository, &digest, now)).await
    }

    async fn least_used(&self, before: Millis, limit: usize) -> Result<Vec<CachedManifest>> {
        self.0.read(|c| cached::least_used(c, before, limit))
    }

    async fn note_check(&self, repository: &Repository, tag: &str, now: Millis) -> Result<()> {
        let (repository, tag) = (repository.clone(), tag.to_owned());
        self.relaxed(move |c| cached::note_check(c, &repository, &tag, now)).await
    }

    async fn checked(&self, repository: &Repository, tag: &str) -> Result<Option<Millis>> {
        self.0.read(|c| cached::checked(c, repository, tag))
    }

    async fn unneeded(&self, repository: &Repository, limit: usize) -> Result<Vec<Digest>> {
        self.0.read(|c| cached::unneeded(c, repository, limit))
    }

    async fn mark_replication(&self, target: &str, repository: &Repository, now: Millis) -> Result<()> {
        let (target, repository) = (target.to_owned(), repository.clone());
        self.full(move |c| replication::mark(c, &target, &repository, now)).await
    }

    async fn claim_replication(
        &self,
        target: &str,
        now: Millis,
        until: Millis,
    ) -> Result<Option<ReplicationJob>> {
        let target = target.to_owned();
        self.relaxed(move |c| replication::claim(c, &target, now, until)).await
    }

    async fn keep_replication(&self, job: &ReplicationJob, until: Millis) -> Result<()> {
        let job = job.clone();
        self.relaxed(move |c| replication::keep(c, &job, until)).await
    }

    async fn end_replication(&self, job: &ReplicationJob, now: Millis) -> Result<()> {
        let job = job.clone();
        self.full(move |c| replication::end(c, &job, now)).await
    }

    async fn fail_replication(&self, job: &ReplicationJob, error: &str, due: Millis) -> Result<()> {
        let (job, error) = (job.clone(), error.to_owned());
        self.full(move |c| replication::fail(c, &job, &error, due)).await
    }

    async fn replications(&self) -> Result<Vec<Replication>> {
        self.0.read(replication::list)
    }

    async fn usage(&self, prefix: &str) -> Result<Usage> {
        self.0.read(|c| collect::usage(c, prefix))
    }

    async fn put_robot(&self, robot: &Robot) -> Result<()> {
        let robot = robot.clone();
        self.full(move |c| robot::put(c, &robot)).await
    }

    async fn robot(&self, name: &str) -> Result<Option<Robot>> {
        self.0.read(|c| Ok(robot::list(c, Some(name))?.pop()))
    }

    async fn robots(&self) -> Result<Vec<Robot>> {
        self.0.read(|c| robot::list(c, None))
    }

    async fn remove_robot(&self, name: &str) -> Result<bool> {
        let name = name.to_owned();
        self.full(move |c| execute(c, "DELETE FROM robot WHERE name = ?1", [name]).map(|n| n > 0)).await
    }

    async fn shared(&self, name: &str, fresh: &[u8]) -> Result<Vec<u8>> {
        let (name, fresh) = (name.to_owned(), fresh.to_vec());
        self.full(move |c| {
            execute(c, "INSERT OR IGNORE INTO shared VALUES (?1, ?2)", params![name, fresh])?;
            one(c, "SELECT value FROM shared WHERE name = ?1", [name], |row| row.get(0))?
                .ok_or(Error::Damaged { what: "a shared value", value: String::new() })
        })
        .await
    }

    async fn check(&self) -> Result<()> {
        // A write that changes nothing goes the whole way of one that does.
        self.relaxed(|c| execute(c, "DELETE FROM shared WHERE name = 'check'", []).map(drop)).await
    }
}

/// A limit as SQLite takes it.
fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// A size as SQLite takes it.
fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn execute(c: &Connection, sql: &str, parameters: impl rusqlite::Params) -> Result<usize> {
    let mut statement = c.prepare_cached(sql).map_err(Error::sqlite("prepare"))?;
    statement.execute(parameters).map_err(Error::sqlite("write"))
}

fn one<T>(
    c: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    read: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>> {
    let mut statement = c.prepare_cached(sql).map_err(Error::sqlite("prepare"))?;
    statement.query_row(parameters, read).optional().map_err(Error::sqlite("read"))
}

fn all<T>(
    c: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>> {
    let mut statement = c.prepare_cached(sql).map_err(Error::sqlite("prepare"))?;
    let found = statement.query_map(parameters, read).map_err(Error::sqlite("read"))?;
    found.collect::<rusqlite::Result<_>>().map_err(Error::sqlite("read"))
}

fn strings(c: &Connection, sql: &str, parameters: impl rusqlite::Params) -> Result<Vec<String>> {
    all(c, sql, parameters, |row| row.get(0))
}

fn digest(text: &str) -> Result<Digest> {
    text.parse().map_err(|_| Error::Damaged { what: "a digest", value: text.to_owned() })
}

fn key(text: &str) -> Result<Key> {
    Key::parse(text).ok_or_else(|| Error::Damaged { what: "a key", value: text.to_owned() })
}

fn repository_id(c: &Connection, name: &str) -> Result<Option<i64>> {
    one(c, "SELECT id FROM repository WHERE name = ?1", [name], |row| row.get(0))
}

/// The repository's number; makes the repository if it is new.
fn make_repository(c: &Connection, name: &str) -> Result<i64> {
    if let Some(id) = repository_id(c, name)? {
        return Ok(id);
    }
    execute(c, "INSERT INTO repository (name) VALUES (?1)", [name])?;
    Ok(c.last_insert_rowid())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::contract;

    #[tokio::test]
    async fn keeps_the_contract() {
        let dir = tempfile::tempdir().unwrap();
        contract::run(&Sqlite::open(&dir.path().join("registry.db")).unwrap()).await;
    }
}
