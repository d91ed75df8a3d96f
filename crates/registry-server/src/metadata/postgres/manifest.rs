//! Manifests, the tags that name them, and what they refer to.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use dray_spec::Digest;
use tokio_postgres::Row;

use super::pool::Session;
use super::{column, digest, make_repository, repository_id, rows};
use crate::metadata::{
    Deleted, Expect, Filter, Millis, NewManifest, Put, Referrer, Result, StoredManifest, TagRecord,
};
use crate::name::Repository;

/// A link that was touched within this time is not touched again by a manifest: those who push images that share
/// layers would wait for each other.
const TOUCHED: Millis = 1000;

pub(super) async fn find(
    session: &Session<'_>,
    repository: &Repository,
    wanted: &Digest,
) -> Result<Option<StoredManifest>> {
    let sql = "SELECT m.digest, m.media_type, m.content FROM repository r
               JOIN manifest m ON m.repository = r.id AND m.digest = $2 WHERE r.name = $1";
    session.one(sql, &[&repository.as_str(), &wanted.as_str()]).await?.map(stored).transpose()
}

pub(super) async fn tagged(
    session: &Session<'_>,
    repository: &Repository,
    tag: &str,
) -> Result<Option<StoredManifest>> {
    let sql = "SELECT m.digest, m.media_type, m.content FROM repository r
               JOIN tag t ON t.repository = r.id AND t.name = $2
               JOIN manifest m ON m.repository = r.id AND m.digest = t.digest WHERE r.name = $1";
    session.one(sql, &[&repository.as_str(), &tag]).await?.map(stored).transpose()
}

fn stored(row: Row) -> Result<StoredManifest> {
    Ok(StoredManifest {
        digest: digest(&column::<String>(&row, 0)?)?,
        media_type: column(&row, 1)?,
        content: Bytes::from(column::<Vec<u8>>(&row, 2)?),
    })
}

pub(super) async fn put(session: &Session<'_>, new: &NewManifest) -> Result<Put> {
    let repository = make_repository(session, new.repository.as_str()).await?;
    let has = Inventory::read(session, repository, new).await?;
    match has.refusal(new) {
        Some(refusal) => Ok(refusal),
        None => write(session, repository, new, &has).await.map(|()| Put::Stored),
    }
}

/// What the repository has of what a manifest speaks of.
struct Inventory {
    /// Blobs by digest: number and size.
    blobs: HashMap<String, (i64, u64)>,
    manifests: HashSet<String>,
    tags: HashMap<String, String>,
}

impl Inventory {
    async fn read(session: &Session<'_>, repository: i64, new: &NewManifest) -> Result<Self> {
        let blobs: Vec<&str> = new.blobs.iter().map(|(digest, _)| digest.as_str()).collect();
        let manifests: Vec<&str> = new.manifests.iter().chain([&new.digest]).map(Digest::as_str).collect();
        let tags: Vec<&str> = new.tags.iter().chain(&new.immutable).map(String::as_str).collect();
        let of_blobs = "SELECT b.digest, b.id, b.size FROM blob b
                        JOIN link l ON l.blob = b.id AND l.repository = $1 WHERE b.digest = ANY($2)";
        let of_manifests = "SELECT digest FROM manifest WHERE repository = $1 AND digest = ANY($2)";
        let of_tags = "SELECT name, digest FROM tag WHERE repository = $1 AND name = ANY($2)";
        // Sent together, so that they take one way to the database and back.
        let (blobs, manifests, tags) = futures_util::try_join!(
            async { session.all(of_blobs, &[&repository, &blobs]).await },
            async { session.all(of_manifests, &[&repository, &manifests]).await },
            async { session.all(of_tags, &[&repository, &tags]).await },
        )?;
        let blob = |row: &Row| {
            Ok((column::<String>(row, 0)?, (column::<i64>(row, 1)?, column::<i64>(row, 2)?.unsigned_abs())))
        };
        Ok(Self {
            blobs: blobs.iter().map(blob).collect::<Result<_>>()?,
            manifests: manifests.iter().map(|row| column(row, 0)).collect::<Result<_>>()?,
            tags: tags.iter().map(|row| Ok((column(row, 0)?, column(row, 1)?))).collect::<Result<_>>()?,
        })
    }

