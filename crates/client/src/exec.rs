//! Commands in running containers: `/containers/{id}/exec` and `/exec/…`.

use dray_api::container::{ExecCreateRequest, ExecCreateResponse, ExecInspect, ExecStartRequest};
use http::Method;

use crate::Result;
use crate::query::{Query, segment};
use crate::request::{Call, Client, Upload};
use crate::stream::Hijacked;

impl Client {
    /// Prepares a command.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn exec_create(
        &self,
        container: &str,
        request: &ExecCreateRequest,
    ) -> Result<ExecCreateResponse> {
        let path = format!("/containers/{}/exec", segment(container));
        self.json(Call::new(Method::POST, &path).upload(Upload::json(request)?)).await
    }

    /// Starts a command without its streams.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn exec_start(&self, id: &str, request: &ExecStartRequest) -> Result<()> {
        let path = format!("/exec/{}/start", segment(id));
        self.done(Call::new(Method::POST, &path).upload(Upload::json(request)?)).await
    }

    /// Starts a command and joins its streams.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn exec_attach(&self, id: &str, request: &ExecStartRequest) -> Result<Hijacked> {
        let path = format!("/exec/{}/start", segment(id));
        self.hijack(Call::new(Method::POST, &path).upload(Upload::json(request)?)).await
    }

    /// How a command is doing.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn exec_inspect(&self, id: &str) -> Result<ExecInspect> {
        self.json(Call::new(Method::GET, &format!("/exec/{}/json", segment(id)))).await
    }

    /// Sets the size of a command's terminal.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn exec_resize(&self, id: &str, height: u16, width: u16) -> Result<()> {
        let query = Query::new().with("h", height.to_string()).with("w", width.to_string());
        self.done(Call::new(Method::POST, &format!("/exec/{}/resize", segment(id))).query(query)).await
    }
}
