//! Copies at other registries: which are due, who is at them, and how they ended.

use dray_spec::Digest;
use rusqlite::{Connection, params};

use super::{all, digest, execute, one};
use crate::metadata::{Error, Millis, Replication, ReplicationJob, Result};
use crate::name::Repository;

pub(super) fn mark(c: &Connection, target: &str, repository: &Repository, now: Millis) -> Result<()> {
    let sql = "INSERT INTO replication (target, repository, generation, due, claimed, attempts)
               VALUES (?1, ?2, 1, ?3, 0, 0)
               ON CONFLICT DO UPDATE SET generation = generation + 1, due = coalesce(due, excluded.due)";
    execute(c, sql, params![target, repository.as_str(), now]).map(drop)
}

pub(super) fn claim(
    c: &Connection,
    target: &str,
    now: Millis,
    until: Millis,
) -> Result<Option<ReplicationJob>> {
    let sql = "UPDATE replication SET claimed = ?3 WHERE target = ?1 AND repository = (
                   SELECT repository FROM replication WHERE target = ?1 AND due <= ?2 AND claimed < ?2
                   ORDER BY due, repository LIMIT 1)
               RETURNING repository, generation, attempts, upload_digest, upload_location";
    let found = one(c, sql, params![target, now, until], |row| {
        let upload = (row.get::<_, Option<String>>(3)?, row.get::<_, Option<String>>(4)?);
        Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?, upload))
    })?;
    let Some((name, generation, attempts, upload)) = found else { return Ok(None) };
    let upload = match upload {
        (Some(of), Some(location)) => Some((digest(&of)?, location)),
        _ => None,
    };
    let repository = parsed(&name)?;
    Ok(Some(ReplicationJob { target: target.to_owned(), repository, generation, attempts, upload }))
}

fn parsed(name: &str) -> Result<Repository> {
    Repository::parse(name).ok_or_else(|| Error::Damaged { what: "a repository", value: name.to_owned() })
}

pub(super) fn keep(c: &Connection, job: &ReplicationJob, until: Millis) -> Result<()> {
    let sql = "UPDATE replication SET claimed = ?3, upload_digest = ?4, upload_location = ?5
               WHERE target = ?1 AND repository = ?2";
    let (of, location) = (
        job.upload.as_ref().map(|(digest, _)| Digest::as_str(digest)),
        job.upload.as_ref().map(|(_, location)| location),
    );
    execute(c, sql, params![job.target, job.repository.as_str(), until, of, location]).map(drop)
}

pub(super) fn end(c: &Connection, job: &ReplicationJob, now: Millis) -> Result<()> {
    let sql = "UPDATE replication SET claimed = 0, attempts = 0, error = NULL, synced = ?3,
                   upload_digest = NULL, upload_location = NULL,
                   due = CASE WHEN generation = ?4 THEN NULL ELSE ?3 END
               WHERE target = ?1 AND repository = ?2";
    execute(c, sql, params![job.target, job.repository.as_str(), now, job.generation]).map(drop)
}

pub(super) fn fail(c: &Connection, job: &ReplicationJob, error: &str, due: Millis) -> Result<()> {
    let sql = "UPDATE replication SET claimed = 0, attempts = attempts + 1, error = ?3, due = ?4
               WHERE target = ?1 AND repository = ?2";
    execute(c, sql, params![job.target, job.repository.as_str(), error, due]).map(drop)
}

pub(super) fn list(c: &Connection) -> Result<Vec<Replication>> {
    let sql = "SELECT target, repository, due, attempts, error, synced FROM replication ORDER BY target, repository";
    let found = all(c, sql, [], |row| {
        Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
    })?;
    let read = |(target, name, due, attempts, error, synced): (_, String, _, _, _, _)| {
        Ok(Replication { target, repository: parsed(&name)?, due, attempts, error, synced })
    };
    found.into_iter().map(read).collect()
}