    /// Why the manifest must not be stored, if there is a reason.
    fn refusal(&self, new: &NewManifest) -> Option<Put> {
        let first = match new.tags.first() {
            Some(tag) => self.tags.get(tag).map(String::as_str),
            None => self.manifests.get(new.digest.as_str()).map(String::as_str),
        };
        let expected = match &new.expect {
            Expect::Anything => true,
            Expect::OneOf(digests) => digests.iter().any(|digest| first == Some(digest.as_str())),
            Expect::Present => first.is_some(),
            Expect::Absent => first.is_none(),
        };
        if !expected {
            return Some(Put::Unexpected);
        }
        let moves = |tag: &&String| self.tags.get(*tag).is_some_and(|set| set != new.digest.as_str());
        if let Some(tag) = new.immutable.iter().find(moves) {
            return Some(Put::Immutable(tag.clone()));
        }
        let mut missing = Vec::new();
        for (wanted, stated) in &new.blobs {
            match self.blobs.get(wanted.as_str()) {
                None => missing.push(wanted.clone()),
                Some((_, actual)) if actual != stated => {
                    return Some(Put::WrongSize { digest: wanted.clone(), actual: *actual, stated: *stated });
                }
                Some(_) => {}
            }
        }
        missing
            .extend(new.manifests.iter().filter(|child| !self.manifests.contains(child.as_str())).cloned());
        (!missing.is_empty() && !new.sparse).then_some(Put::Missing(missing))
    }
}

/// The manifest, what it refers to, its tags, and the age of its blobs, which counts from now should the manifest be
/// deleted: one statement, whose keys are checked at its end.
async fn write(session: &Session<'_>, repository: i64, new: &NewManifest, has: &Inventory) -> Result<()> {
    let sql = "WITH due AS (
                   SELECT blob FROM link WHERE repository = $1 AND blob = ANY($9) AND touched < $10
                   ORDER BY blob FOR UPDATE
               ), touched AS (
                   UPDATE link l SET touched = greatest(l.touched, $5) FROM due
                   WHERE l.repository = $1 AND l.blob = due.blob
               ), stored AS (
                   INSERT INTO manifest VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
                   ON CONFLICT (repository, digest)
                   DO UPDATE SET media_type = excluded.media_type, pushed = excluded.pushed
               ), referred AS (
                   INSERT INTO reference SELECT $1, $2, target, child FROM unnest($11::text[], $12::bool[]) AS t (target, child)
                   ON CONFLICT DO NOTHING
               )
               INSERT INTO tag SELECT $1, name, $2, $5 FROM unnest($13::text[]) AS t (name) ORDER BY name
               ON CONFLICT (repository, name) DO UPDATE SET digest = excluded.digest, updated = excluded.updated";
    let blobs = new.blobs.iter().map(|(digest, _)| digest).chain(&new.optional_blobs);
    let (mut targets, mut children) = (Vec::new(), Vec::new());
    for (target, child) in
        blobs.map(|digest| (digest, false)).chain(new.manifests.iter().map(|digest| (digest, true)))
    {
        if !targets.contains(&target.as_str()) {
            targets.push(target.as_str());
            children.push(child);
        }
    }
    let mut tags: Vec<&str> = new.tags.iter().map(String::as_str).collect();
    tags.sort_unstable();
    tags.dedup();
    let linked: Vec<i64> = has.blobs.values().map(|(id, _)| *id).collect();
    let (named, content) = (new.digest.as_str(), &new.content[..]);
    let subject = new.subject.as_ref().map(Digest::as_str);
    session
        .execute(
            sql,
            &[
                &repository,
                &named,
                &new.media_type,
                &content,
                &new.now,
                &subject,
                &new.artifact_type,
                &new.annotations,
                &linked,
                &new.now.saturating_sub(TOUCHED),
                &targets,
                &children,
                &tags,
            ],
        )
        .await
        .map(drop)
}

