//! What is kept for other registries: when it was last asked for, and when it was last compared with theirs.

use dray_spec::Digest;
use rusqlite::{Connection, params};

use super::{all, digest, execute, one, repository_id, rows, strings};
use crate::metadata::{CachedManifest, Error, Millis, Result};
use crate::name::Repository;

pub(super) fn note_use(c: &Connection, repository: &Repository, used: &Digest, now: Millis) -> Result<()> {
    let sql = "INSERT INTO used SELECT m.repository, m.digest, ?3 FROM repository r
               JOIN manifest m ON m.repository = r.id AND m.digest = ?2 WHERE r.name = ?1
               ON CONFLICT DO UPDATE SET at = max(at, excluded.at)";
    execute(c, sql, params![repository.as_str(), used.as_str(), now]).map(drop)
}

pub(super) fn least_used(c: &Connection, before: Millis, limit: usize) -> Result<Vec<CachedManifest>> {
    let sql = "SELECT r.name, u.digest, u.at FROM used u JOIN repository r ON r.id = u.repository
               WHERE u.at < ?1 ORDER BY u.at, u.digest LIMIT ?2";
    let found = all(c, sql, [before, rows(limit)], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get(2)?))
    })?;
    let read = |(name, of, used): (String, String, Millis)| {
        let damaged = Error::Damaged { what: "a repository", value: name.clone() };
        Ok(CachedManifest {
            repository: Repository::parse(&name).ok_or(damaged)?,
            digest: digest(&of)?,
            used,
        })
    };
    found.into_iter().map(read).collect()
}

pub(super) fn note_check(c: &Connection, repository: &Repository, tag: &str, now: Millis) -> Result<()> {
    let sql = "INSERT INTO checked SELECT t.repository, t.name, ?3 FROM repository r
               JOIN tag t ON t.repository = r.id AND t.name = ?2 WHERE r.name = ?1
               ON CONFLICT DO UPDATE SET at = max(at, excluded.at)";
    execute(c, sql, params![repository.as_str(), tag, now]).map(drop)
}

pub(super) fn checked(c: &Connection, repository: &Repository, tag: &str) -> Result<Option<Millis>> {
    let sql = "SELECT c.at FROM repository r JOIN checked c ON c.repository = r.id AND c.name = ?2 WHERE r.name = ?1";
    one(c, sql, [repository.as_str(), tag], |row| row.get(0))
}

pub(super) fn unneeded(c: &Connection, repository: &Repository, limit: usize) -> Result<Vec<Digest>> {
    let Some(id) = repository_id(c, repository.as_str())? else { return Ok(Vec::new()) };
    let sql = "SELECT b.digest FROM link l JOIN blob b ON b.id = l.blob WHERE l.repository = ?1
               AND NOT EXISTS (SELECT 1 FROM reference f WHERE f.repository = l.repository AND f.target = b.digest)
               LIMIT ?2";
    strings(c, sql, params![id, rows(limit)])?.iter().map(|text| digest(text)).collect()
}
