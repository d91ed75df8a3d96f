//! Something that happened to a repository, in the words of docker-registry's notifications where it has them.

use std::net::SocketAddr;

use dray_spec::Digest;
use http::{Method, StatusCode, header};
use serde::Serialize;

use crate::access::Principal;
use crate::api::Call;
use crate::metadata::{NewManifest, StoredManifest};
use crate::name::{Repository, Target};

/// What happened.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event<'a> {
    /// `pull`, `push`, `mount`, `delete` or `refused`.
    pub action: &'static str,
    /// The repository.
    pub repository: &'a str,
    /// The content.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub digest: &'a str,
    /// The tags that it was named by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<&'a str>,
    /// What it is.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub media_type: &'a str,
    /// How long it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Where it was mounted from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_repository: Option<&'a str>,
    /// The account.
    pub actor: &'a str,
    /// The client's address.
    pub address: String,
    /// The client's program.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub user_agent: &'a str,
    /// The answer's status, where the request was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

/// Bytes of what a client may say as it likes: lines wait in memory.
const LONGEST: usize = 1024;

fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST)]
}

impl<'a> Event<'a> {
    fn new(action: &'static str, call: &'a Call, repository: &'a Repository) -> Self {
        Self {
            action,
            repository: repository.as_str(),
            digest: "",
            tags: Vec::new(),
            media_type: "",
            size: None,
            from_repository: None,
            actor: call.who.name(),
            address: call.link.peer.to_string(),
            user_agent: short(call.header(header::USER_AGENT).unwrap_or_default()),
            status: None,
        }
    }

    pub(crate) fn pull(
        call: &'a Call,
        repository: &'a Repository,
        manifest: &'a StoredManifest,
        target: &'a Target,
    ) -> Self {
        let action = if call.head.method == Method::HEAD { "head" } else { "pull" };
        let tag = match target {
            Target::Tag(tag) => Some(tag.as_str()),
            Target::Digest(_) => None,
        };
        Self {
            digest: manifest.digest.as_str(),
            tags: tag.into_iter().collect(),
            media_type: &manifest.media_type,
            size: Some(manifest.content.len() as u64),
            ..Self::new(action, call, repository)
        }
    }

    pub(crate) fn push(call: &'a Call, repository: &'a Repository, manifest: &'a NewManifest) -> Self {
        Self {
            digest: manifest.digest.as_str(),
            tags: manifest.tags.iter().map(String::as_str).collect(),
            media_type: &manifest.media_type,
            size: Some(manifest.content.len() as u64),
            ..Self::new("push", call, repository)
        }
    }

    pub(crate) fn push_blob(
        call: &'a Call,
        repository: &'a Repository,
        digest: &'a Digest,
        size: u64,
    ) -> Self {
        let media_type = "application/octet-stream";
        Self { digest: digest.as_str(), size: Some(size), media_type, ..Self::new("push", call, repository) }
    }

    pub(crate) fn mount(
        call: &'a Call,
        repository: &'a Repository,
        digest: &'a Digest,
        from: &'a Repository,
    ) -> Self {
        let from_repository = Some(from.as_str());
        Self { digest: digest.as_str(), from_repository, ..Self::new("mount", call, repository) }
    }

    pub(crate) fn delete(
        call: &'a Call,
        repository: &'a Repository,
        digest: &'a str,
        tag: Option<&'a str>,
    ) -> Self {
        Self { digest, tags: tag.into_iter().collect(), ..Self::new("delete", call, repository) }
    }

    pub(crate) fn refused(path: &'a str, who: &'a Principal, peer: SocketAddr, status: StatusCode) -> Self {
        Self {
            action: "refused",
            repository: short(path),
            digest: "",
            tags: Vec::new(),
            media_type: "",
            size: None,
            from_repository: None,
            actor: who.name(),
            address: peer.to_string(),
            user_agent: "",
            status: Some(status.as_u16()),
        }
    }
}
