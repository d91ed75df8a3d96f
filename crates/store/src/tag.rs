//! Names of images: `docker.io/library/app:v1` and `docker.io/library/app@sha256:…`, each of one image.
//!
//! A name by digest is the manifest an image was pulled or pushed by; it comes and goes with the tags of its
//! repository, which is known to the crate above.

use std::time::SystemTime;

use dray_spec::{Digest, Reference};
use rusqlite::ffi::SQLITE_CONSTRAINT_FOREIGNKEY;
use rusqlite::{Connection, OptionalExtension};

use crate::db::Db;
use crate::image::parse;
use crate::{Error, Result};

/// A name and the image it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// With a tag or a digest.
    pub reference: Reference,
    /// The image's ID.
    pub image: Digest,
}

/// The names of a store's images.
#[derive(Clone, Debug)]
pub struct Tags(Db);

impl Tags {
    pub(crate) fn new(db: Db) -> Self {
        Self(db)
    }

    /// Gives an image a name, taking it from whoever had it; with `manifest`, also the name by that digest
    /// in the same repository. Returns who had the name before.
    ///
    /// # Errors
    /// [`Error::ImageNotFound`] if there is no such image, or the database fails.
    pub fn set(
        &self,
        reference: &Reference,
        image: &Digest,
        manifest: Option<&Digest>,
    ) -> Result<Option<Digest>> {
        let pinned = manifest.map(|digest| reference.with_digest(digest.clone()));
        self.0.write(|c| {
            if let Some(pinned) = &pinned {
                set(c, pinned, image)?;
            }
            set(c, reference, image)
        })
    }

    /// The image a name stands for. A name without tag and digest is one with `latest`.
    ///
    /// # Errors
    /// If the database fails.
    pub fn get(&self, reference: &Reference) -> Result<Option<Digest>> {
        self.0.read(|c| get(c, &key(reference)))
    }

    /// All names, in order.
    ///
    /// # Errors
    /// If the database fails.
    pub fn list(&self) -> Result<Vec<Tag>> {
        self.0.read(|c| {
            c.prepare_cached("SELECT reference, image FROM tag ORDER BY reference")
                .and_then(|mut s| {
                    s.query_map([], |row| {
                        let (reference, image): (String, String) = (row.get(0)?, row.get(1)?);
                        Ok(Tag { reference: parse(0, &reference)?, image: parse(1, &image)? })
                    })?
                    .collect()
                })
                .map_err(Error::db("list tags"))
        })
    }

    /// The names of one image, in order.
    ///
    /// # Errors
    /// If the database fails.
    pub fn of(&self, image: &Digest) -> Result<Vec<Reference>> {
        self.0.read(|c| {
            c.prepare_cached("SELECT reference FROM tag WHERE image = ?1 ORDER BY reference")
                .and_then(|mut s| {
                    s.query_map([image.as_str()], |row| {
                        let text: String = row.get(0)?;
                        parse(0, &text)
                    })?
                    .collect()
                })
                .map_err(Error::db("read tags"))
        })
    }

    /// Says that names were given again just now, to the images that have them. What is lost of that in a power cut is
    /// no loss: nobody waits for the disk.
    ///
    /// # Errors
    /// If the database fails.
    pub fn renew(&self, names: &[Reference]) -> Result<()> {
        self.0.write_relaxed(|c| {
            let mut update = c
                .prepare_cached("UPDATE tag SET time = ?1 WHERE reference = ?2")
                .map_err(Error::db("write tag"))?;
            for name in names {
                update.execute((now(), key(name))).map_err(Error::db("write tag"))?;
            }
            Ok(())
        })
    }

    /// When an image was last given a name that it still has, in nanoseconds since 1970; none if it has no name, or
    /// nobody knows.
    ///
    /// # Errors
    /// If the database fails.
    pub fn last_given(&self, image: &Digest) -> Result<Option<i64>> {
        self.0.read(|c| {
            c.prepare_cached("SELECT max(time) FROM tag WHERE image = ?1 AND time > 0")
                .and_then(|mut s| s.query_row([image.as_str()], |row| row.get(0)))
                .map_err(Error::db("read tags"))
        })
    }

    /// Takes a name away; true if it was there.
    ///
    /// # Errors
    /// If the database fails.
    pub fn remove(&self, reference: &Reference) -> Result<bool> {
        let key = key(reference);
        self.0.write(|c| {
            c.execute("DELETE FROM tag WHERE reference = ?1", [&key])
                .map(|changed| changed > 0)
                .map_err(Error::db("remove tag"))
        })
    }

    /// Takes a name away from an image, unless another image has it by now; true if it had it.
    ///
    /// # Errors
    /// If the database fails.
    pub fn remove_of(&self, image: &Digest, reference: &Reference) -> Result<bool> {
        let key = key(reference);
        self.0.write(|c| {
            c.execute("DELETE FROM tag WHERE reference = ?1 AND image = ?2", [key.as_str(), image.as_str()])
                .map(|changed| changed > 0)
                .map_err(Error::db("remove tag"))
        })
    }
}

/// A digest outweighs a tag, as Docker has it.
fn key(reference: &Reference) -> String {
    match reference.digest() {
        Some(digest) => reference.with_digest(digest.clone()).to_string(),
        None => reference.clone().tagged().to_string(),
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

fn get(c: &Connection, key: &str) -> Result<Option<Digest>> {
    c.prepare_cached("SELECT image FROM tag WHERE reference = ?1")
        .and_then(|mut s| {
            s.query_row([key], |row| {
                let text: String = row.get(0)?;
                parse(0, &text)
            })
            .optional()
        })
        .map_err(Error::db("read tag"))
}

pub(crate) fn set(c: &Connection, reference: &Reference, image: &Digest) -> Result<Option<Digest>> {
    let key = key(reference);
    let before = get(c, &key)?;
    if before.as_ref() == Some(image) {
        return Ok(before);
    }
    c.prepare_cached("INSERT OR REPLACE INTO tag (reference, image, time) VALUES (?1, ?2, ?3)")
        .and_then(|mut s| s.execute((key.as_str(), image.as_str(), now())))
        .map_err(|source| match source.sqlite_error() {
            // The only thing that a name leads to.
            Some(error) if error.extended_code == SQLITE_CONSTRAINT_FOREIGNKEY => {
                Error::ImageNotFound(image.clone())
            }
            _ => Error::Database { operation: "write tag", source },
        })?;
    Ok(before)
}
