//! Which manifest a client gets that says what it accepts; pure.
//!
//! A client that says nothing, or accepts anything, gets what there is. One that takes manifests but no indexes, as
//! Docker's did before there were platforms, gets the index's manifest for Linux on amd64: what docker-registry does.

use dray_spec::{Index, Platform, media_type};
use http::{HeaderMap, header};

/// What the `Accept` headers allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Accepted(Option<Vec<String>>);

impl Accepted {
    /// Reads the headers.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut types = Vec::new();
        for value in headers.get_all(header::ACCEPT) {
            for part in value.to_str().unwrap_or_default().split(',') {
                let name = part.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
                if !name.is_empty() {
                    types.push(name);
                }
            }
        }
        let anything = types.is_empty() || types.iter().any(|name| name == "*/*" || name == "application/*");
        Self((!anything).then_some(types))
    }

    /// Whether this type may be sent.
    pub(super) fn allows(&self, media_type: &str) -> bool {
        let Some(types) = &self.0 else { return true };
        // A client that lists no kind of manifest at all has no say in it.
        let names_manifests =
            types.iter().any(|name| media_type::is_manifest(name) || media_type::is_index(name));
        !names_manifests || types.iter().any(|name| name == media_type)
    }

    /// Whether a manifest of one image may be sent.
    pub(super) fn allows_manifest(&self) -> bool {
        self.allows(media_type::OCI_MANIFEST) || self.allows(media_type::DOCKER_MANIFEST)
    }
}

/// The manifest that stands for an index where no index is wanted.
pub(super) fn default_manifest(index: &Index) -> Option<&dray_spec::Descriptor> {
    let platform: Platform = "linux/amd64".parse().ok()?;
    index.select(&platform)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn accepted(values: &[&'static str]) -> Accepted {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::ACCEPT, HeaderValue::from_static(value));
        }
        Accepted::of(&headers)
    }

    #[test]
    fn what_is_listed_is_allowed() {
        let both = accepted(&[
            "application/vnd.oci.image.index.v1+json",
            "application/vnd.oci.image.manifest.v1+json; q=0.5",
        ]);
        assert!(both.allows(media_type::OCI_INDEX) && both.allows(media_type::OCI_MANIFEST));
        assert!(!both.allows(media_type::DOCKER_MANIFEST_LIST));
        let old = accepted(&["application/vnd.docker.distribution.manifest.v2+json, application/json"]);
        assert!(!old.allows(media_type::OCI_INDEX) && old.allows_manifest());
    }

    #[test]
    fn who_says_nothing_takes_anything() {
        for any in [&[][..], &["*/*"], &["text/html, application/*"], &["application/json"]] {
            assert!(accepted(any).allows(media_type::OCI_INDEX), "{any:?}");
        }
    }
}
