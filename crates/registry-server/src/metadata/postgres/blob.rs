//! Blobs and the repositories' links to them.

use bytes::Bytes;
use dray_spec::Digest;

use super::pool::Session;
use super::{column, key, make_repository, repository_id, signed};
use crate::metadata::{Blob, Deleted, Error, Millis, Mounted, Place, Put, Quota, Result};
use crate::name::{Key, Repository};

pub(super) async fn find(
    session: &Session<'_>,
    repository: &Repository,
    digest: &Digest,
) -> Result<Option<Blob>> {
    let sql = "SELECT b.size, b.key, b.content, l.touched FROM repository r
               JOIN blob b ON b.digest = $2 JOIN link l ON l.repository = r.id AND l.blob = b.id
               WHERE r.name = $1";
    let Some(row) = session.one(sql, &[&repository.as_str(), &digest.as_str()]).await? else {
        return Ok(None);
    };
    let place = match column::<Option<String>>(&row, 1)? {
        Some(text) => Place::Stored(key(&text)?),
        None => Place::Inline(Bytes::from(column::<Option<Vec<u8>>>(&row, 2)?.unwrap_or_default())),
    };
    Ok(Some(Blob { size: column::<i64>(&row, 0)?.unsigned_abs(), place, touched: column(&row, 3)? }))
}

pub(super) async fn touch(
    session: &Session<'_>,
    repository: &Repository,
    digest: &Digest,
    now: Millis,
) -> Result<bool> {
    let sql = "UPDATE link SET touched = greatest(touched, $3)
               WHERE repository = (SELECT id FROM repository WHERE name = $1)
               AND blob = (SELECT id FROM blob WHERE digest = $2)";
    Ok(session.execute(sql, &[&repository.as_str(), &digest.as_str(), &now]).await? > 0)
}

pub(super) async fn mount(
    session: &Session<'_>,
    from: &Repository,
    to: &Repository,
    digest: &Digest,
    quotas: &[Quota],
    now: Millis,
) -> Result<Mounted> {
    let sql = "SELECT b.id, b.size FROM repository r JOIN blob b ON b.digest = $2
               JOIN link l ON l.repository = r.id AND l.blob = b.id WHERE r.name = $1";
    let Some(row) = session.one(sql, &[&from.as_str(), &digest.as_str()]).await? else {
        return Ok(Mounted::Missing);
    };
    let size = column::<i64>(&row, 1)?.unsigned_abs();
    let target = make_repository(session, to.as_str()).await?;
    Ok(match link(session, target, column(&row, 0)?, size, quotas, now).await? {
        None => Mounted::Mounted,
        Some(quota) => Mounted::OverQuota(quota),
    })
}

/// Gives the repository the blob. Says which quota forbids it; then nothing has been changed here.
pub(super) async fn link(
    session: &Session<'_>,
    repository: i64,
    blob: i64,
    size: u64,
    quotas: &[Quota],
    now: Millis,
) -> Result<Option<Quota>> {
    let known = "UPDATE link SET touched = greatest(touched, $3) WHERE repository = $1 AND blob = $2";
    if session.execute(known, &[&repository, &blob, &now]).await? > 0 {
        return Ok(None);
    }
    for quota in quotas {
        if held(session, &quota.prefix).await?.saturating_add(size) > quota.bytes {
            return Ok(Some(quota.clone()));
        }
    }
    let new =
        "WITH made AS (INSERT INTO link VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING repository)
               INSERT INTO growth SELECT repository, $4 FROM made";
    session.execute(new, &[&repository, &blob, &now, &signed(size)]).await?;
    Ok(None)
}

/// Bytes of the repositories under a prefix.
async fn held(session: &Session<'_>, prefix: &str) -> Result<u64> {
    let sql = "WITH r AS (SELECT id, bytes FROM repository
                          WHERE $1::text = '' OR name = $1 OR starts_with(name, $1 || '/'))
               SELECT (coalesce((SELECT sum(bytes) FROM r), 0)
                       + coalesce((SELECT sum(bytes) FROM growth WHERE repository IN (SELECT id FROM r)), 0))::bigint";
    let row = session.one(sql, &[&prefix]).await?;
    Ok(row.map_or(Ok(0), |row| column::<i64>(&row, 0))?.unsigned_abs())
}

pub(super) async fn unlink(
    session: &Session<'_>,
    repository: &Repository,
    digest: &Digest,
) -> Result<Deleted> {
    let Some(id) = repository_id(session, repository.as_str()).await? else { return Ok(Deleted::Missing) };
    let linked =
        "SELECT b.id FROM blob b JOIN link l ON l.blob = b.id WHERE l.repository = $1 AND b.digest = $2";
    let Some(row) = session.one(linked, &[&id, &digest.as_str()]).await? else {
        return Ok(Deleted::Missing);
    };
    let needed = "SELECT manifest FROM reference WHERE repository = $1 AND target = $2 LIMIT 1";
    if let Some(row) = session.one(needed, &[&id, &digest.as_str()]).await? {
        return Ok(Deleted::Needed(super::digest(&column::<String>(&row, 0)?)?));
    }
    let cut = "WITH cut AS (DELETE FROM link WHERE repository = $1 AND blob = $2 RETURNING repository, blob)
               INSERT INTO growth SELECT cut.repository, -b.size FROM cut JOIN blob b ON b.id = cut.blob";
    session.execute(cut, &[&id, &column::<i64>(&row, 0)?]).await?;
    Ok(Deleted::Deleted)
}

pub(super) async fn put_small(
    session: &Session<'_>,
    repository: &Repository,
    digest: &Digest,
    bytes: &[u8],
    quotas: &[Quota],
    now: Millis,
) -> Result<Put> {
    let blob = match id_of(session, digest).await? {
        Some(blob) => blob,
        None => {
            let sql = "INSERT INTO blob (digest, size, content) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
            session.execute(sql, &[&digest.as_str(), &signed(bytes.len() as u64), &bytes]).await?;
            made(id_of(session, digest).await?)?
        }
    };
    let repository = make_repository(session, repository.as_str()).await?;
    Ok(match link(session, repository, blob, bytes.len() as u64, quotas, now).await? {
        None => Put::Stored,
        // The blob without a link is collected.
        Some(quota) => Put::OverQuota(quota),
    })
}

pub(super) async fn id_of(session: &Session<'_>, digest: &Digest) -> Result<Option<i64>> {
    let row = session.one("SELECT id FROM blob WHERE digest = $1", &[&digest.as_str()]).await?;
    row.map(|row| column(&row, 0)).transpose()
}

/// What was made, or was there, a statement before; nobody collects meanwhile.
pub(super) fn made<T>(found: Option<T>) -> Result<T> {
    found.ok_or(Error::Damaged { what: "what was just made", value: String::new() })
}

/// Hands an object over to be removed from the storage.
pub(super) async fn discard(session: &Session<'_>, key: &Key, state: &[u8]) -> Result<()> {
    let sql = "INSERT INTO garbage VALUES ($1, $2) ON CONFLICT DO NOTHING";
    session.execute(sql, &[&key.as_str(), &state]).await.map(drop)
}
