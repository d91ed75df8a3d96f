//! What `POST /build/prune` may ask for, in BuildKit's terms, and the cache's records as the API shows them.

use dray_api::Filters;
use dray_api::build::CacheRecord;
use dray_build::CachePrune;
use jiff::Timestamp;

use super::Error;
use crate::timestamp;

/// Fields of a record that a filter may name.
const FIELDS: [&str; 7] = ["id", "parent", "type", "description", "inuse", "shared", "private"];

/// What of the cache is pruned.
#[derive(Debug, Clone, Default)]
pub struct PruneOptions {
    /// Also what images share.
    pub all: bool,
    /// Bytes to keep in any case.
    pub reserved_space: u64,
    /// Bytes to keep at most.
    pub max_used_space: u64,
    /// Bytes that the disk shall have free.
    pub min_free_space: u64,
    /// By age and by field. Docker takes labels and does nothing with them.
    pub filters: Filters,
}

impl PruneOptions {
    pub(super) fn to_prune(&self) -> Result<CachePrune, Error> {
        let mut accepted = vec!["unused-for", "until", "label", "label!"];
        accepted.extend(FIELDS);
        self.filters.validate(&accepted).map_err(|error| Error::Filter(error.to_string()))?;
        let mut filters = Vec::new();
        for field in FIELDS.into_iter().filter(|field| self.filters.contains(field)) {
            let value = one(&self.filters, field)?.unwrap_or_default();
            filters.push((field.to_owned(), value.to_owned()));
        }
        Ok(CachePrune {
            all: self.all,
            until: self.until()?,
            reserved: self.reserved_space,
            most: self.max_used_space,
            free: self.min_free_space,
            filters,
        })
    }

    fn until(&self) -> Result<Option<Timestamp>, Error> {
        let (until, unused) = (one(&self.filters, "until")?, one(&self.filters, "unused-for")?);
        let (name, value) = match (until, unused) {
            (Some(_), Some(_)) => {
                return Err(Error::Filter("conflicting filters: \"until\" and \"unused-for\"".to_owned()));
            }
            (Some(value), None) => ("until", value),
            (None, Some(value)) => ("unused-for", value),
            (None, None) => return Ok(None),
        };
        timestamp::moment("until", value, Timestamp::now()).map_err(|error| {
            let expected = "filter expects a duration (e.g., '24h') or a timestamp";
            Error::Filter(format!("\"{name}\" {expected}: {error}"))
        })
    }
}

fn one<'a>(filters: &'a Filters, name: &str) -> Result<Option<&'a str>, Error> {
    let mut values = filters.get(name);
    let value = values.next();
    match values.next() {
        Some(_) => Err(Error::Filter("filters expect only one value".to_owned())),
        None => Ok(value),
    }
}

pub(super) fn to_wire(record: dray_build::CacheRecord) -> CacheRecord {
    CacheRecord {
        id: record.id,
        parents: record.parents,
        kind: record.kind.to_owned(),
        description: record.description,
        in_use: record.in_use,
        shared: record.shared,
        size: i64::try_from(record.size).unwrap_or(i64::MAX),
        created_at: record.created,
        last_used_at: record.last_used,
        usage_count: i64::try_from(record.uses).unwrap_or(i64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(name: &str, values: &[&str]) -> Result<CachePrune, String> {
        let mut filters = Filters::default();
        values.iter().for_each(|value| filters.add(name, *value));
        PruneOptions { filters, ..PruneOptions::default() }.to_prune().map_err(|error| error.to_string())
    }

    #[test]
    fn filters_are_docker_s() {
        assert!(message("until", &["24h"]).unwrap().until.is_some());
        assert_eq!(message("until", &["1h", "2h"]).unwrap_err(), "filters expect only one value");
        assert!(message("until", &["soon"]).unwrap_err().starts_with("\"until\" filter expects a duration"));
        assert_eq!(message("x", &["y"]).unwrap_err(), "invalid filter 'x'");
        assert_eq!(
            message("type", &["regular"]).unwrap().filters,
            [("type".to_owned(), "regular".to_owned())]
        );
        assert!(message("label", &["a=b"]).unwrap().filters.is_empty());
    }
}
