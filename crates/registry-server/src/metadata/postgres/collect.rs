//! What nothing needs any more: found, taken away, and handed to the storage's side of the collection.
//!
//! It is looked for without any lock, since that may take a while; then, alone, those that were found are looked at
//! again and taken away.

use tokio_postgres::Row;

use super::pool::Session;
use super::{column, key, rows};
use crate::metadata::{Collected, Cutoff, Garbage, Result, Usage};
use crate::name::Key;

/// What may be taken away.
#[derive(Default)]
pub(super) struct Candidates {
    manifests: Vec<(i64, String)>,
    links: Vec<(i64, i64)>,
    blobs: Vec<i64>,
    uploads: Vec<String>,
    repositories: Vec<i64>,
    grown: bool,
}

impl Candidates {
    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.manifests.is_empty()
            && self.links.is_empty()
            && self.blobs.is_empty()
            && self.uploads.is_empty()
            && self.repositories.is_empty()
            && !self.grown
    }
}

/// Nothing needs it: a manifest without a tag that no index lists and whose subject, if it has one, is not there.
macro_rules! needless_manifest {
    () => {
        "NOT EXISTS (SELECT 1 FROM tag t WHERE t.repository = m.repository AND t.digest = m.digest)
         AND NOT EXISTS (SELECT 1 FROM reference f WHERE f.repository = m.repository AND f.target = m.digest
                         AND f.manifest <> m.digest)
         AND NOT EXISTS (SELECT 1 FROM manifest s WHERE s.repository = m.repository AND s.digest = m.subject
                         AND s.digest <> m.digest)"
    };
}

/// Nothing needs it: a link whose blob no manifest of the repository refers to.
macro_rules! needless_link {
    () => {
        "NOT EXISTS (SELECT 1 FROM reference f JOIN blob b ON b.digest = f.target
                     WHERE f.repository = l.repository AND b.id = l.blob)"
    };
}

macro_rules! empty_repository {
    () => {
        "NOT EXISTS (SELECT 1 FROM link WHERE repository = r.id)
         AND NOT EXISTS (SELECT 1 FROM manifest WHERE repository = r.id)"
    };
}

/// Looks for what may be taken away, at most `limit` of each kind.
pub(super) async fn find(session: &Session<'_>, cutoff: &Cutoff, limit: usize) -> Result<Candidates> {
    let limit = rows(limit);
    let manifests = concat!(
        "SELECT m.repository, m.digest FROM manifest m WHERE m.pushed < $1 AND ",
        needless_manifest!(),
        " LIMIT $2"
    );
    let links = concat!(
        "SELECT l.repository, l.blob FROM link l WHERE l.touched < $1 AND ",
        needless_link!(),
        " LIMIT $2"
    );
    let blobs =
        "SELECT b.id FROM blob b WHERE NOT EXISTS (SELECT 1 FROM link l WHERE l.blob = b.id) LIMIT $1";
    let uploads = "SELECT id FROM upload WHERE updated < $1 LIMIT $2";
    let repositories = concat!("SELECT r.id FROM repository r WHERE ", empty_repository!(), " LIMIT $1");
    let pair = |row: &Row| Ok((column(row, 0)?, column(row, 1)?));
    let mut found = Candidates::default();
    if let Some(before) = cutoff.untagged {
        found.manifests =
            session.all(manifests, &[&before, &limit]).await?.iter().map(pair).collect::<Result<_>>()?;
    }
    let pair = |row: &Row| Ok((column(row, 0)?, column(row, 1)?));
    found.links =
        session.all(links, &[&cutoff.blobs, &limit]).await?.iter().map(pair).collect::<Result<_>>()?;
    found.blobs = firsts(&session.all(blobs, &[&limit]).await?)?;
    found.uploads = firsts(&session.all(uploads, &[&cutoff.uploads, &limit]).await?)?;
    found.repositories = firsts(&session.all(repositories, &[&limit]).await?)?;
    found.grown = session.one("SELECT 1::bigint FROM growth LIMIT 1", &[]).await?.is_some();
    Ok(found)
}

fn firsts<T: tokio_postgres::types::FromSqlOwned>(found: &[Row]) -> Result<Vec<T>> {
    found.iter().map(|row| column(row, 0)).collect()
}

