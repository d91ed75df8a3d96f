//! Containers: `/containers/…` and `/commit`.

use base64::Engine as _;
use dray_api::Filters;
use dray_api::container::{
    CommitResponse, ContainerConfig, ContainerCreateRequest, ContainerInspect, ContainerSummary,
    ContainerTop, ContainerUpdateRequest, ContainerUpdateResponse, ContainersPruneReport, CreateResponse,
    FilesystemChange, PATH_STAT_HEADER, PathStat, Stats, WaitResponse,
};
use http::Method;

use crate::query::{Query, segment};
use crate::request::{Call, Client, Upload};
use crate::stream::{Body, Hijacked, JsonStream};
use crate::{Error, Result};

/// What `GET /containers/json` shows.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// Also those that do not run.
    pub all: bool,
    /// At most so many, the newest first; 0 is no limit.
    pub limit: i64,
    /// With sizes.
    pub size: bool,
    /// Which ones.
    pub filters: Filters,
}

/// Which streams an attach joins.
#[derive(Clone, Debug, Default)]
pub struct AttachOptions {
    /// Live output.
    pub stream: bool,
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// What was written before.
    pub logs: bool,
    /// Keys that detach.
    pub detach_keys: String,
}

/// Which part of a log is wanted.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// Go on as more is written.
    pub follow: bool,
    /// With time stamps.
    pub timestamps: bool,
    /// With the driver's details.
    pub details: bool,
    /// From this time on.
    pub since: String,
    /// Up to this time.
    pub until: String,
    /// So many last lines, or `all`.
    pub tail: String,
}

/// What `POST /commit` makes.
#[derive(Clone, Debug, Default)]
pub struct CommitOptions {
    /// Repository of the new image.
    pub repo: String,
    /// Tag of the new image.
    pub tag: String,
    /// Message.
    pub comment: String,
    /// Who made it.
    pub author: String,
    /// Dockerfile instructions to apply.
    pub changes: Vec<String>,
    /// Whether the container is paused meanwhile.
    pub pause: bool,
}

fn path(id: &str, what: &str) -> String {
    format!("/containers/{}{what}", segment(id))
}

