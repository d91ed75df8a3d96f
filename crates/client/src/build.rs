//! Builds: `/build` and `/build/prune`.

use std::collections::BTreeMap;

use bytes::Bytes;
use dray_api::Filters;
use dray_api::auth::CONFIG_HEADER;
use dray_api::build::{
    BuildDetail, BuildExport, BuildImport, BuildPlace, BuildPruneReport, BuildSummary, CacheMountImport,
    CacheMountRecord, ContextListing, ContextMissing,
};
use dray_api::progress::ProgressMessage;
use http::Method;

use crate::Result;
use crate::error::Error;
use crate::query::Query;
use crate::request::{Call, Client, Upload};
use crate::stream::{Body, Hijacked, JsonStream};

/// The header with a session's id.
const SESSION_ID: &str = "x-docker-expose-session-uuid";

/// How far the build cache is pruned, in bytes; 0 for no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheBounds {
    /// Stays in any case.
    pub reserved: i64,
    /// Stays at most.
    pub most: i64,
    /// The disk shall have this much free.
    pub free: i64,
}

impl Client {
    /// Builds an image from a context; the query has the API's own names. `auths` is the base64url of the JSON of all
    /// known credentials.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn image_build(
        &self,
        query: Query,
        auths: &str,
        context: Upload,
    ) -> Result<JsonStream<ProgressMessage>> {
        let call =
            Call::new(Method::POST, "/build").query(query).header(CONFIG_HEADER, auths).upload(context);
        self.json_stream(call).await
    }

    /// Says what a context consists of, and hears what of it is missing there; `None` from a daemon that does not
    /// compare contexts.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn build_context(&self, listing: &ContextListing) -> Result<Option<ContextMissing>> {
        let call = Call::new(Method::POST, "/build/context").upload(Upload::json(listing)?);
        match self.json(call).await {
            Ok(missing) => Ok(Some(missing)),
            Err(Error::Api { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads files of what an address leads to: a repository or an archive, or the one file that it is. Those that are
    /// not there are an error unless they are `optional`. None if the daemon has no such call.
    ///
    /// # Errors
    /// The daemon cannot be reached, or cannot fetch it.
    pub async fn build_place(
        &self,
        address: &str,
        files: &[String],
        optional: bool,
        session: &str,
    ) -> Result<Option<BuildPlace>> {
        let mut query = Query::new()
            .with("remote", address)
            .with_flag("optional", optional)
            .with_some("session", session);
        files.iter().for_each(|file| query.add("file", file));
        match self.json(Call::new(Method::GET, "/dray/builds/place").query(query)).await {
            Ok(place) => Ok(Some(place)),
            Err(Error::Api { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks about a Dockerfile instead of building it; the query says what (`call`).
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn build_call(
        &self,
        query: Query,
        auths: &str,
        context: Upload,
    ) -> Result<BTreeMap<String, String>> {
        let call =
            Call::new(Method::POST, "/build").query(query).header(CONFIG_HEADER, auths).upload(context);
        self.json(call).await
    }

    /// Opens a session: a connection over which the daemon calls this client (BuildKit's protocol).
    ///
    /// # Errors
    /// The daemon cannot be reached, or has no sessions.
    pub async fn session(&self, id: &str) -> Result<Hijacked> {
        let call = Call::new(Method::POST, "/session").header(SESSION_ID, id).protocol("h2c");
        self.hijack(call).await
    }

    /// Removes records of the build cache.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn build_prune(
        &self,
        all: bool,
        bounds: CacheBounds,
        filters: &Filters,
    ) -> Result<BuildPruneReport> {
        let bytes = |bytes: i64| if bytes > 0 { bytes.to_string() } else { String::new() };
        // Older daemons know one of them, by its older name.
        let query = Query::new()
            .with_flag("all", all)
            .with_some("keep-storage", bytes(bounds.reserved))
            .with_some("reserved-space", bytes(bounds.reserved))
            .with_some("max-used-space", bytes(bounds.most))
            .with_some("min-free-space", bytes(bounds.free))
            .with_filters(filters);
        self.json(Call::new(Method::POST, "/build/prune").query(query)).await
    }

    /// The builds of the history, the newest first.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn build_history(&self, filters: &[String]) -> Result<Vec<BuildSummary>> {
        let mut query = Query::new();
        filters.iter().for_each(|filter| query.add("filter", filter));
        self.json(Call::new(Method::GET, "/dray/builds").query(query)).await
    }

    /// All of a build of the history: of that with this reference or its beginning, `^2`, or the last.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn build_inspect(&self, name: &str) -> Result<BuildDetail> {
        let query = Query::new().with_some("build", name);
        self.json(Call::new(Method::GET, "/dray/builds/inspect").query(query)).await
    }

    /// The log of a build, message by message as BuildKit keeps it; of one that runs, on to its end.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn build_logs(&self, name: &str) -> Result<Body> {
        let query = Query::new().with_some("build", name);
        self.stream(Call::new(Method::GET, "/dray/builds/logs").query(query)).await
    }

    /// A build as OpenTelemetry's spans, a JSON object each.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn build_trace(&self, name: &str) -> Result<Bytes> {
        let query = Query::new().with_some("build", name);
        self.raw(Call::new(Method::GET, "/dray/builds/trace").query(query)).await
    }

    /// A document that belongs to a build.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn build_attachment(&self, name: &str, digest: &str) -> Result<Bytes> {
        let query = Query::new().with_some("build", name).with("digest", digest);
        self.raw(Call::new(Method::GET, "/dray/builds/attachment").query(query)).await
    }

    /// Records of builds as a bundle.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn build_export(&self, wanted: &BuildExport) -> Result<Body> {
        self.stream(Call::new(Method::POST, "/dray/builds/export").upload(Upload::json(wanted)?)).await
    }

    /// Takes records of builds out of a bundle.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn build_import(&self, bundle: Upload) -> Result<BuildImport> {
        self.json(Call::new(Method::POST, "/dray/builds/import").upload(bundle)).await
    }

    /// Removes records of builds, or of all that have ended; gives their references.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn build_remove(&self, names: &[String], all: bool) -> Result<Vec<String>> {
        let mut query = Query::new().with_flag("all", all);
        names.iter().for_each(|name| query.add("build", name));
        self.json(Call::new(Method::POST, "/dray/builds/remove").query(query)).await
    }

    /// The directories of cache mounts.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn cache_mounts(&self) -> Result<Vec<CacheMountRecord>> {
        self.json(Call::new(Method::GET, "/dray/builds/mounts")).await
    }

    /// Directories of cache mounts as an archive; all without ids.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn cache_mount_export(&self, ids: &[String]) -> Result<Body> {
        let mut query = Query::new();
        ids.iter().for_each(|id| query.add("mount", id));
        self.stream(Call::new(Method::GET, "/dray/builds/mounts/export").query(query)).await
    }

    /// Takes directories of cache mounts out of an archive.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn cache_mount_import(&self, archive: Upload) -> Result<CacheMountImport> {
        self.json(Call::new(Method::POST, "/dray/builds/mounts/import").upload(archive)).await
    }
}
