//! Builds: `/build` and `/build/prune`.

use dray_api::Filters;
use dray_api::auth::CONFIG_HEADER;
use dray_api::build::BuildPruneReport;
use dray_api::progress::ProgressMessage;
use http::Method;

use crate::Result;
use crate::query::Query;
use crate::request::{Call, Client, Upload};
use crate::stream::{Hijacked, JsonStream};

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

    /// Opens a session over which the daemon calls these methods of gRPC.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn build_session(&self, id: &str, methods: &[&str]) -> Result<Hijacked> {
        let mut call = Call::new(Method::POST, "/session").header("x-docker-expose-session-uuid", id);
        for method in methods {
            call = call.header("x-docker-expose-session-grpc-method", *method);
        }
        self.hijack_as(call, "h2c").await
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
