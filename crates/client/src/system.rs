//! The daemon: `/info`, `/version`, `/events`, `/system/df`, `/auth`.

use dray_api::Filters;
use dray_api::auth::{AuthConfig, AuthResponse};
use dray_api::event::EventMessage;
use dray_api::system::{DiskUsage, Info, Version};
use http::Method;

use crate::Result;
use crate::query::Query;
use crate::request::{Call, Client, Upload};
use crate::stream::JsonStream;

impl Client {
    /// The daemon's state.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn info(&self) -> Result<Info> {
        self.json(Call::new(Method::GET, "/info")).await
    }

    /// The same as it came over the wire.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn info_raw(&self) -> Result<bytes::Bytes> {
        self.raw(Call::new(Method::GET, "/info")).await
    }

    /// The daemon's version.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn server_version(&self) -> Result<Version> {
        self.json(Call::new(Method::GET, "/version")).await
    }

    /// What takes space.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn disk_usage(&self) -> Result<DiskUsage> {
        self.json(Call::new(Method::GET, "/system/df")).await
    }

    /// What happens.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn events(
        &self,
        since: &str,
        until: &str,
        filters: &Filters,
    ) -> Result<JsonStream<EventMessage>> {
        let query = Query::new().with_some("since", since).with_some("until", until).with_filters(filters);
        self.json_stream(Call::new(Method::GET, "/events").query(query)).await
    }

    /// Checks credentials against their registry.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn login(&self, auth: &AuthConfig) -> Result<AuthResponse> {
        self.json(Call::new(Method::POST, "/auth").upload(Upload::json(auth)?)).await
    }
}
