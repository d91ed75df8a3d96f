//! Builds: `/build` and `/build/prune`.

use std::collections::BTreeMap;

use dray_api::Filters;
use dray_api::auth::CONFIG_HEADER;
use dray_api::build::{BuildPruneReport, ContextListing, ContextMissing};
use dray_api::progress::ProgressMessage;
use http::Method;

use crate::Result;
use crate::error::Error;
use crate::query::Query;
use crate::request::{Call, Client, Upload};
use crate::stream::{Hijacked, JsonStream};

/// The header with a session's id.
const SESSION_ID: &str = "x-docker-expose-session-uuid";

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
    pub async fn build_prune(&self, all: bool, keep: i64, filters: &Filters) -> Result<BuildPruneReport> {
        let keep = if keep > 0 { keep.to_string() } else { String::new() };
        let query = Query::new().with_flag("all", all).with_some("keep-storage", keep).with_filters(filters);
        self.json(Call::new(Method::POST, "/build/prune").query(query)).await
    }
}
