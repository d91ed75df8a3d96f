//! What nothing needs any more: found, taken away, and handed to the storage's side of the collection.

use rusqlite::{Connection, params};

use super::blob::{cut, discard};
use super::manifest::remove;
use super::{all, execute, key, one};
use crate::metadata::{Collected, Cutoff, Garbage, Result, Usage};
use crate::name::Key;

pub(super) fn collect(c: &Connection, cutoff: &Cutoff, limit: i64) -> Result<Collected> {
    let mut collected = Collected::default();
    if let Some(before) = cutoff.untagged {
        collected.manifests = manifests(c, before, limit)?;
    }
    collected.links = links(c, cutoff.blobs, limit)?;
    (collected.blobs, collected.bytes) = blobs(c, limit)?;
    collected.uploads = uploads(c, cutoff.uploads, limit)?;
    collected.repositories = repositories(c, limit)?;
    Ok(collected)
}

/// Manifests without a tag that no index lists and whose subject, if they have one, is not there.
fn manifests(c: &Connection, before: i64, limit: i64) -> Result<u64> {
    let found = all(
        c,
        "SELECT m.repository, m.digest FROM manifest m WHERE m.pushed < ?1
         AND NOT EXISTS (SELECT 1 FROM tag t WHERE t.repository = m.repository AND t.digest = m.digest)
         AND NOT EXISTS (SELECT 1 FROM reference f WHERE f.repository = m.repository AND f.target = m.digest
                         AND f.manifest <> m.digest)
         AND NOT EXISTS (SELECT 1 FROM manifest s WHERE s.repository = m.repository AND s.digest = m.subject
                         AND s.digest <> m.digest)
         LIMIT ?2",
        [before, limit],
        |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)),
    )?;
    for (repository, digest) in &found {
        remove(c, *repository, digest)?;
    }
    Ok(found.len() as u64)
}

fn links(c: &Connection, before: i64, limit: i64) -> Result<u64> {
    let found = all(
        c,
        "SELECT l.repository, l.blob, b.size FROM link l JOIN blob b ON b.id = l.blob WHERE l.touched < ?1
         AND NOT EXISTS (SELECT 1 FROM reference f WHERE f.repository = l.repository AND f.target = b.digest)
         LIMIT ?2",
        [before, limit],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    for (repository, blob, size) in &found {
        cut(c, *repository, *blob, *size)?;
    }
    Ok(found.len() as u64)
}

fn blobs(c: &Connection, limit: i64) -> Result<(u64, u64)> {
    let found = all(
        c,
        "SELECT b.id, b.size, b.key FROM blob b
         WHERE NOT EXISTS (SELECT 1 FROM link l WHERE l.blob = b.id) LIMIT ?1",
        [limit],
        |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, Option<String>>(2)?)),
    )?;
    let mut bytes = 0;
    for (id, size, stored) in &found {
        execute(c, "DELETE FROM blob WHERE id = ?1", [id])?;
        if let Some(text) = stored {
            discard(c, &key(text)?, &[])?;
        }
        bytes += size.unsigned_abs();
    }
    Ok((found.len() as u64, bytes))
}

fn uploads(c: &Connection, before: i64, limit: i64) -> Result<u64> {
    let found =
        all(c, "SELECT id, key, state FROM upload WHERE updated < ?1 LIMIT ?2", [before, limit], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?, row.get::<_, Vec<u8>>(2)?))
        })?;
    for (id, stored, state) in &found {
        execute(c, "DELETE FROM upload WHERE id = ?1", [id])?;
        if let Some(text) = stored {
            discard(c, &key(text)?, state)?;
        }
    }
    Ok(found.len() as u64)
}

fn repositories(c: &Connection, limit: i64) -> Result<u64> {
    let changed = execute(
        c,
        "DELETE FROM repository WHERE id IN (SELECT id FROM repository r
         WHERE NOT EXISTS (SELECT 1 FROM link WHERE repository = r.id)
         AND NOT EXISTS (SELECT 1 FROM manifest WHERE repository = r.id) LIMIT ?1)",
        [limit],
    )?;
    Ok(changed as u64)
}

pub(super) fn garbage(c: &Connection, limit: i64) -> Result<Vec<Garbage>> {
    let found = all(c, "SELECT key, state FROM garbage LIMIT ?1", [limit], |row| {
        Ok((row.get::<_, String>(0)?, row.get(1)?))
    })?;
    found.into_iter().map(|(text, state)| Ok(Garbage { key: key(&text)?, state })).collect()
}

pub(super) fn forget(c: &Connection, keys: &[Key]) -> Result<()> {
    for key in keys {
        execute(c, "DELETE FROM garbage WHERE key = ?1", [key.as_str()])?;
    }
    Ok(())
}

pub(super) fn unknown(c: &Connection, keys: &[Key]) -> Result<Vec<Key>> {
    let sql =
        "SELECT EXISTS (SELECT 1 FROM blob WHERE key = ?1) OR EXISTS (SELECT 1 FROM upload WHERE key = ?1)
               OR EXISTS (SELECT 1 FROM garbage WHERE key = ?1)";
    let mut unknown = Vec::new();
    for key in keys {
        if one(c, sql, [key.as_str()], |row| row.get(0))? != Some(true) {
            unknown.push(key.clone());
        }
    }
    Ok(unknown)
}

pub(super) fn usage(c: &Connection, prefix: &str) -> Result<Usage> {
    let sql = "WITH r AS (SELECT id, bytes FROM repository
                          WHERE ?1 = '' OR name = ?1 OR substr(name, 1, length(?1) + 1) = ?1 || '/')
               SELECT (SELECT count(*) FROM r), (SELECT coalesce(sum(bytes), 0) FROM r),
                      (SELECT count(*) FROM manifest WHERE repository IN (SELECT id FROM r)),
                      (SELECT count(*) FROM tag WHERE repository IN (SELECT id FROM r))";
    let read = |row: &rusqlite::Row<'_>| {
        let column = |at| row.get::<_, i64>(at).map(i64::unsigned_abs);
        Ok(Usage { repositories: column(0)?, bytes: column(1)?, manifests: column(2)?, tags: column(3)? })
    };
    Ok(one(c, sql, params![prefix], read)?.unwrap_or_default())
}
