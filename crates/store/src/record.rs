//! Records: JSON documents by kind and ID, some with a name that is unique within its kind.
//!
//! What the documents mean is known to the crates above; a kind is a word such as `container`.

use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::db::{Db, Durability};
use crate::layer::{self, LayerId};
use crate::{Error, Result};

/// A document with what it is found by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<T> {
    /// Unique within its kind.
    pub id: String,
    /// Unique within its kind, if there is one.
    pub name: Option<String>,
    /// The document.
    pub document: T,
}

/// The documents of a store.
#[derive(Clone, Debug)]
pub struct Records(Db);

impl Records {
    pub(crate) fn new(db: Db) -> Self {
        Self(db)
    }

    /// Writes a document, new or over the one with this ID. Durable when it returns.
    ///
    /// # Errors
    /// [`Error::NameInUse`] if another of its kind has the name; or if the database fails.
    pub fn put<T: Serialize>(&self, kind: &str, id: &str, name: Option<&str>, document: &T) -> Result<()> {
        self.put_with(Durability::Full, kind, id, name, document)
    }

    /// Writes a document as [`Records::put`] does, without waiting for the disk.
    ///
    /// # Errors
    /// As [`Records::put`].
    pub fn put_relaxed<T: Serialize>(
        &self,
        kind: &str,
        id: &str,
        name: Option<&str>,
        document: &T,
    ) -> Result<()> {
        self.put_with(Durability::Relaxed, kind, id, name, document)
    }

    fn put_with<T: Serialize>(
        &self,
        durability: Durability,
        kind: &str,
        id: &str,
        name: Option<&str>,
        document: &T,
    ) -> Result<()> {
        let text = to_text(kind, id, document)?;
        self.0.transaction(durability, |c| put(c, kind, id, name, &text))
    }

    /// The document with this ID.
    ///
    /// # Errors
    /// If it is of another type, or the database fails.
    pub fn get<T: DeserializeOwned>(&self, kind: &str, id: &str) -> Result<Option<T>> {
        self.0.read(|c| get(c, kind, id))
    }

    /// The record with this name.
    ///
    /// # Errors
    /// As [`Records::get`].
    pub fn get_by_name<T: DeserializeOwned>(&self, kind: &str, name: &str) -> Result<Option<Record<T>>> {
        let sql = "SELECT id, name, document FROM record WHERE kind = ?1 AND name = ?2";
        Ok(self.0.read(|c| select(c, sql, kind, &[name]))?.pop())
    }

    /// All records of a kind, by ID.
    ///
    /// # Errors
    /// As [`Records::get`].
    pub fn list<T: DeserializeOwned>(&self, kind: &str) -> Result<Vec<Record<T>>> {
        self.0.read(|c| {
            select(c, "SELECT id, name, document FROM record WHERE kind = ?1 ORDER BY id", kind, &[])
        })
    }

    /// The IDs that begin with `prefix`.
    ///
    /// # Errors
    /// If the database fails.
    pub fn find_prefix(&self, kind: &str, prefix: &str) -> Result<Vec<String>> {
        // Every ID with the prefix lies between it and the prefix followed by the last character there is.
        let end = format!("{prefix}{}", char::MAX);
        self.0.read(|c| {
            c.prepare_cached("SELECT id FROM record WHERE kind = ?1 AND id >= ?2 AND id < ?3 ORDER BY id")
                .and_then(|mut s| s.query_map([kind, prefix, &end], |row| row.get(0))?.collect())
                .map_err(Error::db("find records"))
        })
    }

    /// Gives a record another name, or none.
    ///
    /// # Errors
    /// [`Error::NameInUse`], [`Error::RecordNotFound`], or if the database fails.
    pub fn rename(&self, kind: &str, id: &str, name: Option<&str>) -> Result<()> {
        self.0.write(|c| rename(c, kind, id, name))
    }

    /// Removes a record; true if it was there.
    ///
    /// # Errors
    /// If the database fails.
    pub fn delete(&self, kind: &str, id: &str) -> Result<bool> {
        self.0.write(|c| delete(c, kind, id))
    }

    /// Does several things at once: all of them, durably, or none.
    ///
    /// # Errors
    /// What `work` returns, or if the database fails.
    pub fn batch<R>(&self, work: impl FnOnce(&Tx<'_>) -> Result<R>) -> Result<R> {
        self.0.write(|c| work(&Tx(c)))
    }

    /// Does several things at once, all of them or none, without waiting for the disk.
    ///
    /// # Errors
    /// As [`Records::batch`].
    pub fn batch_relaxed<R>(&self, work: impl FnOnce(&Tx<'_>) -> Result<R>) -> Result<R> {
        self.0.write_relaxed(|c| work(&Tx(c)))
    }
}

/// What can be done within [`Records::batch`].
#[derive(Debug)]
pub struct Tx<'a>(&'a Connection);

impl Tx<'_> {
    /// As [`Records::put`].
    ///
    /// # Errors
    /// As [`Records::put`].
    pub fn put<T: Serialize>(&self, kind: &str, id: &str, name: Option<&str>, document: &T) -> Result<()> {
        put(self.0, kind, id, name, &to_text(kind, id, document)?)
    }

