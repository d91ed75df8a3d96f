//! Metadata in a PostgreSQL database: for several servers that share them.
//!
//! ```text
//! server ─┐                        ┌─ lock      who may be at work at the same time
//! server ─┼─► pool ─► transaction ─┤
//! server ─┘                        └─ SQL       one module per noun
//! ```
//! A transaction reads what is committed when each of its statements begins, under locks that keep what it has read
//! true until it ends ([`lock`] says which). The database is version 12 or later; nothing in it is an extension.

mod address;
mod blob;
mod cached;
mod collect;
mod lock;
mod manifest;
mod pool;
mod replication;
mod robot;
mod schema;
mod tls;
mod upload;

use async_trait::async_trait;
use bytes::Bytes;
use dray_spec::Digest;
use tokio_postgres::Row;
use tokio_postgres::types::FromSqlOwned;

use super::{
    Blob, CachedManifest, Collected, Cutoff, Deleted, Error, Expect, Filter, Garbage, Metadata, Millis,
    Mounted, NewManifest, Put, Quota, Referrer, Replication, ReplicationJob, Result, Robot, StoredManifest,
    TagRecord, Upload, Usage,
};
use crate::name::{Key, Repository, UploadId};
use address::Address;
use lock::Locks;
use pool::{Attempts, Durability, Pool, Session};

pub(super) use address::explained;
pub(super) use pool::{is_conflict, is_full, is_unavailable};

/// Metadata in a PostgreSQL database.
pub struct Postgres(Pool);

impl Postgres {
    /// Connects to the database and makes or migrates its tables. One that is just starting is waited for.
    ///
    /// # Errors
    /// The address is none, nobody answers there, or the tables are of a later version.
    pub async fn open(address: &str) -> Result<Self> {
        let pool = Pool::new(Address::parse(address)?);
        let mut attempts = Attempts::new();
        loop {
            let done = schema::migrate(&pool).await;
            match attempts.settle(done).await {
                Some(done) => return done.map(|()| Self(pool)),
                None => continue,
            }
        }
    }
}

/// Reads, again and again while the database is away.
macro_rules! query {
    ($self:ident, |$session:ident| $work:expr) => {{
        let mut attempts = Attempts::new();
        loop {
            let done = async {
                let $session = &$self.0.session().await?;
                $work.await
            };
            match attempts.settle(done.await).await {
                Some(done) => break done,
                None => continue,
            }
        }
    }};
}

/// Does something in a transaction under locks, again where it met a conflict or the database is away.
macro_rules! transact {
    ($self:ident, $durability:ident, $locks:expr, |$session:ident| $work:expr) => {{
        let (mut attempts, locks) = (Attempts::new(), $locks);
        loop {
            let done = async {
                let session = $self.0.begin(Durability::$durability, &locks).await?;
                let done = {
                    let $session = &session;
                    $work.await?
                };
                session.commit().await?;
                Ok(done)
            };
            match attempts.settle(done.await).await {
                Some(done) => break done,
                None => continue,
            }
        }
    }};
}

#[async_trait]
impl Metadata for Postgres {
    async fn repositories(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        let sql = "SELECT name FROM repository r WHERE name > $1
                   AND (EXISTS (SELECT 1 FROM link WHERE repository = r.id)
                        OR EXISTS (SELECT 1 FROM manifest WHERE repository = r.id))
                   ORDER BY name LIMIT $2";
        let after = after.unwrap_or("");
        query!(self, |session| strings(session, sql, &[&after, &rows(limit)]))
    }

