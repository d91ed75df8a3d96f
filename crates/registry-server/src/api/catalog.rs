//! The list of repositories, and what lists in pages have in common.

use http::Response;
use serde_json::json;

use super::problem::Problem;
use super::registry::{Call, Registry, json, set};
use crate::access::Action;
use crate::connection::Body;
use crate::name::Repository;

/// A part of a list.
pub(super) struct Page {
    /// At most so many entries.
    pub(super) limit: usize,
    /// After this one.
    pub(super) after: Option<String>,
}

impl Page {
    /// Reads `n` and `last` of a query.
    pub(super) fn of(call: &Call, most: usize) -> Result<Self, Problem> {
        let limit = match call.query("n") {
            None => most,
            Some(text) => {
                let number = text.parse::<usize>();
                let bad = || {
                    Problem::Unsupported(format!(
                        "n={:?} is no number of entries",
                        text.chars().take(50).collect::<String>()
                    ))
                };
                number.map_err(|_| bad())?.min(most)
            }
        };
        Ok(Self { limit, after: call.query("last").filter(|last| !last.is_empty()) })
    }

    /// Cuts what was read of one entry more than the page has, and says where the next page is.
    pub(super) fn cut(&self, response_path: &str, extra: &str, entries: &mut Vec<String>) -> Option<String> {
        if self.limit == 0 {
            entries.clear();
        }
        let more = entries.len() > self.limit;
        entries.truncate(self.limit);
        let last = entries.last().filter(|_| more)?;
        let query: String = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("n", &self.limit.to_string())
            .append_pair("last", last)
            .finish();
        Some(format!("<{response_path}?{extra}{query}>; rel=\"next\""))
    }
}

/// `GET /v2/_catalog`: the repositories that the client may pull from.
pub(super) async fn list(registry: &Registry, call: &Call) -> Result<Response<Body>, Problem> {
    let page = Page::of(call, registry.limits.page)?;
    let mut names = Vec::new();
    let mut after = page.after.clone();
    loop {
        let read = registry.metadata.repositories(after.as_deref(), page.limit + 1).await?;
        let last = read.len() <= page.limit;
        after = read.last().cloned();
        let allowed = |name: &String| {
            Repository::parse(name).is_some_and(|name| registry.access.allows(&call.who, &name, Action::Pull))
        };
        names.extend(read.into_iter().filter(allowed));
        if last || names.len() > page.limit {
            break;
        }
    }
    let link = page.cut("/v2/_catalog", "", &mut names);
    let mut response = json(json!({ "repositories": names }).to_string());
    if let Some(link) = link {
        set(&mut response, "link", link);
    }
    Ok(response)
}