    /// As [`Records::get`], with what this batch has written.
    ///
    /// # Errors
    /// As [`Records::get`].
    pub fn get<T: DeserializeOwned>(&self, kind: &str, id: &str) -> Result<Option<T>> {
        get(self.0, kind, id)
    }

    /// As [`Records::rename`].
    ///
    /// # Errors
    /// As [`Records::rename`].
    pub fn rename(&self, kind: &str, id: &str, name: Option<&str>) -> Result<()> {
        rename(self.0, kind, id, name)
    }

    /// As [`Records::delete`].
    ///
    /// # Errors
    /// As [`Records::delete`].
    pub fn delete(&self, kind: &str, id: &str) -> Result<bool> {
        delete(self.0, kind, id)
    }

    /// As [`crate::Layers::hold`].
    ///
    /// # Errors
    /// As [`crate::Layers::hold`].
    pub fn hold(&self, holder: &str, layers: &[LayerId]) -> Result<()> {
        layer::hold(self.0, holder, layers)
    }

    /// As [`crate::Layers::release`].
    ///
    /// # Errors
    /// As [`crate::Layers::release`].
    pub fn release(&self, holder: &str) -> Result<()> {
        layer::release(self.0, holder)
    }
}

fn to_text<T: Serialize>(kind: &str, id: &str, document: &T) -> Result<String> {
    serde_json::to_string(document).map_err(|source| Error::Document {
        kind: kind.into(),
        id: id.into(),
        source,
    })
}

fn from_text<T: DeserializeOwned>(kind: &str, id: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|source| Error::Document { kind: kind.into(), id: id.into(), source })
}

fn put(c: &Connection, kind: &str, id: &str, name: Option<&str>, text: &str) -> Result<()> {
    check_name(c, kind, id, name)?;
    c.prepare_cached(
        "INSERT INTO record (kind, id, name, document) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (kind, id) DO UPDATE SET name = excluded.name, document = excluded.document",
    )
    .and_then(|mut s| s.execute(params![kind, id, name, text]))
    .map_err(Error::db("write record"))?;
    Ok(())
}

fn check_name(c: &Connection, kind: &str, id: &str, name: Option<&str>) -> Result<()> {
    let Some(name) = name else { return Ok(()) };
    let holder: Option<String> = c
        .prepare_cached("SELECT id FROM record WHERE kind = ?1 AND name = ?2")
        .and_then(|mut s| s.query_row([kind, name], |row| row.get(0)).optional())
        .map_err(Error::db("find record"))?;
    match holder {
        Some(holder) if holder != id => {
            Err(Error::NameInUse { kind: kind.into(), name: name.into(), holder })
        }
        _ => Ok(()),
    }
}

fn get<T: DeserializeOwned>(c: &Connection, kind: &str, id: &str) -> Result<Option<T>> {
    let text: Option<String> = c
        .prepare_cached("SELECT document FROM record WHERE kind = ?1 AND id = ?2")
        .and_then(|mut s| s.query_row([kind, id], |row| row.get(0)).optional())
        .map_err(Error::db("read record"))?;
    text.map(|text| from_text(kind, id, &text)).transpose()
}

fn select<T: DeserializeOwned>(
    c: &Connection,
    sql: &str,
    kind: &str,
    more: &[&str],
) -> Result<Vec<Record<T>>> {
    let rows: Vec<(String, Option<String>, String)> = c
        .prepare_cached(sql)
        .and_then(|mut s| {
            let values = std::iter::once(kind).chain(more.iter().copied());
            s.query_map(rusqlite::params_from_iter(values), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?
            .collect()
        })
        .map_err(Error::db("read records"))?;
    rows.into_iter()
        .map(|(id, name, text)| {
            let document = from_text(kind, &id, &text)?;
            Ok(Record { id, name, document })
        })
        .collect()
}

fn rename(c: &Connection, kind: &str, id: &str, name: Option<&str>) -> Result<()> {
    check_name(c, kind, id, name)?;
    let changed = c
        .prepare_cached("UPDATE record SET name = ?3 WHERE kind = ?1 AND id = ?2")
        .and_then(|mut s| s.execute(params![kind, id, name]))
        .map_err(Error::db("rename record"))?;
    if changed == 0 {
        return Err(Error::RecordNotFound { kind: kind.into(), id: id.into() });
    }
    Ok(())
}

fn delete(c: &Connection, kind: &str, id: &str) -> Result<bool> {
    let changed = c
        .prepare_cached("DELETE FROM record WHERE kind = ?1 AND id = ?2")
        .and_then(|mut s| s.execute([kind, id]))
        .map_err(Error::db("delete record"))?;
    Ok(changed > 0)
}