    async fn tags(
        &self,
        repository: &Repository,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Option<Vec<String>>> {
        let sql = "SELECT name FROM tag WHERE repository = $1 AND name > $2 ORDER BY name LIMIT $3";
        let after = after.unwrap_or("");
        query!(self, |session| async {
            match repository_id(session, repository.as_str()).await? {
                Some(id) => strings(session, sql, &[&id, &after, &rows(limit)]).await.map(Some),
                None => Ok(None),
            }
        })
    }

    async fn has_repository(&self, repository: &Repository) -> Result<bool> {
        query!(self, |session| repository_id(session, repository.as_str())).map(|id| id.is_some())
    }

    async fn blob(&self, repository: &Repository, digest: &Digest) -> Result<Option<Blob>> {
        query!(self, |session| blob::find(session, repository, digest))
    }

    async fn touch(&self, repository: &Repository, digest: &Digest, now: Millis) -> Result<bool> {
        transact!(self, Relaxed, Locks::adding(), |session| blob::touch(session, repository, digest, now))
    }

    async fn holders(&self, digest: &Digest, limit: usize) -> Result<Vec<String>> {
        let sql =
            "SELECT r.name FROM blob b JOIN link l ON l.blob = b.id JOIN repository r ON r.id = l.repository
                   WHERE b.digest = $1 ORDER BY r.name LIMIT $2";
        query!(self, |session| strings(session, sql, &[&digest.as_str(), &rows(limit)]))
    }

    async fn mount(
        &self,
        from: &Repository,
        to: &Repository,
        digest: &Digest,
        quotas: &[Quota],
        now: Millis,
    ) -> Result<Mounted> {
        transact!(self, Full, Locks::adding_under(quotas), |session| blob::mount(
            session, from, to, digest, quotas, now
        ))
    }

    async fn unlink(&self, repository: &Repository, digest: &Digest) -> Result<Deleted> {
        transact!(self, Full, Locks::taking(repository), |session| blob::unlink(session, repository, digest))
    }

    async fn put_small(
        &self,
        repository: &Repository,
        digest: &Digest,
        bytes: Bytes,
        quotas: &[Quota],
        now: Millis,
    ) -> Result<Put> {
        transact!(self, Full, Locks::adding_under(quotas), |session| blob::put_small(
            session, repository, digest, &bytes, quotas, now
        ))
    }

    async fn begin_upload(&self, upload: &Upload) -> Result<()> {
        transact!(self, Relaxed, Locks::adding(), |session| upload::begin(session, upload))
    }

    async fn upload(&self, repository: &Repository, id: &UploadId) -> Result<Option<Upload>> {
        query!(self, |session| upload::find(session, repository, id))
    }

    async fn advance_upload(&self, upload: &Upload, from: u64) -> Result<bool> {
        transact!(self, Relaxed, Locks::adding(), |session| upload::advance(session, upload, from))
    }

    async fn commit_upload(
        &self,
        upload: &Upload,
        digest: &Digest,
        quotas: &[Quota],
        now: Millis,
    ) -> Result<Put> {
        transact!(self, Full, Locks::adding_under(quotas), |session| upload::commit(
            session, upload, digest, quotas, now
        ))
    }

    async fn cancel_upload(&self, repository: &Repository, id: &UploadId) -> Result<bool> {
        transact!(self, Full, Locks::adding(), |session| upload::cancel(session, repository, id))
    }

    async fn put_manifest(&self, manifest: &NewManifest) -> Result<Put> {
        let depends = manifest.expect != Expect::Anything || !manifest.immutable.is_empty();
        let locks = match depends {
            true => Locks::taking(&manifest.repository),
            false => Locks::storing(&manifest.repository),
        };
        transact!(self, Full, locks, |session| manifest::put(session, manifest))
    }

    async fn manifest(&self, repository: &Repository, digest: &Digest) -> Result<Option<StoredManifest>> {
        query!(self, |session| manifest::find(session, repository, digest))
    }

    async fn tagged(&self, repository: &Repository, tag: &str) -> Result<Option<StoredManifest>> {
        query!(self, |session| manifest::tagged(session, repository, tag))
    }

    async fn delete_manifest(&self, repository: &Repository, digest: &Digest) -> Result<Deleted> {
        transact!(self, Full, Locks::taking(repository), |session| manifest::delete(
            session, repository, digest
        ))
    }

    async fn delete_tag(&self, repository: &Repository, tag: &str) -> Result<Deleted> {
        transact!(self, Full, Locks::taking(repository), |session| manifest::delete_tag(
            session, repository, tag
        ))
    }

    async fn expire_tag(&self, repository: &Repository, tag: &TagRecord) -> Result<Deleted> {
        transact!(self, Full, Locks::taking(repository), |session| manifest::expire_tag(
            session, repository, tag
        ))
    }

    async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
        filter: &Filter,
    ) -> Result<Vec<Referrer>> {
        query!(self, |session| manifest::referrers(session, repository, subject, filter))
    }

    async fn tag_records(&self, repository: &Repository) -> Result<Vec<TagRecord>> {
        query!(self, |session| manifest::tag_records(session, repository))
    }

    async fn collect(&self, cutoff: &Cutoff, limit: usize) -> Result<Collected> {
        let found = query!(self, |session| collect::find(session, cutoff, limit))?;
        if found.is_empty() {
            return Ok(Collected::default());
        }
        transact!(self, Full, Locks::alone(), |session| collect::remove(session, &found, cutoff))
    }

    async fn garbage(&self, limit: usize) -> Result<Vec<Garbage>> {
        query!(self, |session| collect::garbage(session, limit))
    }

    async fn forget_garbage(&self, keys: &[Key]) -> Result<()> {
        transact!(self, Relaxed, Locks::adding(), |session| collect::forget(session, keys))
    }

    async fn unknown_keys(&self, keys: &[Key]) -> Result<Vec<Key>> {
        query!(self, |session| collect::unknown(session, keys))
    }

    async fn note_use(&self, repository: &Repository, digest: &Digest, now: Millis) -> Result<()> {
        transact!(self, Relaxed, Locks::storing(repository), |session| cached::note_use(
            session, repository, digest, now
        ))
    }

    async fn least_used(&self, before: Millis, limit: usize) -> Result<Vec<CachedManifest>> {
        query!(self, |session| cached::least_used(session, before, limit))
    }

