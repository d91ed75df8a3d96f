//! Blobs and the repositories' links to them.

use bytes::Bytes;
use dray_spec::Digest;
use rusqlite::{Connection, params};

use super::{execute, key, make_repository, one, repository_id, signed};
use crate::metadata::{Blob, Deleted, Millis, Mounted, Place, Put, Quota, Result};
use crate::name::{Key, Repository};

pub(super) fn find(c: &Connection, repository: &Repository, digest: &Digest) -> Result<Option<Blob>> {
    let found = one(
        c,
        "SELECT b.size, b.key, b.content, l.touched FROM repository r
         JOIN blob b ON b.digest = ?2 JOIN link l ON l.repository = r.id AND l.blob = b.id WHERE r.name = ?1",
        [repository.as_str(), digest.as_str()],
        |row| {
            let content: Option<Vec<u8>> = row.get(2)?;
            Ok((row.get::<_, i64>(0)?, row.get::<_, Option<String>>(1)?, content, row.get(3)?))
        },
    )?;
    let Some((size, stored, content, touched)) = found else { return Ok(None) };
    let place = match stored {
        Some(text) => Place::Stored(key(&text)?),
        None => Place::Inline(Bytes::from(content.unwrap_or_default())),
    };
    Ok(Some(Blob { size: size.unsigned_abs(), place, touched }))
}

pub(super) fn touch(c: &Connection, repository: &Repository, digest: &Digest, now: Millis) -> Result<bool> {
    let changed = execute(
        c,
        "UPDATE link SET touched = max(touched, ?3)
         WHERE repository = (SELECT id FROM repository WHERE name = ?1)
         AND blob = (SELECT id FROM blob WHERE digest = ?2)",
        params![repository.as_str(), digest.as_str(), now],
    )?;
    Ok(changed > 0)
}

pub(super) fn mount(
    c: &Connection,
    from: &Repository,
    to: &Repository,
    digest: &Digest,
    quotas: &[Quota],
    now: Millis,
) -> Result<Mounted> {
    let source = one(
        c,
        "SELECT b.id, b.size FROM repository r
         JOIN blob b ON b.digest = ?2 JOIN link l ON l.repository = r.id AND l.blob = b.id WHERE r.name = ?1",
        [from.as_str(), digest.as_str()],
        |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)),
    )?;
    let Some((blob, size)) = source else { return Ok(Mounted::Missing) };
    let target = make_repository(c, to.as_str())?;
    Ok(match link(c, target, blob, size.unsigned_abs(), quotas, now)? {
        None => Mounted::Mounted,
        Some(quota) => Mounted::OverQuota(quota),
    })
}

/// Gives the repository the blob. Says which quota forbids it; then the caller must take the transaction back or have
/// changed nothing that matters.
pub(super) fn link(
    c: &Connection,
    repository: i64,
    blob: i64,
    size: u64,
    quotas: &[Quota],
    now: Millis,
) -> Result<Option<Quota>> {
    let known = "UPDATE link SET touched = max(touched, ?3) WHERE repository = ?1 AND blob = ?2";
    if execute(c, known, params![repository, blob, now])? > 0 {
        return Ok(None);
    }
    for quota in quotas {
        if held(c, &quota.prefix)?.saturating_add(size) > quota.bytes {
            return Ok(Some(quota.clone()));
        }
    }
    execute(c, "INSERT INTO link VALUES (?1, ?2, ?3)", params![repository, blob, now])?;
    execute(c, "UPDATE repository SET bytes = bytes + ?2 WHERE id = ?1", params![repository, signed(size)])?;
    Ok(None)
}

/// Bytes of the repositories under a prefix.
fn held(c: &Connection, prefix: &str) -> Result<u64> {
    let sum: Option<i64> = one(
        c,
        "SELECT coalesce(sum(bytes), 0) FROM repository
         WHERE ?1 = '' OR name = ?1 OR substr(name, 1, length(?1) + 1) = ?1 || '/'",
        [prefix],
        |row| row.get(0),
    )?;
    Ok(sum.unwrap_or(0).unsigned_abs())
}

/// Takes the link away and gives its bytes back.
pub(super) fn cut(c: &Connection, repository: i64, blob: i64, size: i64) -> Result<()> {
    execute(c, "DELETE FROM link WHERE repository = ?1 AND blob = ?2", [repository, blob])?;
    execute(c, "UPDATE repository SET bytes = bytes - ?2 WHERE id = ?1", [repository, size])?;
    Ok(())
}

pub(super) fn unlink(c: &Connection, repository: &Repository, digest: &Digest) -> Result<Deleted> {
    let Some(id) = repository_id(c, repository.as_str())? else { return Ok(Deleted::Missing) };
    let linked = one(
        c,
        "SELECT b.id, b.size FROM blob b JOIN link l ON l.blob = b.id WHERE l.repository = ?1 AND b.digest = ?2",
        params![id, digest.as_str()],
        |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)),
    )?;
    let Some((blob, size)) = linked else { return Ok(Deleted::Missing) };
    let needed: Option<String> = one(
        c,
        "SELECT manifest FROM reference WHERE repository = ?1 AND target = ?2 LIMIT 1",
        params![id, digest.as_str()],
        |row| row.get(0),
    )?;
    if let Some(manifest) = needed {
        return Ok(Deleted::Needed(super::digest(&manifest)?));
    }
    cut(c, id, blob, size)?;
    Ok(Deleted::Deleted)
}

pub(super) fn put_small(
    c: &Connection,
    repository: &Repository,
    digest: &Digest,
    bytes: &[u8],
    quotas: &[Quota],
    now: Millis,
) -> Result<Put> {
    let blob = match id_of(c, digest)? {
        Some(blob) => blob,
        None => {
            let sql = "INSERT INTO blob (digest, size, content) VALUES (?1, ?2, ?3)";
            execute(c, sql, params![digest.as_str(), signed(bytes.len() as u64), bytes])?;
            c.last_insert_rowid()
        }
    };
    let repository = make_repository(c, repository.as_str())?;
    Ok(match link(c, repository, blob, bytes.len() as u64, quotas, now)? {
        None => Put::Stored,
        // The blob without a link is collected.
        Some(quota) => Put::OverQuota(quota),
    })
}

pub(super) fn id_of(c: &Connection, digest: &Digest) -> Result<Option<i64>> {
    one(c, "SELECT id FROM blob WHERE digest = ?1", [digest.as_str()], |row| row.get(0))
}

/// Hands an object over to be removed from the storage.
pub(super) fn discard(c: &Connection, key: &Key, state: &[u8]) -> Result<()> {
    execute(c, "INSERT OR IGNORE INTO garbage VALUES (?1, ?2)", params![key.as_str(), state]).map(drop)
}
