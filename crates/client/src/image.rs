//! Images: `/images/…`.

use dray_api::Filters;
use dray_api::auth::AUTH_HEADER;
use dray_api::image::{
    DeleteItem, DistributionInspect, HistoryItem, ImageSignature, ImageSignatures, ImageSummary,
    ImagesPruneReport, SearchResult,
};
use dray_api::progress::ProgressMessage;
use http::Method;

use crate::Result;
use crate::query::{Query, segment};
use crate::request::{Call, Client, Upload};
use crate::stream::{Body, JsonStream};

/// What `POST /images/create` imports.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// `-` for the body, or a URL.
    pub source: String,
    /// Repository and tag of the new image.
    pub reference: String,
    /// Message.
    pub message: String,
    /// Platform of the new image.
    pub platform: String,
    /// Dockerfile instructions to apply.
    pub changes: Vec<String>,
}

/// How much of a name is pulled.
#[derive(Clone, Debug, Default)]
pub struct PullOptions {
    /// Platform; the daemon's if empty.
    pub platform: String,
    /// Keep the images of all platforms; Dray's daemon alone knows this.
    pub all_platforms: bool,
}

fn path(name: &str, what: &str) -> String {
    format!("/images/{}{what}", segment(name))
}

impl Client {
    /// Lists images.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn image_list(&self, all: bool, filters: &Filters) -> Result<Vec<ImageSummary>> {
        let query = Query::new().with_flag("all", all).with_filters(filters);
        self.json(Call::new(Method::GET, "/images/json").query(query)).await
    }

    /// Everything known of an image, as it came over the wire.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn image_inspect_raw(&self, name: &str, platform: &str) -> Result<bytes::Bytes> {
        let query = Query::new().with_some("platform", platform);
        self.raw(Call::new(Method::GET, &path(name, "/json")).query(query)).await
    }

    /// An image's history.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn image_history(&self, name: &str, platform: &str) -> Result<Vec<HistoryItem>> {
        let query = Query::new().with_some("platform", platform);
        self.json(Call::new(Method::GET, &path(name, "/history")).query(query)).await
    }

    /// Pulls an image; an empty tag pulls all.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn image_pull(
        &self,
        name: &str,
        tag: &str,
        what: &PullOptions,
        auth: &str,
    ) -> Result<JsonStream<ProgressMessage>> {
        let query = Query::new()
            .with("fromImage", name)
            .with_some("tag", tag)
            .with_some("platform", what.platform.to_lowercase())
            .with_flag("all-platforms", what.all_platforms);
        self.json_stream(Call::new(Method::POST, "/images/create").query(query).header(AUTH_HEADER, auth))
            .await
    }

    /// Pushes an image; an empty tag pushes all.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn image_push(
        &self,
        name: &str,
        tag: &str,
        platform: &str,
        auth: &str,
    ) -> Result<JsonStream<ProgressMessage>> {
        let query = Query::new().with_some("platform", platform).with_some("tag", tag);
        self.json_stream(Call::new(Method::POST, &path(name, "/push")).query(query).header(AUTH_HEADER, auth))
            .await
    }

    /// What a name stands for at its registry, and the signatures there for it; Dray's daemon alone knows this.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn image_signatures(&self, name: &str, auth: &str) -> Result<ImageSignatures> {
        self.json(Call::new(Method::GET, &path(name, "/signatures")).header(AUTH_HEADER, auth)).await
    }

    /// Stores a signature beside an image at its registry.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn image_sign(&self, name: &str, signature: &ImageSignature, auth: &str) -> Result<()> {
        let path = path(name, "/signatures");
        let call = Call::new(Method::POST, &path).header(AUTH_HEADER, auth);
        self.done(call.upload(Upload::json(signature)?)).await
    }

    /// Makes an image of a tar of files.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn image_import(
        &self,
        options: &ImportOptions,
        body: Upload,
    ) -> Result<JsonStream<ProgressMessage>> {
        let mut query = Query::new().with("fromSrc", &options.source);
        for change in &options.changes {
            query.add("changes", change);
        }
        let query = query
            .with_some("message", &options.message)
            .with_some("platform", options.platform.to_lowercase())
            .with_some("repo", &options.reference);
        self.json_stream(Call::new(Method::POST, "/images/create").query(query).upload(body)).await
    }

    /// Gives an image another name.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn image_tag(&self, name: &str, repo: &str, tag: &str) -> Result<()> {
        let query = Query::new().with("repo", repo).with_some("tag", tag);
        self.done(Call::new(Method::POST, &path(name, "/tag")).query(query)).await
    }

    /// Removes an image or one of its names.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn image_remove(&self, name: &str, force: bool, keep_parents: bool) -> Result<Vec<DeleteItem>> {
        let query = Query::new().with_flag("force", force).with_flag("noprune", keep_parents);
        self.json(Call::new(Method::DELETE, &path(name, "")).query(query)).await
    }

    /// Images as a tar.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn image_save(&self, names: &[String], platform: &str) -> Result<Body> {
        self.stream(Call::new(Method::GET, "/images/get").query(saving(names, platform))).await
    }

    /// Takes images from a tar.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn image_load(&self, quiet: bool, platform: &str, tar: Upload) -> Result<Body> {
        let call = Call::new(Method::POST, "/images/load").query(loading(quiet, platform));
        self.stream(call.upload(tar)).await
    }

    /// Removes images that nothing uses.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn image_prune(&self, filters: &Filters) -> Result<ImagesPruneReport> {
        self.json(Call::new(Method::POST, "/images/prune").query(Query::new().with_filters(filters))).await
    }

    /// Searches the default registry.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn image_search(
        &self,
        term: &str,
        limit: i64,
        filters: &Filters,
        auth: &str,
    ) -> Result<Vec<SearchResult>> {
        let limit = if limit > 0 { limit.to_string() } else { String::new() };
        let query = Query::new().with("term", term).with_some("limit", limit).with_filters(filters);
        self.json(Call::new(Method::GET, "/images/search").query(query).header(AUTH_HEADER, auth)).await
    }

    /// What a registry says of an image.
    ///
    /// # Errors
    /// The daemon or the registry cannot be reached or refuses.
    pub async fn distribution_inspect(&self, name: &str, auth: &str) -> Result<DistributionInspect> {
        let at = format!("/distribution/{}/json", segment(name));
        self.json(Call::new(Method::GET, &at).header(AUTH_HEADER, auth)).await
    }
}

/// What is asked for by `save`, whichever way the archive comes.
pub(crate) fn saving(names: &[String], platform: &str) -> Query {
    let mut query = Query::new();
    for name in names {
        query.add("names", name);
    }
    query.with_some("platform", platform)
}

/// What is asked for by `load`, whichever way the archive goes.
pub(crate) fn loading(quiet: bool, platform: &str) -> Query {
    Query::new().with("quiet", if quiet { "1" } else { "0" }).with_some("platform", platform)
}
