//! Contexts beside the main one: `--build-context name=what`. A name goes before a stage's own content, before an
//! image of that name in `FROM`, `COPY --from` and `RUN --mount=from=`.
//!
//! ```text
//! docker-image://reference   an image, or scratch
//! local:name                 a directory of the client
//! https://… git@… git://…    a file, or a repository
//! ```
//!
//! What is no image becomes a layer, known by its content, so that it is used as any stage is.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use dray_spec::{Platform, Reference};

use crate::Cancel;
use crate::context::{ContextDir, ContextError};
use crate::error::CopyError;
use crate::plan::Base;

/// Directories of the client of one build.
pub trait ContextSource: Send + Sync {
    /// The directory that the client offers under this name, for the context `shown`; asked for once, when
    /// a step needs it. Called on the build's threads; may wait for the client.
    ///
    /// # Errors
    /// If there is none, or it cannot be had.
    fn directory(&self, name: &str, shown: &str, cancel: &Cancel) -> Result<ContextDir, NamedContextError>;
}

/// Why a named context cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum NamedContextError {
    /// Something that is no context.
    #[error("invalid context specifier {value} for {name}")]
    Specifier {
        /// Its name.
        name: String,
        /// As given.
        value: String,
    },
    /// A kind of context that there is not.
    #[error("unsupported context source {kind} for {name}")]
    Kind {
        /// Its name.
        name: String,
        /// Its kind.
        kind: String,
    },
    /// A directory that the client does not offer.
    #[error("context {0}: the client offers no directory of this name")]
    NoDirectory(String),
    /// It cannot be fetched.
    #[error("context {name}: {source}")]
    Source {
        /// Its name.
        name: String,
        /// What failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The named contexts of a build.
#[derive(Clone, Default)]
pub struct Contexts {
    by_name: BTreeMap<String, String>,
    source: Option<Arc<dyn ContextSource>>,
}

impl Contexts {
    /// Contexts by name, directories of the client from `source`.
    pub fn new(by_name: BTreeMap<String, String>, source: Option<Arc<dyn ContextSource>>) -> Self {
        Contexts { by_name, source }
    }

    /// Whether a stage or image of this name has a context in its place, for some platform.
    pub(crate) fn has(&self, name: &str) -> bool {
        let Some(name) = familiar(name) else { return false };
        let for_platform = format!("{name}::");
        self.by_name.keys().any(|key| *key == name || key.starts_with(&for_platform))
    }

    /// The key and the value of what stands in the place of a name; one for the platform goes first.
    fn find(&self, name: &str, platform: &Platform) -> Option<(&String, &String)> {
        if self.by_name.is_empty() {
            return None;
        }
        let name = familiar(name)?;
        let for_platform = self.by_name.get_key_value(&format!("{name}::{platform}"));
        for_platform.or_else(|| self.by_name.get_key_value(&name))
    }

    /// What stands in the place of a name.
    pub(crate) fn base(&self, name: &str, platform: &Platform) -> Option<Base> {
        let (key, value) = self.find(name, platform)?;
        Some(match value.strip_prefix("docker-image:") {
            Some(image) => match image.strip_prefix("//").unwrap_or(image) {
                "scratch" => Base::Scratch,
                image => Base::Image(image.to_owned()),
            },
            None => Base::Context(key.clone()),
        })
    }

    /// The value of a context by its key.
    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        self.by_name.get(key).map(String::as_str)
    }

    /// A directory of the client.
    pub(crate) fn directory(
        &self,
        name: &str,
        shown: &str,
        cancel: &Cancel,
    ) -> Result<ContextDir, NamedContextError> {
        match &self.source {
            Some(source) => source.directory(name, shown, cancel),
            None => Err(NamedContextError::NoDirectory(shown.to_owned())),
        }
    }
}

impl fmt::Debug for Contexts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.by_name).finish()
    }
}

impl NamedContextError {
    pub(crate) fn source(name: &str, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        NamedContextError::Source { name: name.to_owned(), source: Box::new(source) }
    }
}

impl From<(&str, ContextError)> for NamedContextError {
    fn from((name, error): (&str, ContextError)) -> Self {
        Self::source(name, error)
    }
}

impl From<(&str, CopyError)> for NamedContextError {
    fn from((name, error): (&str, CopyError)) -> Self {
        Self::source(name, error)
    }
}

/// A name as contexts are looked up: `docker.io/library/alpine:latest` is `alpine`. None for what no context can
/// replace.
fn familiar(name: &str) -> Option<String> {
    if ["scratch", "context"].iter().any(|own| name.eq_ignore_ascii_case(own)) {
        return None;
    }
    let familiar = Reference::parse(name).ok()?.familiar();
    Some(familiar.strip_suffix(":latest").map(str::to_owned).unwrap_or(familiar))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_however_they_are_written() {
        let platform = Platform::new("linux", "arm64", None);
        let contexts: BTreeMap<String, String> = [
            ("alpine", "docker-image://busybox:1"),
            ("alpine:3", "docker-image://scratch"),
            ("src", "local:src"),
            ("src::linux/arm64", "https://example.org/src.git"),
            ("scratch", "local:x"),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
        let contexts = Contexts::new(contexts, None);
        let base = |name: &str| contexts.base(name, &platform);
        for name in ["alpine", "alpine:latest", "docker.io/library/alpine"] {
            assert_eq!(base(name), Some(Base::Image("busybox:1".to_owned())), "{name}");
        }
        assert_eq!(base("alpine:3"), Some(Base::Scratch));
        assert_eq!(base("alpine:4"), None);
        assert_eq!(base("src"), Some(Base::Context("src::linux/arm64".to_owned())));
        assert!(contexts.has("src") && !contexts.has("other") && !contexts.has("Scratch"));
        assert_eq!(base("scratch"), None);
        let other = Platform::new("linux", "amd64", None);
        assert_eq!(contexts.base("src", &other), Some(Base::Context("src".to_owned())));
    }
}
