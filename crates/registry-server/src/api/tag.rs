//! The list of a repository's tags.

use http::Response;
use serde_json::json;

use super::catalog::Page;
use super::problem::Problem;
use super::registry::{Call, Registry, json, set};
use crate::connection::Body;
use crate::name::Repository;

/// `GET /v2/<name>/tags/list`.
pub(super) async fn list(
    registry: &Registry,
    call: &Call,
    repository: &Repository,
) -> Result<Response<Body>, Problem> {
    let page = Page::of(call, registry.limits.page)?;
    let tags = registry.metadata.tags(repository, page.after.as_deref(), page.limit + 1).await?;
    let mut tags = tags.ok_or_else(|| Problem::NameUnknown(repository.to_string()))?;
    let link = page.cut(&format!("/v2/{repository}/tags/list"), "", &mut tags);
    let mut response = json(json!({ "name": repository.as_str(), "tags": tags }).to_string());
    if let Some(link) = link {
        set(&mut response, "link", link);
    }
    Ok(response)
}