/// Takes away those that nothing needs now either; the caller is alone.
pub(super) async fn remove(session: &Session<'_>, found: &Candidates, cutoff: &Cutoff) -> Result<Collected> {
    let manifests = concat!(
        "DELETE FROM manifest m USING unnest($1::bigint[], $2::text[]) AS c (repository, digest)
         WHERE m.repository = c.repository AND m.digest = c.digest AND m.pushed < $3 AND ",
        needless_manifest!()
    );
    let links = concat!(
        "WITH cut AS (
             DELETE FROM link l USING unnest($1::bigint[], $2::bigint[]) AS c (repository, blob)
             WHERE l.repository = c.repository AND l.blob = c.blob AND l.touched < $3 AND ",
        needless_link!(),
        " RETURNING l.repository, l.blob
         )
         INSERT INTO growth SELECT cut.repository, -b.size FROM cut JOIN blob b ON b.id = cut.blob"
    );
    let uploads = "WITH gone AS (
                       DELETE FROM upload WHERE id = ANY($1) AND updated < $2 RETURNING key, state
                   ), kept AS (
                       INSERT INTO garbage SELECT key, state FROM gone WHERE key IS NOT NULL ON CONFLICT DO NOTHING
                   )
                   SELECT count(*) FROM gone";
    let repositories = concat!("DELETE FROM repository r WHERE r.id = ANY($1) AND ", empty_repository!());
    let mut collected = Collected::default();
    if let Some(before) = cutoff.untagged {
        let (numbers, digests): (Vec<i64>, Vec<&str>) =
            found.manifests.iter().map(|(repository, digest)| (*repository, digest.as_str())).unzip();
        collected.manifests = session.execute(manifests, &[&numbers, &digests, &before]).await?;
    }
    let (numbers, blobs): (Vec<i64>, Vec<i64>) = found.links.iter().copied().unzip();
    collected.links = session.execute(links, &[&numbers, &blobs, &cutoff.blobs]).await?;
    (collected.blobs, collected.bytes) = remove_blobs(session, &found.blobs).await?;
    let row = session.one(uploads, &[&found.uploads, &cutoff.uploads]).await?;
    collected.uploads = row.map_or(Ok(0), |row| column::<i64>(&row, 0))?.unsigned_abs();
    // What is collected of a repository that goes is not added up any more.
    let fold = "WITH grown AS (DELETE FROM growth RETURNING repository, bytes),
                     sums AS (SELECT repository, sum(bytes)::bigint AS bytes FROM grown GROUP BY repository)
                UPDATE repository r SET bytes = r.bytes + sums.bytes FROM sums WHERE r.id = sums.repository";
    session.execute(fold, &[]).await?;
    collected.repositories = session.execute(repositories, &[&found.repositories]).await?;
    Ok(collected)
}

async fn remove_blobs(session: &Session<'_>, blobs: &[i64]) -> Result<(u64, u64)> {
    let sql = "WITH gone AS (
                   DELETE FROM blob b WHERE b.id = ANY($1)
                   AND NOT EXISTS (SELECT 1 FROM link l WHERE l.blob = b.id) RETURNING key, size
               ), kept AS (
                   INSERT INTO garbage SELECT key, ''::bytea FROM gone WHERE key IS NOT NULL ON CONFLICT DO NOTHING
               )
               SELECT count(*), coalesce(sum(size), 0)::bigint FROM gone";
    let Some(row) = session.one(sql, &[&blobs]).await? else { return Ok((0, 0)) };
    Ok((column::<i64>(&row, 0)?.unsigned_abs(), column::<i64>(&row, 1)?.unsigned_abs()))
}

pub(super) async fn garbage(session: &Session<'_>, limit: usize) -> Result<Vec<Garbage>> {
    let found = session.all("SELECT key, state FROM garbage LIMIT $1", &[&rows(limit)]).await?;
    let read = |row: &Row| Ok(Garbage { key: key(&column::<String>(row, 0)?)?, state: column(row, 1)? });
    found.iter().map(read).collect()
}

pub(super) async fn forget(session: &Session<'_>, keys: &[Key]) -> Result<()> {
    let keys: Vec<&str> = keys.iter().map(Key::as_str).collect();
    session.execute("DELETE FROM garbage WHERE key = ANY($1)", &[&keys]).await.map(drop)
}

pub(super) async fn unknown(session: &Session<'_>, keys: &[Key]) -> Result<Vec<Key>> {
    let sql = "SELECT c.key FROM unnest($1::text[]) AS c (key)
               WHERE NOT EXISTS (SELECT 1 FROM blob WHERE key = c.key)
               AND NOT EXISTS (SELECT 1 FROM upload WHERE key = c.key)
               AND NOT EXISTS (SELECT 1 FROM garbage WHERE key = c.key)";
    let texts: Vec<&str> = keys.iter().map(Key::as_str).collect();
    let unknown: Vec<String> = firsts(&session.all(sql, &[&texts]).await?)?;
    unknown.iter().map(|text| key(text)).collect()
}

pub(super) async fn usage(session: &Session<'_>, prefix: &str) -> Result<Usage> {
    let sql = "WITH r AS (SELECT id, bytes FROM repository
                          WHERE $1::text = '' OR name = $1 OR starts_with(name, $1 || '/'))
               SELECT (SELECT count(*) FROM r),
                      (coalesce((SELECT sum(bytes) FROM r), 0)
                       + coalesce((SELECT sum(bytes) FROM growth WHERE repository IN (SELECT id FROM r)), 0))::bigint,
                      (SELECT count(*) FROM manifest WHERE repository IN (SELECT id FROM r)),
                      (SELECT count(*) FROM tag WHERE repository IN (SELECT id FROM r))";
    let Some(row) = session.one(sql, &[&prefix]).await? else { return Ok(Usage::default()) };
    let number = |at| column::<i64>(&row, at).map(i64::unsigned_abs);
    Ok(Usage { repositories: number(0)?, bytes: number(1)?, manifests: number(2)?, tags: number(3)? })
}
