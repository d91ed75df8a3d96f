//! Manifests, the tags that name them, and what they refer to.

use bytes::Bytes;
use dray_spec::Digest;
use rusqlite::{Connection, Row, params};

use super::blob::link;
use super::{all, digest, execute, make_repository, one, repository_id, rows, signed};
use crate::metadata::{
    Deleted, Expect, Filter, NewManifest, Put, Referrer, Result, StoredManifest, TagRecord,
};
use crate::name::Repository;

const COLUMNS: &str = "m.digest, m.media_type, m.content";

pub(super) fn find(
    c: &Connection,
    repository: &Repository,
    wanted: &Digest,
) -> Result<Option<StoredManifest>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM repository r JOIN manifest m ON m.repository = r.id AND m.digest = ?2 WHERE r.name = ?1"
    );
    one(c, &sql, [repository.as_str(), wanted.as_str()], stored)?.map(checked).transpose()
}

pub(super) fn tagged(c: &Connection, repository: &Repository, tag: &str) -> Result<Option<StoredManifest>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM repository r JOIN tag t ON t.repository = r.id AND t.name = ?2
         JOIN manifest m ON m.repository = r.id AND m.digest = t.digest WHERE r.name = ?1"
    );
    one(c, &sql, [repository.as_str(), tag], stored)?.map(checked).transpose()
}

type Columns = (String, String, Vec<u8>);

fn stored(row: &Row<'_>) -> rusqlite::Result<Columns> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn checked((name, media_type, content): Columns) -> Result<StoredManifest> {
    Ok(StoredManifest { digest: digest(&name)?, media_type, content: Bytes::from(content) })
}

pub(super) fn put(c: &Connection, new: &NewManifest) -> Result<Put> {
    let repository = make_repository(c, new.repository.as_str())?;
    if let Some(refusal) = refusal(c, repository, new)? {
        return Ok(refusal);
    }
    let known = one(
        c,
        "SELECT 1 FROM manifest WHERE repository = ?1 AND digest = ?2",
        params![repository, new.digest.as_str()],
        |_| Ok(()),
    )?;
    match known {
        Some(()) => drop(execute(
            c,
            "UPDATE manifest SET media_type = ?3, pushed = ?4 WHERE repository = ?1 AND digest = ?2",
            params![repository, new.digest.as_str(), new.media_type, new.now],
        )?),
        None => insert(c, repository, new)?,
    }
    for tag in &new.tags {
        execute(
            c,
            "INSERT INTO tag VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET digest = excluded.digest, updated = excluded.updated",
            params![repository, tag, new.digest.as_str(), new.now],
        )?;
    }
    Ok(Put::Stored)
}

fn insert(c: &Connection, repository: i64, new: &NewManifest) -> Result<()> {
    execute(
        c,
        "INSERT INTO manifest VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            repository,
            new.digest.as_str(),
            new.media_type,
            &new.content[..],
            new.now,
            new.subject.as_ref().map(Digest::as_str),
            new.artifact_type,
            new.annotations
        ],
    )?;
    let blobs = new.blobs.iter().map(|(digest, _)| digest).chain(&new.optional_blobs);
    let targets =
        blobs.map(|digest| (digest, false)).chain(new.manifests.iter().map(|digest| (digest, true)));
    for (target, child) in targets {
        execute(
            c,
            "INSERT OR IGNORE INTO reference VALUES (?1, ?2, ?3, ?4)",
            params![repository, new.digest.as_str(), target.as_str(), child],
        )?;
    }
    Ok(())
}

/// Why it must not be stored, if there is a reason.
fn refusal(c: &Connection, repository: i64, new: &NewManifest) -> Result<Option<Put>> {
    let first = match new.tags.first() {
        Some(tag) => tag_of(c, repository, tag)?,
        None => exists(c, repository, &new.digest)?.then(|| new.digest.clone()),
    };
    let expected = match &new.expect {
        Expect::Anything => true,
        Expect::OneOf(digests) => first.as_ref().is_some_and(|digest| digests.contains(digest)),
        Expect::Present => first.is_some(),
        Expect::Absent => first.is_none(),
    };
    if !expected {
        return Ok(Some(Put::Unexpected));
    }
    for tag in &new.immutable {
        if tag_of(c, repository, tag)?.is_some_and(|digest| digest != new.digest) {
            return Ok(Some(Put::Immutable(tag.clone())));
        }
    }
    let mut missing = Vec::new();
    for (wanted, stated) in &new.blobs {
        match linked(c, repository, wanted)? {
            None => missing.push(wanted.clone()),
            Some((_, size)) if size != *stated => {
                return Ok(Some(Put::WrongSize { digest: wanted.clone(), actual: size, stated: *stated }));
            }
            // Its age counts from now, should the manifest be deleted.
            Some((blob, size)) => drop(link(c, repository, blob, size, &[], new.now)?),
        }
    }
    for child in &new.manifests {
        if !exists(c, repository, child)? {
            missing.push(child.clone());
        }
    }
    Ok((!missing.is_empty() && !new.sparse).then_some(Put::Missing(missing)))
}