impl Client {
    /// Creates a container.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn container_create(
        &self,
        name: &str,
        platform: &str,
        request: &ContainerCreateRequest,
    ) -> Result<CreateResponse> {
        let query = Query::new().with_some("name", name).with_some("platform", platform);
        let mut request = request.clone();
        if let Some(host) = &mut request.host_config {
            host.cap_add = host.cap_add.take().map(capabilities);
            host.cap_drop = host.cap_drop.take().map(capabilities);
        }
        let call = Call::new(Method::POST, "/containers/create").query(query).upload(Upload::json(&request)?);
        self.json(call).await
    }

    /// Lists containers.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn container_list(&self, options: &ListOptions) -> Result<Vec<ContainerSummary>> {
        let limit = if options.limit > 0 { options.limit.to_string() } else { String::new() };
        let query = Query::new()
            .with_flag("all", options.all)
            .with_some("limit", limit)
            .with_flag("size", options.size)
            .with_filters(&options.filters);
        self.json(Call::new(Method::GET, "/containers/json").query(query)).await
    }

    /// Everything known of a container.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn container_inspect(&self, id: &str) -> Result<ContainerInspect> {
        self.json(Call::new(Method::GET, &path(id, "/json"))).await
    }

    /// The same as it came over the wire.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn container_inspect_raw(&self, id: &str, size: bool) -> Result<bytes::Bytes> {
        self.raw(Call::new(Method::GET, &path(id, "/json")).query(Query::new().with_flag("size", size))).await
    }

    /// Starts a container.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn container_start(&self, id: &str, detach_keys: &str) -> Result<()> {
        let query = Query::new().with_some("detachKeys", detach_keys);
        self.done(Call::new(Method::POST, &path(id, "/start")).query(query)).await
    }

    /// Stops a container.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn container_stop(&self, id: &str, signal: &str, timeout: Option<i64>) -> Result<()> {
        self.stop_or_restart(&path(id, "/stop"), signal, timeout).await
    }

    /// Restarts a container.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn container_restart(&self, id: &str, signal: &str, timeout: Option<i64>) -> Result<()> {
        self.stop_or_restart(&path(id, "/restart"), signal, timeout).await
    }

    async fn stop_or_restart(&self, path: &str, signal: &str, timeout: Option<i64>) -> Result<()> {
        let timeout = timeout.map(|t| t.to_string()).unwrap_or_default();
        let query = Query::new().with_some("signal", signal).with_some("t", timeout);
        self.done(Call::new(Method::POST, path).query(query)).await
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn container_kill(&self, id: &str, signal: &str) -> Result<()> {
        let query = Query::new().with_some("signal", signal);
        self.done(Call::new(Method::POST, &path(id, "/kill")).query(query)).await
    }

    /// Freezes a container's processes.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn container_pause(&self, id: &str) -> Result<()> {
        self.done(Call::new(Method::POST, &path(id, "/pause"))).await
    }

    /// Thaws a container's processes.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn container_unpause(&self, id: &str) -> Result<()> {
        self.done(Call::new(Method::POST, &path(id, "/unpause"))).await
    }

    /// Renames a container.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn container_rename(&self, id: &str, name: &str) -> Result<()> {
        let query = Query::new().with("name", name);
        self.done(Call::new(Method::POST, &path(id, "/rename")).query(query)).await
    }

    /// Removes a container.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn container_remove(&self, id: &str, volumes: bool, link: bool, force: bool) -> Result<()> {
        let query = Query::new().with_flag("v", volumes).with_flag("link", link).with_flag("force", force);
        self.done(Call::new(Method::DELETE, &path(id, "")).query(query)).await
    }

    /// Waits until the condition holds; the body comes after the daemon has begun to wait.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn container_wait(&self, id: &str, condition: &str) -> Result<JsonStream<WaitResponse>> {
        let query = Query::new().with_some("condition", condition);
        self.json_stream(Call::new(Method::POST, &path(id, "/wait")).query(query)).await
    }

    /// Joins a container's streams.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn container_attach(&self, id: &str, options: &AttachOptions) -> Result<Hijacked> {
        let query = Query::new()
            .with_some("detachKeys", &options.detach_keys)
            .with_flag("logs", options.logs)
            .with_flag("stderr", options.stderr)
            .with_flag("stdin", options.stdin)
            .with_flag("stdout", options.stdout)
            .with_flag("stream", options.stream);
        self.hijack(Call::new(Method::POST, &path(id, "/attach")).query(query)).await
    }

    /// A container's log.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn container_logs(&self, id: &str, options: &LogOptions) -> Result<Body> {
        let query = Query::new()
            .with_flag("details", options.details)
            .with_flag("follow", options.follow)
            .with_some("since", &options.since)
            .with_flag("stderr", options.stderr)
            .with_flag("stdout", options.stdout)
            .with_some("tail", &options.tail)
            .with_flag("timestamps", options.timestamps)
            .with_some("until", &options.until);
        self.stream(Call::new(Method::GET, &path(id, "/logs")).query(query)).await
    }

    /// Sets the size of a container's terminal.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn container_resize(&self, id: &str, height: u16, width: u16) -> Result<()> {
        let query = Query::new().with("h", height.to_string()).with("w", width.to_string());
        self.done(Call::new(Method::POST, &path(id, "/resize")).query(query)).await
    }

    /// A container's processes.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn container_top(&self, id: &str, ps_args: &str) -> Result<ContainerTop> {
        let query = Query::new().with_some("ps_args", ps_args);
        self.json(Call::new(Method::GET, &path(id, "/top")).query(query)).await
    }

    /// Samples of a container's use of resources.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn container_stats(&self, id: &str, stream: bool) -> Result<JsonStream<Stats>> {
        let query = Query::new().with("stream", if stream { "1" } else { "0" });
        self.json_stream(Call::new(Method::GET, &path(id, "/stats")).query(query)).await
    }

    /// What differs from the image.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn container_changes(&self, id: &str) -> Result<Vec<FilesystemChange>> {
        let changes: Option<_> = self.json(Call::new(Method::GET, &path(id, "/changes"))).await?;
        Ok(changes.unwrap_or_default())
    }

    /// The container's files as a tar.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn container_export(&self, id: &str) -> Result<Body> {
        self.stream(Call::new(Method::GET, &path(id, "/export"))).await
    }

    /// What a path in a container is.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn container_stat_path(&self, id: &str, at: &str) -> Result<PathStat> {
        let api = path(id, "/archive");
        let headers = self.head(Call::new(Method::HEAD, &api).query(Query::new().with("path", at))).await?;
        path_stat(&headers, &api)
    }

    /// A path of a container as a tar, and what the path is.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn container_copy_from(&self, id: &str, at: &str) -> Result<(Body, PathStat)> {
        let api = path(id, "/archive");
        let body = self.stream(Call::new(Method::GET, &api).query(Query::new().with("path", at))).await?;
        let stat = path_stat(body.headers(), &api)?;
        Ok((body, stat))
    }

    /// Unpacks a tar in a directory of a container.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn container_copy_to(&self, id: &str, at: &str, copy_owner: bool, tar: Upload) -> Result<()> {
        let query = Query::new()
            .with_some("copyUIDGID", if copy_owner { "true" } else { "" })
            .with("noOverwriteDirNonDir", "true")
            .with("path", at);
        self.done(Call::new(Method::PUT, &path(id, "/archive")).query(query).upload(tar)).await
    }

    /// Changes limits and restart policy.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn container_update(
        &self,
        id: &str,
        request: &ContainerUpdateRequest,
    ) -> Result<ContainerUpdateResponse> {
        self.json(Call::new(Method::POST, &path(id, "/update")).upload(Upload::json(request)?)).await
    }

    /// Removes containers that do not run.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn container_prune(&self, filters: &Filters) -> Result<ContainersPruneReport> {
        let query = Query::new().with_filters(filters);
        self.json(Call::new(Method::POST, "/containers/prune").query(query)).await
    }

    /// Makes an image of a container's files.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses.
    pub async fn container_commit(
        &self,
        id: &str,
        options: &CommitOptions,
        config: &ContainerConfig,
    ) -> Result<CommitResponse> {
        let mut query = Query::new()
            .with_some("author", &options.author)
            .with_some("comment", &options.comment)
            .with("container", id)
            .with_some("repo", &options.repo)
            .with_some("tag", &options.tag);
        for change in &options.changes {
            query.add("changes", change);
        }
        let query = if options.pause { query } else { query.with("pause", "0") };
        self.json(Call::new(Method::POST, "/commit").query(query).upload(Upload::json(config)?)).await
    }
}

fn path_stat(headers: &http::HeaderMap, what: &str) -> Result<PathStat> {
    let unusable = || Error::Header { what: what.to_owned(), header: PATH_STAT_HEADER };
    let text = headers.get(PATH_STAT_HEADER).ok_or_else(unusable)?;
    let json = base64::engine::general_purpose::STANDARD.decode(text).map_err(|_| unusable())?;
    serde_json::from_slice(&json).map_err(|_| unusable())
}

/// Capabilities as Docker's client sends them: `CAP_NET_ADMIN` for `net_admin`, each once and in order.
fn capabilities(names: Vec<String>) -> Vec<String> {
    let whole = |name: String| {
        let name = name.to_uppercase();
        if name == "ALL" || name.starts_with("CAP_") { name } else { format!("CAP_{name}") }
    };
    let sorted: std::collections::BTreeSet<String> = names.into_iter().map(whole).collect();
    sorted.into_iter().collect()
}
