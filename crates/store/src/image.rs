//! Image records: an image's configuration and what it is made of.

use std::collections::HashMap;

use dray_spec::{Digest, Reference};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::db::Db;
use crate::layer::{LayerId, Layers};
use crate::{Error, Result, tag};

/// What the store knows of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRecord {
    /// The digest of `config`.
    pub id: Digest,
    /// The configuration document as it came.
    pub config: Vec<u8>,
    /// The image it was built or committed upon, on this machine.
    pub parent: Option<Digest>,
    /// The manifest it was pulled by.
    pub manifest: Option<Digest>,
    /// RFC 3339.
    pub created: String,
    /// Sum of its layers' sizes.
    pub size: u64,
    /// Bottom first.
    pub layers: Vec<LayerId>,
    /// The blobs kept for it: manifest, index, compressed layers.
    pub blobs: Vec<Digest>,
}

/// The images of a store.
#[derive(Clone, Debug)]
pub struct ImageRecords {
    db: Db,
    layers: Layers,
}

impl ImageRecords {
    pub(crate) fn new(db: Db, layers: Layers) -> Self {
        Self { db, layers }
    }

    /// Records an image and gives it names, all at once and durably. An image that is there already keeps
    /// its parent and gains the blobs; where all is as it was (a build from the cache), nothing is written.
    ///
    /// # Errors
    /// If a layer is not there, or the database fails.
    pub fn put(&self, image: &ImageRecord, names: &[Reference]) -> Result<()> {
        self.write(image, names, false).map(|_| ())
    }

    /// Adds to an image's record as [`ImageRecords::put`] does, but makes none of one that was removed meanwhile;
    /// true if it was there.
    ///
    /// # Errors
    /// As [`ImageRecords::put`].
    pub fn amend(&self, image: &ImageRecord, names: &[Reference]) -> Result<bool> {
        self.write(image, names, true)
    }

    fn write(&self, image: &ImageRecord, names: &[Reference], only_known: bool) -> Result<bool> {
        let written = self.db.write(|c| {
            if only_known && !is_known(c, &image.id)? {
                return Ok(None);
            }
            let before = c.total_changes();
            put(c, image)?;
            names.iter().try_for_each(|name| tag::set(c, name, &image.id).map(|_| ()))?;
            Ok(Some(c.total_changes() != before))
        })?;
        if written == Some(true) {
            self.layers.flush_later();
        }
        Ok(written.is_some())
    }

    /// The image with this ID.
    ///
    /// # Errors
    /// If the database fails.
    pub fn get(&self, id: &Digest) -> Result<Option<ImageRecord>> {
        self.db.read(|c| {
            let image = c
                .prepare_cached(&format!("{SELECT} WHERE id = ?1"))
                .and_then(|mut s| s.query_row([id.as_str()], image_of).optional())
                .map_err(Error::db("read image"))?;
            image.map(|image| with_parts(c, image)).transpose()
        })
    }

    /// All images, the newest first.
    ///
    /// # Errors
    /// If the database fails.
    pub fn list(&self) -> Result<Vec<ImageRecord>> {
        self.db.read(|c| {
            let mut images: Vec<ImageRecord> = c
                .prepare_cached(&format!("{SELECT} ORDER BY created DESC, id"))
                .and_then(|mut s| s.query_map([], image_of)?.collect())
                .map_err(Error::db("list images"))?;
            let mut layers =
                parts(c, "SELECT image, layer FROM image_layer ORDER BY image, position", |row| {
                    row.get(1).map(LayerId)
                })?;
            let mut blobs = parts(c, "SELECT image, digest FROM image_blob", |row| {
                let text: String = row.get(1)?;
                parse(1, &text)
            })?;
            for image in &mut images {
                image.layers = layers.remove(image.id.as_str()).unwrap_or_default();
                image.blobs = blobs.remove(image.id.as_str()).unwrap_or_default();
            }
            Ok(images)
        })
    }

    /// The IDs whose hexadecimal part begins with `prefix`.
    ///
    /// # Errors
    /// If the database fails.
    pub fn find_prefix(&self, prefix: &str) -> Result<Vec<Digest>> {
        let (start, end) = (format!("sha256:{prefix}"), format!("sha256:{prefix}{}", char::MAX));
        self.db.read(|c| {
            digests(c, "SELECT id FROM image WHERE id >= ?1 AND id < ?2 ORDER BY id", &[&start, &end])
        })
    }

    /// The images built or committed upon this one.
    ///
    /// # Errors
    /// If the database fails.
    pub fn children(&self, id: &Digest) -> Result<Vec<Digest>> {
        self.db.read(|c| digests(c, "SELECT id FROM image WHERE parent = ?1", &[id.as_str()]))
    }

    /// Forgets an image and its names; true if it was there. Its layers and blobs go with the next
    /// collection.
    ///
    /// # Errors
    /// If the database fails.
    pub fn delete(&self, id: &Digest) -> Result<bool> {
        self.delete_where("id = ?1", id)
    }

    /// Forgets an image as [`ImageRecords::delete`] does, unless it has a name: somebody may have given it one since
    /// it was looked at.
    ///
    /// # Errors
    /// If the database fails.
    pub fn delete_nameless(&self, id: &Digest) -> Result<bool> {
        self.delete_where("id = ?1 AND NOT EXISTS (SELECT 1 FROM tag WHERE tag.image = ?1)", id)
    }

