//! What is to be built: a target of a bake file, by buildx's attributes.
//!
//! ```text
//! entry.rs    caches, outputs, attestations, secrets, agents: as text, as objects, as JSON
//! decode.rs   values of HCL → fields, and back for `target.x.field`
//! merge.rs    one target over another         change.rs   --set
//! print.rs    as JSON
//! ```

pub mod change;
mod decode;
pub mod entry;
mod merge;
pub mod print;

use std::collections::BTreeMap;

pub(crate) use decode::{GROUP_FIELDS, TARGET_FIELDS};
pub use entry::{Attest, Entry, Output, Secret, Ssh};

/// Names with values; null is none.
pub type Pairs = BTreeMap<String, Option<String>>;

/// A target. What is none was not said; the names are those of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields carry the names of bake files and are documented by buildx")]
pub struct Target {
    pub name: String,
    pub description: String,
    pub inherits: Option<Vec<String>>,
    pub annotations: Option<Vec<String>>,
    pub attest: Option<Vec<Attest>>,
    pub context: Option<String>,
    pub contexts: Option<BTreeMap<String, String>>,
    pub dockerfile: Option<String>,
    pub dockerfile_inline: Option<String>,
    pub args: Option<Pairs>,
    pub labels: Option<Pairs>,
    pub tags: Option<Vec<String>>,
    pub cache_from: Option<Vec<Entry>>,
    pub cache_to: Option<Vec<Entry>>,
    pub target: Option<String>,
    pub secrets: Option<Vec<Secret>>,
    pub ssh: Option<Vec<Ssh>>,
    pub platforms: Option<Vec<String>>,
    pub outputs: Option<Vec<Output>>,
    pub pull: Option<bool>,
    pub no_cache: Option<bool>,
    pub network: Option<String>,
    pub no_cache_filter: Option<Vec<String>>,
    pub shm_size: Option<String>,
    pub ulimits: Option<Vec<String>>,
    pub call: Option<String>,
    pub entitlements: Option<Vec<String>>,
    pub extra_hosts: Option<Pairs>,
    /// It is built only because another target is built upon it.
    pub linked: bool,
}

/// Targets under one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// What it is called.
    pub name: String,
    /// For people.
    pub description: String,
    /// Targets and groups.
    pub targets: Vec<String>,
}

impl Target {
    /// The targets that this one is built upon: `target:other` among its contexts.
    pub fn bases(&self) -> impl Iterator<Item = &str> {
        self.contexts.iter().flatten().filter_map(|(_, context)| context.strip_prefix("target:"))
    }
}
