//! Networks: `/networks/…`.

use dray_api::Filters;
use dray_api::network::{
    NetworkConnectRequest, NetworkCreateRequest, NetworkCreateResponse, NetworkDisconnectRequest,
    NetworkInspect, NetworksPruneReport,
};
use http::Method;

use crate::Result;
use crate::query::{Query, segment};
use crate::request::{Call, Client, Upload};

fn path(id: &str, what: &str) -> String {
    format!("/networks/{}{what}", segment(id))
}

impl Client {
    /// Lists networks.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn network_list(&self, filters: &Filters) -> Result<Vec<NetworkInspect>> {
        self.json(Call::new(Method::GET, "/networks").query(Query::new().with_filters(filters))).await
    }

    /// Everything known of a network, as it came over the wire.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn network_inspect_raw(&self, id: &str, verbose: bool) -> Result<bytes::Bytes> {
        let query = Query::new().with_some("verbose", if verbose { "true" } else { "" });
        self.raw(Call::new(Method::GET, &path(id, "")).query(query)).await
    }

    /// Creates a network.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn network_create(&self, request: &NetworkCreateRequest) -> Result<NetworkCreateResponse> {
        self.json(Call::new(Method::POST, "/networks/create").upload(Upload::json(request)?)).await
    }

    /// Connects a container.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn network_connect(&self, id: &str, request: &NetworkConnectRequest) -> Result<()> {
        self.done(Call::new(Method::POST, &path(id, "/connect")).upload(Upload::json(request)?)).await
    }

    /// Disconnects a container.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn network_disconnect(&self, id: &str, request: &NetworkDisconnectRequest) -> Result<()> {
        self.done(Call::new(Method::POST, &path(id, "/disconnect")).upload(Upload::json(request)?)).await
    }

    /// Removes a network.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn network_remove(&self, id: &str) -> Result<()> {
        self.done(Call::new(Method::DELETE, &path(id, ""))).await
    }

    /// Removes networks that nothing uses.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn network_prune(&self, filters: &Filters) -> Result<NetworksPruneReport> {
        self.json(Call::new(Method::POST, "/networks/prune").query(Query::new().with_filters(filters))).await
    }
}
