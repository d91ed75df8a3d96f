//! The list of the manifests that are about a manifest (distribution-spec 1.1, "Listing Referrers").

use dray_spec::{Descriptor, Digest, media_type};
use http::Response;
use serde_json::json;

use super::problem::Problem;
use super::registry::{Call, Registry, json, set};
use crate::cache::Judgement;
use crate::connection::Body;
use crate::metadata::{Filter, Referrer};
use crate::name::Repository;

/// The most entries of a page.
const ENTRIES: usize = 1000;
/// A page ends after so many bytes: clients read no manifest of more than 4 MiB. Annotations of a manifest that alone come
/// to more are left out of the list, which else nobody could read; they stand in the manifest.
const BYTES: usize = 3 * 1024 * 1024;

/// `GET /v2/<name>/referrers/<digest>`. There is always a list, if an empty one.
pub(super) async fn list(
    registry: &Registry,
    call: &Call,
    repository: &Repository,
    subject: &Digest,
) -> Result<Response<Body>, Problem> {
    let artifact_type = call.query("artifactType");
    if let Some(found) = there(registry, repository, subject, artifact_type.as_deref()).await? {
        return Ok(answer(&found, artifact_type.is_some(), None));
    }
    let filter = Filter {
        artifact_type: artifact_type.clone(),
        after: call.query("last"),
        limit: ENTRIES + 1,
        bytes: BYTES as u64,
    };
    let referrers = registry.metadata.referrers(repository, subject, &filter).await?;
    let (page, more) = page(referrers);
    let link = page.last().filter(|_| more).map(|last| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        if let Some(kind) = &artifact_type {
            query.append_pair("artifactType", kind);
        }
        let query = query.append_pair("last", last.digest.as_str()).finish();
        format!("</v2/{repository}/referrers/{subject}?{query}>; rel=\"next\"")
    });
    Ok(answer(&page, artifact_type.is_some(), link))
}

fn answer(page: &[Descriptor], filtered: bool, link: Option<String>) -> Response<Body> {
    let index = json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": page });
    let mut response = json(index.to_string());
    set(&mut response, "content-type", media_type::OCI_INDEX);
    if filtered {
        set(&mut response, "oci-filters-applied", "artifactType");
    }
    if let Some(link) = link {
        set(&mut response, "link", link);
    }
    response
}

/// What the upstream lists, if the repository is a copy and the upstream can be asked.
async fn there(
    registry: &Registry,
    repository: &Repository,
    subject: &Digest,
    artifact_type: Option<&str>,
) -> Result<Option<Vec<Descriptor>>, Problem> {
    let Some(upstream) = registry.cache.of(repository) else { return Ok(None) };
    let there = upstream.repository(repository).map_err(|error| upstream.problem(&error))?;
    let found = match artifact_type {
        Some(kind) => there.referrers(subject, kind).await,
        None => there.all_referrers(subject).await,
    };
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if upstream.judge(&error) == Judgement::Away => Ok(None),
        Err(_) => Ok(Some(Vec::new())),
    }
}

/// As many as one answer can hold, and whether there are more.
fn page(referrers: Vec<Referrer>) -> (Vec<Descriptor>, bool) {
    let mut page = Vec::new();
    let mut bytes = 0;
    for referrer in referrers {
        bytes += 512 + referrer.annotations.as_ref().map_or(0, String::len);
        if page.len() == ENTRIES || bytes > BYTES && !page.is_empty() {
            return (page, true);
        }
        page.push(descriptor(referrer));
    }
    (page, false)
}

fn descriptor(referrer: Referrer) -> Descriptor {
    let annotations =
        referrer.annotations.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    Descriptor {
        artifact_type: referrer.artifact_type,
        annotations,
        ..Descriptor::new(referrer.media_type, referrer.digest, referrer.size)
    }
}
