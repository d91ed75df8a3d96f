//! `/containers` and `/commit`.

mod archive;
mod stream;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};
use dray_api::container::{CommitResponse, ContainerConfig, ContainerCreateRequest, ContainerUpdateRequest};
use dray_engine::container::{CommitOptions, ListOptions, Service};
use http::StatusCode;

use crate::error::{ApiError, ApiResult, json};
use crate::extract::{Json, Params};
use crate::state::App;
use crate::version::ApiVersion;

type Containers = State<Arc<Service>>;

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/containers/json", get(list))
        .route("/containers/create", post(create))
        .route("/containers/prune", post(prune))
        .route("/containers/{id}", delete(remove))
        .route("/containers/{id}/json", get(inspect))
        .route("/containers/{id}/start", post(start))
        .route("/containers/{id}/stop", post(stop))
        .route("/containers/{id}/restart", post(restart))
        .route("/containers/{id}/kill", post(kill))
        .route("/containers/{id}/pause", post(pause))
        .route("/containers/{id}/unpause", post(unpause))
        .route("/containers/{id}/rename", post(rename))
        .route("/containers/{id}/update", post(update))
        .route("/containers/{id}/resize", post(resize))
        .route("/containers/{id}/top", get(top))
        .route("/containers/{id}/changes", get(changes))
        .route("/commit", post(commit))
        .merge(archive::router())
        .merge(stream::router())
}

async fn list(State(containers): Containers, version: ApiVersion, params: Params) -> ApiResult {
    let limit = params.int("limit")?.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0);
    let options =
        ListOptions { all: params.bool("all"), limit, size: params.bool("size"), filters: params.filters()? };
    let mut list = containers.list(options).await?;
    for container in &mut list {
        if !version.at_least(46) {
            container.host_config.annotations = None;
        }
        if !version.at_least(52) {
            container.health = None;
        }
    }
    Ok(json(StatusCode::OK, &list))
}

async fn create(
    State(containers): Containers,
    params: Params,
    Json(request): Json<Option<ContainerCreateRequest>>,
) -> ApiResult {
    let request = request
        .ok_or_else(|| ApiError::bad_request("config cannot be empty in order to create a container"))?;
    let owned = |name: &str| params.non_empty(name).map(str::to_owned);
    let made = containers.create(owned("name"), owned("platform"), request).await?;
    Ok(json(StatusCode::CREATED, &made))
}

async fn inspect(State(containers): Containers, Path(id): Path<String>, params: Params) -> ApiResult {
    Ok(json(StatusCode::OK, &containers.inspect(&id, params.bool("size")).await?))
}

fn no_content() -> ApiResult {
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn start(State(containers): Containers, Path(id): Path<String>, params: Params) -> ApiResult {
    if params.non_empty("checkpoint").is_some() {
        return Err(ApiError::bad_request("checkpoint is only supported in experimental mode"));
    }
    containers.start(&id).await?;
    no_content()
}

/// The signal of stop and restart, which clients send since 1.42.
fn stop_signal(version: ApiVersion, params: &Params) -> Option<&str> {
    params.non_empty("signal").filter(|_| version.at_least(42))
}

async fn stop(
    State(containers): Containers,
    Path(id): Path<String>,
    version: ApiVersion,
    params: Params,
) -> ApiResult {
    containers.stop(&id, params.int("t")?, stop_signal(version, &params)).await?;
    no_content()
}

async fn restart(
    State(containers): Containers,
    Path(id): Path<String>,
    version: ApiVersion,
    params: Params,
) -> ApiResult {
    containers.restart(&id, params.int("t")?, stop_signal(version, &params)).await?;
    no_content()
}

async fn kill(State(containers): Containers, Path(id): Path<String>, params: Params) -> ApiResult {
    containers.kill(&id, params.get("signal")).await?;
    no_content()
}

async fn pause(State(containers): Containers, Path(id): Path<String>) -> ApiResult {
    containers.pause(&id).await?;
    no_content()
}

async fn unpause(State(containers): Containers, Path(id): Path<String>) -> ApiResult {
    containers.unpause(&id).await?;
    no_content()
}

async fn rename(State(containers): Containers, Path(id): Path<String>, params: Params) -> ApiResult {
    containers.rename(&id, params.get("name")).await?;
    no_content()
}

async fn remove(State(containers): Containers, Path(id): Path<String>, params: Params) -> ApiResult {
    if params.bool("link") {
        return Err(ApiError::bad_request("Conflict, cannot remove the default link name of the container"));
    }
    containers.remove(&id, params.bool("force"), params.bool("v")).await?;
    no_content()
}

async fn update(
    State(containers): Containers,
    Path(id): Path<String>,
    Json(request): Json<ContainerUpdateRequest>,
) -> ApiResult {
    Ok(json(StatusCode::OK, &containers.update(&id, request).await?))
}

async fn resize(State(containers): Containers, Path(id): Path<String>, params: Params) -> ApiResult {
    let (height, width) = size(&params)?;
    containers.resize(&id, height, width).await?;
    Ok(StatusCode::OK.into_response())
}

/// Height and width of a terminal.
pub(super) fn size(params: &Params) -> Result<(u16, u16), ApiError> {
    let side = |name: &str| {
        let value = params.int(name)?.unwrap_or(0);
        u16::try_from(value)
            .map_err(|_| ApiError::bad_request(format!("invalid terminal size {name}={value}")))
    };
    Ok((side("h")?, side("w")?))
}

async fn top(State(containers): Containers, Path(id): Path<String>, params: Params) -> ApiResult {
    Ok(json(StatusCode::OK, &containers.top(&id, params.get("ps_args")).await?))
}

async fn changes(State(containers): Containers, Path(id): Path<String>) -> ApiResult {
    Ok(json(StatusCode::OK, &containers.changes(&id).await?))
}

async fn prune(State(containers): Containers, params: Params) -> ApiResult {
    Ok(json(StatusCode::OK, &containers.prune(params.filters()?).await?))
}

async fn commit(
    State(containers): Containers,
    params: Params,
    Json(config): Json<Option<ContainerConfig>>,
) -> ApiResult {
    let reference = match (params.get("repo"), params.get("tag")) {
        ("", _) => String::new(),
        (repo, "") => repo.to_owned(),
        (repo, tag) => format!("{repo}:{tag}"),
    };
    let options = CommitOptions {
        reference,
        author: params.get("author").to_owned(),
        comment: params.get("comment").to_owned(),
        pause: params.bool_or("pause", true),
        changes: params.all("changes").map(str::to_owned).collect(),
        config,
    };
    let id = containers.commit(params.get("container"), options).await?;
    Ok(json(StatusCode::CREATED, &CommitResponse { id }))
}