fn exists(c: &Connection, repository: i64, wanted: &Digest) -> Result<bool> {
    let sql = "SELECT 1 FROM manifest WHERE repository = ?1 AND digest = ?2";
    Ok(one(c, sql, params![repository, wanted.as_str()], |_| Ok(()))?.is_some())
}

fn linked(c: &Connection, repository: i64, wanted: &Digest) -> Result<Option<(i64, u64)>> {
    one(
        c,
        "SELECT b.id, b.size FROM blob b JOIN link l ON l.blob = b.id AND l.repository = ?1 WHERE b.digest = ?2",
        params![repository, wanted.as_str()],
        |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())),
    )
}

fn tag_of(c: &Connection, repository: i64, tag: &str) -> Result<Option<Digest>> {
    let sql = "SELECT digest FROM tag WHERE repository = ?1 AND name = ?2";
    let text: Option<String> = one(c, sql, params![repository, tag], |row| row.get(0))?;
    text.as_deref().map(digest).transpose()
}

pub(super) fn delete(c: &Connection, repository: &Repository, wanted: &Digest) -> Result<Deleted> {
    let Some(id) = repository_id(c, repository.as_str())? else { return Ok(Deleted::Missing) };
    if !exists(c, id, wanted)? {
        return Ok(Deleted::Missing);
    }
    let index: Option<String> = one(
        c,
        "SELECT manifest FROM reference WHERE repository = ?1 AND target = ?2 AND child = 1 AND manifest <> ?2 LIMIT 1",
        params![id, wanted.as_str()],
        |row| row.get(0),
    )?;
    if let Some(index) = index {
        return Ok(Deleted::Needed(digest(&index)?));
    }
    remove(c, id, wanted.as_str())?;
    Ok(Deleted::Deleted)
}

/// Takes a manifest away; tags and references go with it.
pub(super) fn remove(c: &Connection, repository: i64, digest: &str) -> Result<()> {
    execute(c, "DELETE FROM manifest WHERE repository = ?1 AND digest = ?2", params![repository, digest])
        .map(drop)
}

pub(super) fn delete_tag(c: &Connection, repository: &Repository, tag: &str) -> Result<Deleted> {
    let Some(id) = repository_id(c, repository.as_str())? else { return Ok(Deleted::Missing) };
    let changed = execute(c, "DELETE FROM tag WHERE repository = ?1 AND name = ?2", params![id, tag])?;
    Ok(if changed > 0 { Deleted::Deleted } else { Deleted::Missing })
}

pub(super) fn expire_tag(c: &Connection, repository: &Repository, tag: &TagRecord) -> Result<Deleted> {
    let Some(id) = repository_id(c, repository.as_str())? else { return Ok(Deleted::Missing) };
    let sql = "DELETE FROM tag WHERE repository = ?1 AND name = ?2 AND digest = ?3 AND updated = ?4";
    let changed = execute(c, sql, params![id, tag.name, tag.digest.as_str(), tag.updated])?;
    Ok(if changed > 0 { Deleted::Deleted } else { Deleted::Missing })
}

pub(super) fn referrers(
    c: &Connection,
    repository: &Repository,
    subject: &Digest,
    filter: &Filter,
) -> Result<Vec<Referrer>> {
    let Some(id) = repository_id(c, repository.as_str())? else { return Ok(Vec::new()) };
    let found = all(
        c,
        "WITH entry AS (SELECT digest, media_type, length(content) AS size, artifact_type,
             CASE WHEN octet_length(annotations) <= ?6 THEN annotations END AS annotations FROM manifest
             WHERE repository = ?1 AND subject = ?2 AND digest > ?3
             AND (?4 IS NULL OR coalesce(artifact_type, '') = ?4) ORDER BY digest LIMIT ?5),
         place AS (SELECT digest, sum(coalesce(octet_length(annotations), 0))
             OVER (ORDER BY digest ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before FROM entry)
         SELECT digest, media_type, size, artifact_type, annotations FROM entry JOIN place USING (digest)
         WHERE coalesce(before, 0) <= ?6 ORDER BY digest",
        params![
            id,
            subject.as_str(),
            filter.after.as_deref().unwrap_or(""),
            filter.artifact_type,
            rows(filter.limit),
            signed(filter.bytes)
        ],
        |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get(1)?,
                row.get::<_, i64>(2)?.unsigned_abs(),
                row.get(3)?,
                row.get(4)?,
            ))
        },
    )?;
    let read = |(name, media_type, size, artifact_type, annotations): (String, _, _, _, _)| {
        Ok(Referrer { digest: digest(&name)?, media_type, size, artifact_type, annotations })
    };
    found.into_iter().map(read).collect()
}

pub(super) fn tag_records(c: &Connection, repository: &Repository) -> Result<Vec<TagRecord>> {
    let Some(id) = repository_id(c, repository.as_str())? else { return Ok(Vec::new()) };
    let sql = "SELECT name, digest, updated FROM tag WHERE repository = ?1 ORDER BY updated DESC, name DESC";
    let found = all(c, sql, [id], |row| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?)))?;
    found
        .into_iter()
        .map(|(name, of, updated)| Ok(TagRecord { name, digest: digest(&of)?, updated }))
        .collect()
}
