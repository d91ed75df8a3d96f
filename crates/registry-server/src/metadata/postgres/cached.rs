//! What is kept for other registries: when it was last asked for, and when it was last compared with theirs.

use dray_spec::Digest;
use tokio_postgres::Row;

use super::pool::Session;
use super::{column, digest, rows, strings};
use crate::metadata::{CachedManifest, Error, Millis, Result};
use crate::name::Repository;

pub(super) async fn note_use(
    session: &Session<'_>,
    repository: &Repository,
    used: &Digest,
    now: Millis,
) -> Result<()> {
    let sql = "INSERT INTO used SELECT m.repository, m.digest, $3::bigint FROM repository r
               JOIN manifest m ON m.repository = r.id AND m.digest = $2 WHERE r.name = $1
               ON CONFLICT (repository, digest) DO UPDATE SET at = greatest(used.at, excluded.at)";
    session.execute(sql, &[&repository.as_str(), &used.as_str(), &now]).await.map(drop)
}

pub(super) async fn least_used(
    session: &Session<'_>,
    before: Millis,
    limit: usize,
) -> Result<Vec<CachedManifest>> {
    let sql = "SELECT r.name, u.digest, u.at FROM used u JOIN repository r ON r.id = u.repository
               WHERE u.at < $1 ORDER BY u.at, u.digest LIMIT $2";
    let read = |row: &Row| {
        let name: String = column(row, 0)?;
        let damaged = Error::Damaged { what: "a repository", value: name.clone() };
        Ok(CachedManifest {
            repository: Repository::parse(&name).ok_or(damaged)?,
            digest: digest(&column::<String>(row, 1)?)?,
            used: column(row, 2)?,
        })
    };
    session.all(sql, &[&before, &rows(limit)]).await?.iter().map(read).collect()
}

pub(super) async fn note_check(
    session: &Session<'_>,
    repository: &Repository,
    tag: &str,
    now: Millis,
) -> Result<()> {
    let sql = "INSERT INTO checked SELECT t.repository, t.name, $3::bigint FROM repository r
               JOIN tag t ON t.repository = r.id AND t.name = $2 WHERE r.name = $1
               ON CONFLICT (repository, name) DO UPDATE SET at = greatest(checked.at, excluded.at)";
    session.execute(sql, &[&repository.as_str(), &tag, &now]).await.map(drop)
}

pub(super) async fn checked(
    session: &Session<'_>,
    repository: &Repository,
    tag: &str,
) -> Result<Option<Millis>> {
    let sql = "SELECT c.at FROM repository r JOIN checked c ON c.repository = r.id AND c.name = $2 WHERE r.name = $1";
    session.one(sql, &[&repository.as_str(), &tag]).await?.map(|row| column(&row, 0)).transpose()
}

pub(super) async fn unneeded(
    session: &Session<'_>,
    repository: &Repository,
    limit: usize,
) -> Result<Vec<Digest>> {
    let sql =
        "SELECT b.digest FROM repository r JOIN link l ON l.repository = r.id JOIN blob b ON b.id = l.blob
               WHERE r.name = $1
               AND NOT EXISTS (SELECT 1 FROM reference f WHERE f.repository = r.id AND f.target = b.digest)
               LIMIT $2";
    strings(session, sql, &[&repository.as_str(), &rows(limit)])
        .await?
        .iter()
        .map(|text| digest(text))
        .collect()
}