pub(super) async fn delete(
    session: &Session<'_>,
    repository: &Repository,
    wanted: &Digest,
) -> Result<Deleted> {
    let Some(id) = repository_id(session, repository.as_str()).await? else { return Ok(Deleted::Missing) };
    let there = "SELECT 1::bigint FROM manifest WHERE repository = $1 AND digest = $2";
    if session.one(there, &[&id, &wanted.as_str()]).await?.is_none() {
        return Ok(Deleted::Missing);
    }
    let listed = "SELECT manifest FROM reference
                  WHERE repository = $1 AND target = $2 AND child AND manifest <> $2 LIMIT 1";
    if let Some(row) = session.one(listed, &[&id, &wanted.as_str()]).await? {
        return Ok(Deleted::Needed(digest(&column::<String>(&row, 0)?)?));
    }
    // Tags and references go with it.
    let gone = "DELETE FROM manifest WHERE repository = $1 AND digest = $2";
    session.execute(gone, &[&id, &wanted.as_str()]).await?;
    Ok(Deleted::Deleted)
}

pub(super) async fn delete_tag(session: &Session<'_>, repository: &Repository, tag: &str) -> Result<Deleted> {
    let sql = "DELETE FROM tag WHERE repository = (SELECT id FROM repository WHERE name = $1) AND name = $2";
    let changed = session.execute(sql, &[&repository.as_str(), &tag]).await?;
    Ok(if changed > 0 { Deleted::Deleted } else { Deleted::Missing })
}

pub(super) async fn expire_tag(
    session: &Session<'_>,
    repository: &Repository,
    tag: &TagRecord,
) -> Result<Deleted> {
    let sql = "DELETE FROM tag WHERE repository = (SELECT id FROM repository WHERE name = $1) AND name = $2
               AND digest = $3 AND updated = $4";
    let changed =
        session.execute(sql, &[&repository.as_str(), &tag.name, &tag.digest.as_str(), &tag.updated]).await?;
    Ok(if changed > 0 { Deleted::Deleted } else { Deleted::Missing })
}

pub(super) async fn referrers(
    session: &Session<'_>,
    repository: &Repository,
    subject: &Digest,
    filter: &Filter,
) -> Result<Vec<Referrer>> {
    let sql = "WITH entry AS (SELECT m.digest, m.media_type, length(m.content)::bigint AS size, m.artifact_type,
                   CASE WHEN octet_length(m.annotations) <= $6::bigint THEN m.annotations END AS annotations
                   FROM repository r JOIN manifest m ON m.repository = r.id AND m.subject = $2
                   WHERE r.name = $1 AND m.digest > $3
                   AND ($4::text IS NULL OR coalesce(m.artifact_type, '') = $4) ORDER BY m.digest LIMIT $5),
               place AS (SELECT digest, sum(coalesce(octet_length(annotations), 0))
                   OVER (ORDER BY digest ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before FROM entry)
               SELECT digest, media_type, size, artifact_type, annotations FROM entry JOIN place USING (digest)
               WHERE coalesce(before, 0) <= $6::bigint ORDER BY digest";
    let after = filter.after.as_deref().unwrap_or("");
    let found = session
        .all(
            sql,
            &[
                &repository.as_str(),
                &subject.as_str(),
                &after,
                &filter.artifact_type,
                &rows(filter.limit),
                &i64::try_from(filter.bytes).unwrap_or(i64::MAX),
            ],
        )
        .await?;
    let read = |row: &Row| {
        Ok(Referrer {
            digest: digest(&column::<String>(row, 0)?)?,
            media_type: column(row, 1)?,
            size: column::<i64>(row, 2)?.unsigned_abs(),
            artifact_type: column(row, 3)?,
            annotations: column(row, 4)?,
        })
    };
    found.iter().map(read).collect()
}

pub(super) async fn tag_records(session: &Session<'_>, repository: &Repository) -> Result<Vec<TagRecord>> {
    let sql = "SELECT t.name, t.digest, t.updated FROM repository r JOIN tag t ON t.repository = r.id
               WHERE r.name = $1 ORDER BY t.updated DESC, t.name DESC";
    let read = |row: &Row| {
        Ok(TagRecord {
            name: column(row, 0)?,
            digest: digest(&column::<String>(row, 1)?)?,
            updated: column(row, 2)?,
        })
    };
    session.all(sql, &[&repository.as_str()]).await?.iter().map(read).collect()
}
