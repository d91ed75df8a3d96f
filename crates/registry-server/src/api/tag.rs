//! The list of a repository's tags.

use std::collections::BTreeSet;

use http::Response;
use serde_json::json;

use super::catalog::Page;
use super::problem::Problem;
use super::registry::{Call, Registry, json, set};
use crate::cache::Judgement;
use crate::connection::Body;
use crate::name::Repository;

/// `GET /v2/<name>/tags/list`.
pub(super) async fn list(
    registry: &Registry,
    call: &Call,
    repository: &Repository,
) -> Result<Response<Body>, Problem> {
    let page = Page::of(call, registry.limits.page)?;
    let mut tags = match there(registry, repository).await? {
        Some(all) => {
            let after = |tag: &String| page.after.as_ref().is_none_or(|last| tag > last);
            all.into_iter().filter(after).take(page.limit + 1).collect()
        }
        None => {
            let tags = registry.metadata.tags(repository, page.after.as_deref(), page.limit + 1).await?;
            tags.ok_or_else(|| Problem::NameUnknown(repository.to_string()))?
        }
    };
    let link = page.cut(&format!("/v2/{repository}/tags/list"), "", &mut tags);
    let mut response = json(json!({ "name": repository.as_str(), "tags": tags }).to_string());
    if let Some(link) = link {
        set(&mut response, "link", link);
    }
    Ok(response)
}

/// All tags of the repository that this one is a copy of, if it is one and the upstream says so.
async fn there(registry: &Registry, repository: &Repository) -> Result<Option<BTreeSet<String>>, Problem> {
    let Some(upstream) = registry.cache.of(repository) else { return Ok(None) };
    let there = upstream.repository(repository).map_err(|error| upstream.problem(&error))?;
    match there.tags().await {
        Ok(tags) => Ok(Some(tags.into_iter().collect())),
        // What there is of it here.
        Err(error) if upstream.judge(&error) == Judgement::Away => Ok(None),
        Err(_) => Err(Problem::NameUnknown(repository.to_string())),
    }
}
