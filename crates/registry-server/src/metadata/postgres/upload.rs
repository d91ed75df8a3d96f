//! Uploads: begun, moved on, and ended in a blob or in nothing.

use bytes::Bytes;
use dray_spec::Digest;

use super::blob::{discard, id_of, link, made, put_small};
use super::pool::Session;
use super::{column, key, make_repository, signed};
use crate::metadata::{Millis, Put, Quota, Result, Upload};
use crate::name::{Key, Repository, UploadId};

pub(super) async fn begin(session: &Session<'_>, upload: &Upload) -> Result<()> {
    let sql = "INSERT INTO upload VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let key = upload.key.as_ref().map(Key::as_str);
    let (id, repository) = (upload.id.as_str(), upload.repository.as_str());
    let (received, buffer) = (signed(upload.offset), &upload.buffer[..]);
    session
        .execute(
            sql,
            &[&id, &repository, &received, &upload.hasher, &buffer, &key, &upload.state, &upload.updated],
        )
        .await
        .map(drop)
}

pub(super) async fn find(
    session: &Session<'_>,
    repository: &Repository,
    id: &UploadId,
) -> Result<Option<Upload>> {
    let sql =
        "SELECT received, hasher, buffer, key, state, updated FROM upload WHERE id = $1 AND repository = $2";
    let Some(row) = session.one(sql, &[&id.as_str(), &repository.as_str()]).await? else { return Ok(None) };
    Ok(Some(Upload {
        id: id.clone(),
        repository: repository.clone(),
        offset: column::<i64>(&row, 0)?.unsigned_abs(),
        hasher: column(&row, 1)?,
        buffer: Bytes::from(column::<Vec<u8>>(&row, 2)?),
        key: column::<Option<String>>(&row, 3)?.as_deref().map(key).transpose()?,
        state: column(&row, 4)?,
        updated: column(&row, 5)?,
    }))
}

pub(super) async fn advance(session: &Session<'_>, upload: &Upload, from: u64) -> Result<bool> {
    // The former key is read under the lock of its row: it is that of the row which is changed.
    let sql = "UPDATE upload u SET received = $3, hasher = $4, buffer = $5, key = $6, state = $7, updated = $8
               FROM (SELECT id, key FROM upload WHERE id = $1 FOR UPDATE) former
               WHERE u.id = former.id AND u.received = $2
               AND (u.key IS NULL OR u.key = $6 OR (u.state = ''::bytea AND octet_length(u.buffer) = u.received))
               RETURNING former.key";
    let next = upload.key.as_ref().map(Key::as_str);
    let (buffer, id) = (&upload.buffer[..], upload.id.as_str());
    let row = session
        .one(
            sql,
            &[
                &id,
                &signed(from),
                &signed(upload.offset),
                &upload.hasher,
                &buffer,
                &next,
                &upload.state,
                &upload.updated,
            ],
        )
        .await?;
    let Some(row) = row else { return Ok(false) };
    if let Some(former) = column::<Option<String>>(&row, 0)?.filter(|former| Some(former.as_str()) != next) {
        discard(session, &key(&former)?, &[]).await?;
    }
    Ok(true)
}

pub(super) async fn commit(
    session: &Session<'_>,
    upload: &Upload,
    digest: &Digest,
    quotas: &[Quota],
    now: Millis,
) -> Result<Put> {
    let stored = upload.key.as_ref().map(Key::as_str);
    let sql = "DELETE FROM upload WHERE id = $1 AND key IS NOT DISTINCT FROM $2::text";
    if session.execute(sql, &[&upload.id.as_str(), &stored]).await? == 0 {
        return Ok(Put::Gone);
    }
    let Some(key) = &upload.key else {
        return put_small(session, &upload.repository, digest, &upload.buffer, quotas, now).await;
    };
    let sql = "INSERT INTO blob (digest, size, key) VALUES ($1, $2, $3) ON CONFLICT (digest) DO NOTHING";
    if session.execute(sql, &[&digest.as_str(), &signed(upload.offset), &key.as_str()]).await? == 0 {
        discard(session, key, &upload.state).await?;
    }
    let blob = made(id_of(session, digest).await?)?;
    let repository = make_repository(session, upload.repository.as_str()).await?;
    Ok(match link(session, repository, blob, upload.offset, quotas, now).await? {
        None => Put::Stored,
        Some(quota) => Put::OverQuota(quota),
    })
}

pub(super) async fn cancel(session: &Session<'_>, repository: &Repository, id: &UploadId) -> Result<bool> {
    let sql = "DELETE FROM upload WHERE id = $1 AND repository = $2 RETURNING key, state";
    let Some(row) = session.one(sql, &[&id.as_str(), &repository.as_str()]).await? else { return Ok(false) };
    if let Some(text) = column::<Option<String>>(&row, 0)? {
        discard(session, &key(&text)?, &column::<Vec<u8>>(&row, 1)?).await?;
    }
    Ok(true)
}