    fn delete_where(&self, condition: &str, id: &Digest) -> Result<bool> {
        self.db.write(|c| {
            c.execute(&format!("DELETE FROM image WHERE {condition}"), [id.as_str()])
                .map(|changed| changed > 0)
                .map_err(Error::db("delete image"))
        })
    }
}

fn is_known(c: &Connection, id: &Digest) -> Result<bool> {
    c.prepare_cached("SELECT 1 FROM image WHERE id = ?1")
        .and_then(|mut s| s.exists([id.as_str()]))
        .map_err(Error::db("read image"))
}

const SELECT: &str = "SELECT id, config, parent, manifest, created, size FROM image";

fn put(c: &Connection, image: &ImageRecord) -> Result<()> {
    let failed = Error::db;
    c.prepare_cached(
        "INSERT INTO image (id, config, parent, manifest, created, size) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (id) DO UPDATE SET
            parent = coalesce(parent, excluded.parent), manifest = coalesce(excluded.manifest, manifest)
         WHERE parent IS NOT coalesce(parent, excluded.parent)
            OR manifest IS NOT coalesce(excluded.manifest, manifest)",
    )
    .and_then(|mut s| {
        s.execute(params![
            image.id.as_str(),
            image.config,
            image.parent.as_ref().map(Digest::as_str),
            image.manifest.as_ref().map(Digest::as_str),
            image.created,
            i64::try_from(image.size).unwrap_or(i64::MAX),
        ])
    })
    .map_err(failed("write image"))?;
    for (position, layer) in (0i64..).zip(&image.layers) {
        c.prepare_cached("SELECT 1 FROM layer WHERE id = ?1")
            .and_then(|mut s| s.exists([layer.0]))
            .map_err(failed("find layer"))?
            .then_some(())
            .ok_or(Error::LayerNotFound(*layer))?;
        c.prepare_cached(
            "INSERT INTO image_layer (image, position, layer) VALUES (?1, ?2, ?3)
             ON CONFLICT (image, position) DO UPDATE SET layer = excluded.layer WHERE layer <> excluded.layer",
        )
        .and_then(|mut s| s.execute(params![image.id.as_str(), position, layer.0]))
            .map_err(failed("write image"))?;
    }
    for blob in &image.blobs {
        c.prepare_cached("INSERT OR IGNORE INTO image_blob (image, digest) VALUES (?1, ?2)")
            .and_then(|mut s| s.execute([image.id.as_str(), blob.as_str()]))
            .map_err(failed("write image"))?;
    }
    Ok(())
}

fn image_of(row: &Row<'_>) -> rusqlite::Result<ImageRecord> {
    let digest = |index: usize| -> rusqlite::Result<Option<Digest>> {
        let text: Option<String> = row.get(index)?;
        text.map(|text| parse(index, &text)).transpose()
    };
    let id: String = row.get(0)?;
    let size: i64 = row.get(5)?;
    Ok(ImageRecord {
        id: parse(0, &id)?,
        config: row.get(1)?,
        parent: digest(2)?,
        manifest: digest(3)?,
        created: row.get(4)?,
        size: u64::try_from(size).unwrap_or(0),
        layers: Vec::new(),
        blobs: Vec::new(),
    })
}

fn with_parts(c: &Connection, mut image: ImageRecord) -> Result<ImageRecord> {
    image.layers = c
        .prepare_cached("SELECT layer FROM image_layer WHERE image = ?1 ORDER BY position")
        .and_then(|mut s| s.query_map([image.id.as_str()], |row| Ok(LayerId(row.get(0)?)))?.collect())
        .map_err(Error::db("read image"))?;
    image.blobs = digests(c, "SELECT digest FROM image_blob WHERE image = ?1", &[image.id.as_str()])?;
    Ok(image)
}

/// What belongs to each image, of all images at once: a thousand of them are not asked one by one.
fn parts<T>(
    c: &Connection,
    sql: &str,
    part: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<HashMap<String, Vec<T>>> {
    let mut parts: HashMap<String, Vec<T>> = HashMap::new();
    let mut statement = c.prepare_cached(sql).map_err(Error::db("list images"))?;
    let mut rows = statement.query([]).map_err(Error::db("list images"))?;
    while let Some(row) = rows.next().map_err(Error::db("list images"))? {
        let image = row.get_ref(0).and_then(|text| Ok(text.as_str()?)).map_err(Error::db("list images"))?;
        let part = part(row).map_err(Error::db("list images"))?;
        match parts.get_mut(image) {
            Some(known) => known.push(part),
            None => drop(parts.insert(image.to_owned(), vec![part])),
        }
    }
    Ok(parts)
}

/// The digests in the first column.
pub(crate) fn digests(c: &Connection, sql: &str, values: &[&str]) -> Result<Vec<Digest>> {
    c.prepare_cached(sql)
        .and_then(|mut s| {
            s.query_map(rusqlite::params_from_iter(values), |row| {
                let text: String = row.get(0)?;
                parse(0, &text)
            })?
            .collect()
        })
        .map_err(Error::db("read digests"))
}

pub(crate) fn parse<T>(column: usize, text: &str) -> rusqlite::Result<T>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    text.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}
