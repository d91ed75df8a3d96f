//! Uploads: begun, moved on, and ended in a blob or in nothing.

use bytes::Bytes;
use dray_spec::Digest;
use rusqlite::{Connection, params};

use super::blob::{discard, id_of, link, put_small};
use super::{execute, key, make_repository, one, signed};
use crate::metadata::{Millis, Put, Quota, Result, Upload};
use crate::name::{Key, Repository, UploadId};

pub(super) fn begin(c: &Connection, upload: &Upload) -> Result<()> {
    execute(
        c,
        "INSERT INTO upload VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            upload.id.as_str(),
            upload.repository.as_str(),
            signed(upload.offset),
            upload.hasher,
            &upload.buffer[..],
            upload.key.as_ref().map(Key::as_str),
            upload.state,
            upload.updated
        ],
    )
    .map(drop)
}

pub(super) fn find(c: &Connection, repository: &Repository, id: &UploadId) -> Result<Option<Upload>> {
    let found = one(
        c,
        "SELECT offset, hasher, buffer, key, state, updated FROM upload WHERE id = ?1 AND repository = ?2",
        [id.as_str(), repository.as_str()],
        |row| {
            let upload = Upload {
                id: id.clone(),
                repository: repository.clone(),
                offset: row.get::<_, i64>(0)?.unsigned_abs(),
                hasher: row.get(1)?,
                buffer: Bytes::from(row.get::<_, Vec<u8>>(2)?),
                key: None,
                state: row.get(4)?,
                updated: row.get(5)?,
            };
            Ok((upload, row.get::<_, Option<String>>(3)?))
        },
    )?;
    let Some((upload, stored)) = found else { return Ok(None) };
    Ok(Some(Upload { key: stored.as_deref().map(key).transpose()?, ..upload }))
}

pub(super) fn advance(c: &Connection, upload: &Upload, from: u64) -> Result<bool> {
    let next = upload.key.as_ref().map(Key::as_str);
    let former: Option<Option<String>> =
        one(c, "SELECT key FROM upload WHERE id = ?1", [upload.id.as_str()], |row| row.get(0))?;
    let changed = execute(
        c,
        "UPDATE upload SET offset = ?3, hasher = ?4, buffer = ?5, key = ?6, state = ?7, updated = ?8
         WHERE id = ?1 AND offset = ?2
         AND (key IS NULL OR key = ?6 OR (state = x'' AND length(buffer) = offset))",
        params![
            upload.id.as_str(),
            signed(from),
            signed(upload.offset),
            upload.hasher,
            &upload.buffer[..],
            next,
            upload.state,
            upload.updated
        ],
    )?;
    if changed == 0 {
        return Ok(false);
    }
    if let Some(former) = former.flatten().filter(|former| Some(former.as_str()) != next) {
        discard(c, &key(&former)?, &[])?;
    }
    Ok(true)
}

pub(super) fn commit(
    c: &Connection,
    upload: &Upload,
    digest: &Digest,
    quotas: &[Quota],
    now: Millis,
) -> Result<Put> {
    let stored = upload.key.as_ref().map(Key::as_str);
    if execute(c, "DELETE FROM upload WHERE id = ?1 AND key IS ?2", params![upload.id.as_str(), stored])? == 0
    {
        return Ok(Put::Gone);
    }
    let Some(key) = &upload.key else {
        return put_small(c, &upload.repository, digest, &upload.buffer, quotas, now);
    };
    let blob = match id_of(c, digest)? {
        Some(blob) => {
            discard(c, key, &upload.state)?;
            blob
        }
        None => {
            let sql = "INSERT INTO blob (digest, size, key) VALUES (?1, ?2, ?3)";
            execute(c, sql, params![digest.as_str(), signed(upload.offset), key.as_str()])?;
            c.last_insert_rowid()
        }
    };
    let repository = make_repository(c, upload.repository.as_str())?;
    Ok(match link(c, repository, blob, upload.offset, quotas, now)? {
        None => Put::Stored,
        Some(quota) => Put::OverQuota(quota),
    })
}

pub(super) fn cancel(c: &Connection, repository: &Repository, id: &UploadId) -> Result<bool> {
    let Some(upload) = find(c, repository, id)? else { return Ok(false) };
    execute(c, "DELETE FROM upload WHERE id = ?1", [id.as_str()])?;
    if let Some(key) = &upload.key {
        discard(c, key, &upload.state)?;
    }
    Ok(true)
}
