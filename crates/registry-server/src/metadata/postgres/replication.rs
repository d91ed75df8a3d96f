//! Copies at other registries: which are due, who is at them, and how they ended.

use dray_spec::Digest;
use tokio_postgres::Row;

use super::pool::Session;
use super::{column, digest};
use crate::metadata::{Error, Millis, Replication, ReplicationJob, Result};
use crate::name::Repository;

pub(super) async fn mark(
    session: &Session<'_>,
    target: &str,
    repository: &Repository,
    now: Millis,
) -> Result<()> {
    let sql = "INSERT INTO replication AS r (target, repository, generation, due, claimed, attempts)
               VALUES ($1, $2, 1, $3, 0, 0)
               ON CONFLICT (target, repository)
               DO UPDATE SET generation = r.generation + 1, due = coalesce(r.due, excluded.due)";
    session.execute(sql, &[&target, &repository.as_str(), &now]).await.map(drop)
}

pub(super) async fn claim(
    session: &Session<'_>,
    target: &str,
    now: Millis,
    until: Millis,
) -> Result<Option<ReplicationJob>> {
    let sql = "UPDATE replication SET claimed = $3 WHERE target = $1 AND repository = (
                   SELECT repository FROM replication WHERE target = $1 AND due <= $2 AND claimed < $2
                   ORDER BY due, repository LIMIT 1 FOR UPDATE SKIP LOCKED)
               RETURNING repository, generation, attempts, upload_digest, upload_location";
    let Some(row) = session.one(sql, &[&target, &now, &until]).await? else { return Ok(None) };
    let upload = match (column::<Option<String>>(&row, 3)?, column::<Option<String>>(&row, 4)?) {
        (Some(of), Some(location)) => Some((digest(&of)?, location)),
        _ => None,
    };
    Ok(Some(ReplicationJob {
        target: target.to_owned(),
        repository: parsed(&column::<String>(&row, 0)?)?,
        generation: column(&row, 1)?,
        attempts: attempts(&row, 2)?,
        upload,
    }))
}

fn parsed(name: &str) -> Result<Repository> {
    Repository::parse(name).ok_or_else(|| Error::Damaged { what: "a repository", value: name.to_owned() })
}

fn attempts(row: &Row, at: usize) -> Result<u32> {
    Ok(u32::try_from(column::<i64>(row, at)?).unwrap_or(u32::MAX))
}

pub(super) async fn keep(session: &Session<'_>, job: &ReplicationJob, until: Millis) -> Result<()> {
    let sql = "UPDATE replication SET claimed = $3, upload_digest = $4, upload_location = $5
               WHERE target = $1 AND repository = $2";
    let (of, location) = (
        job.upload.as_ref().map(|(digest, _)| Digest::as_str(digest)),
        job.upload.as_ref().map(|(_, location)| location),
    );
    session.execute(sql, &[&job.target, &job.repository.as_str(), &until, &of, &location]).await.map(drop)
}

pub(super) async fn end(session: &Session<'_>, job: &ReplicationJob, now: Millis) -> Result<()> {
    let sql = "UPDATE replication SET claimed = 0, attempts = 0, error = NULL, synced = $3::bigint,
                   upload_digest = NULL, upload_location = NULL,
                   due = CASE WHEN generation = $4 THEN NULL ELSE $3::bigint END
               WHERE target = $1 AND repository = $2";
    session.execute(sql, &[&job.target, &job.repository.as_str(), &now, &job.generation]).await.map(drop)
}

pub(super) async fn fail(
    session: &Session<'_>,
    job: &ReplicationJob,
    error: &str,
    due: Millis,
) -> Result<()> {
    let sql = "UPDATE replication SET claimed = 0, attempts = attempts + 1, error = $3, due = $4
               WHERE target = $1 AND repository = $2";
    session.execute(sql, &[&job.target, &job.repository.as_str(), &error, &due]).await.map(drop)
}

pub(super) async fn list(session: &Session<'_>) -> Result<Vec<Replication>> {
    let sql = "SELECT target, repository, due, attempts, error, synced FROM replication ORDER BY target, repository";
    let read = |row: &Row| {
        Ok(Replication {
            target: column(row, 0)?,
            repository: parsed(&column::<String>(row, 1)?)?,
            due: column(row, 2)?,
            attempts: attempts(row, 3)?,
            error: column(row, 4)?,
            synced: column(row, 5)?,
        })
    };
    session.all(sql, &[]).await?.iter().map(read).collect()
}