    async fn note_check(&self, repository: &Repository, tag: &str, now: Millis) -> Result<()> {
        transact!(self, Relaxed, Locks::storing(repository), |session| cached::note_check(
            session, repository, tag, now
        ))
    }

    async fn checked(&self, repository: &Repository, tag: &str) -> Result<Option<Millis>> {
        query!(self, |session| cached::checked(session, repository, tag))
    }

    async fn unneeded(&self, repository: &Repository, limit: usize) -> Result<Vec<Digest>> {
        query!(self, |session| cached::unneeded(session, repository, limit))
    }

    async fn mark_replication(&self, target: &str, repository: &Repository, now: Millis) -> Result<()> {
        transact!(self, Full, Locks::adding(), |session| replication::mark(session, target, repository, now))
    }

    async fn claim_replication(
        &self,
        target: &str,
        now: Millis,
        until: Millis,
    ) -> Result<Option<ReplicationJob>> {
        transact!(self, Relaxed, Locks::adding(), |session| replication::claim(session, target, now, until))
    }

    async fn keep_replication(&self, job: &ReplicationJob, until: Millis) -> Result<()> {
        transact!(self, Relaxed, Locks::adding(), |session| replication::keep(session, job, until))
    }

    async fn end_replication(&self, job: &ReplicationJob, now: Millis) -> Result<()> {
        transact!(self, Full, Locks::adding(), |session| replication::end(session, job, now))
    }

    async fn fail_replication(&self, job: &ReplicationJob, error: &str, due: Millis) -> Result<()> {
        transact!(self, Full, Locks::adding(), |session| replication::fail(session, job, error, due))
    }

    async fn replications(&self) -> Result<Vec<Replication>> {
        query!(self, |session| replication::list(session))
    }

    async fn usage(&self, prefix: &str) -> Result<Usage> {
        query!(self, |session| collect::usage(session, prefix))
    }

    async fn put_robot(&self, robot: &Robot) -> Result<()> {
        transact!(self, Full, Locks::adding(), |session| robot::put(session, robot))
    }

    async fn robot(&self, name: &str) -> Result<Option<Robot>> {
        query!(self, |session| robot::list(session, Some(name))).map(|mut found| found.pop())
    }

    async fn robots(&self) -> Result<Vec<Robot>> {
        query!(self, |session| robot::list(session, None))
    }

    async fn remove_robot(&self, name: &str) -> Result<bool> {
        let sql = "DELETE FROM robot WHERE name = $1";
        transact!(self, Full, Locks::adding(), |session| session.execute(sql, &[&name])).map(|gone| gone > 0)
    }

    async fn shared(&self, name: &str, fresh: &[u8]) -> Result<Vec<u8>> {
        let make = "INSERT INTO shared VALUES ($1, $2) ON CONFLICT DO NOTHING";
        transact!(self, Full, Locks::adding(), |session| session.execute(make, &[&name, &fresh]))?;
        let find = "SELECT value FROM shared WHERE name = $1";
        let row = query!(self, |session| session.one(find, &[&name]))?;
        let row = row.ok_or(Error::Damaged { what: "a shared value", value: String::new() })?;
        column(&row, 0)
    }

    /// Once: who asks wants to know how it is now.
    async fn check(&self) -> Result<()> {
        let session = self.0.begin(Durability::Relaxed, &Locks::adding()).await?;
        session.execute("DELETE FROM shared WHERE name = 'check'", &[]).await?;
        session.commit().await
    }
}

/// A limit as the database takes it.
fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// A size as the database takes it.
fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn column<T: FromSqlOwned>(row: &Row, at: usize) -> Result<T> {
    row.try_get(at).map_err(pool::failed("read a column"))
}

async fn strings(session: &Session<'_>, sql: &'static str, values: pool::Values<'_>) -> Result<Vec<String>> {
    session.all(sql, values).await?.iter().map(|row| column(row, 0)).collect()
}

fn digest(text: &str) -> Result<Digest> {
    text.parse().map_err(|_| Error::Damaged { what: "a digest", value: text.to_owned() })
}

fn key(text: &str) -> Result<Key> {
    Key::parse(text).ok_or_else(|| Error::Damaged { what: "a key", value: text.to_owned() })
}

async fn repository_id(session: &Session<'_>, name: &str) -> Result<Option<i64>> {
    let row = session.one("SELECT id FROM repository WHERE name = $1", &[&name]).await?;
    row.map(|row| column(&row, 0)).transpose()
}

/// The repository's number; makes the repository if it is new.
async fn make_repository(session: &Session<'_>, name: &str) -> Result<i64> {
    if let Some(id) = repository_id(session, name).await? {
        return Ok(id);
    }
    session.execute("INSERT INTO repository (name) VALUES ($1) ON CONFLICT DO NOTHING", &[&name]).await?;
    blob::made(repository_id(session, name).await?)
}

#[cfg(test)]
mod tests;
