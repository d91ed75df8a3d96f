//! Files in and out: `archive` and `export`.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use dray_api::container::{PATH_STAT_HEADER, PathStat};
use dray_engine::container::{Error, UnpackOptions};
use http::{HeaderName, HeaderValue, StatusCode};
use tokio::sync::oneshot;

use super::Containers;
use crate::blocking::call;
use crate::body;
use crate::error::{ApiError, ApiResult};
use crate::extract::Params;
use crate::state::App;

const TAR: &str = "application/x-tar";

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/containers/{id}/archive", get(download).head(stat).put(upload))
        .route("/containers/{id}/export", get(export))
}

fn path_of(params: &Params) -> Result<String, ApiError> {
    let path = params.get("path");
    if path.is_empty() {
        return Err(ApiError::bad_request("bad parameter: 'path' cannot be empty"));
    }
    Ok(path.to_owned())
}

fn with_stat(mut response: Response, stat: &PathStat) -> Response {
    let text = serde_json::to_vec(stat).unwrap_or_default();
    let encoded = base64::engine::general_purpose::STANDARD.encode(text);
    if let (Ok(name), Ok(value)) =
        (HeaderName::from_bytes(PATH_STAT_HEADER.as_bytes()), HeaderValue::from_str(&encoded))
    {
        response.headers_mut().insert(name, value);
    }
    response
}

async fn stat(State(containers): Containers, Path(id): Path<String>, params: Params) -> ApiResult {
    let stat = containers.stat_path(&id, &path_of(&params)?).await?;
    Ok(with_stat(StatusCode::OK.into_response(), &stat))
}

async fn download(State(containers): Containers, Path(id): Path<String>, params: Params) -> ApiResult {
    let path = path_of(&params)?;
    let (tell, told) = oneshot::channel();
    let work = tokio::task::spawn_blocking(move || {
        // The answer begins once the path is found; what fails later cuts the body short.
        containers.get_archive(&id, &path, |stat| {
            let (writer, response, _) = body::raw(TAR);
            tell.send(with_stat(response, &stat)).ok().map(|()| writer)
        })
    });
    answer_or_error(told, work).await
}

async fn export(State(containers): Containers, Path(id): Path<String>) -> ApiResult {
    containers.registry().find(&id)?;
    let (writer, response, _) = body::raw("application/octet-stream");
    let containers = Arc::clone(&containers);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = containers.export(&id, writer) {
            tracing::warn!(container = id, %error, "export ended early");
        }
    });
    Ok(response)
}

/// The answer that the work begins, or why it did not begin one.
async fn answer_or_error(
    told: oneshot::Receiver<Response>,
    work: tokio::task::JoinHandle<Result<(), Error>>,
) -> ApiResult {
    if let Ok(response) = told.await {
        tokio::spawn(async move {
            if let Ok(Err(error)) = work.await {
                tracing::warn!(%error, "an archive ended early");
            }
        });
        return Ok(response);
    }
    match work.await {
        Ok(Ok(())) => Err(ApiError::internal("no archive was made")),
        Ok(Err(error)) => Err(error.into()),
        Err(error) => Err(ApiError::internal(error.to_string())),
    }
}

async fn upload(
    State(containers): Containers,
    Path(id): Path<String>,
    params: Params,
    body: Body,
) -> ApiResult {
    let path = path_of(&params)?;
    let keep_kind = params.bool("noOverwriteDirNonDir");
    let as_user = params.bool("copyUIDGID");
    let archive = body::reader(body);
    call(move || {
        let owner = if as_user { Some(containers.owner(&id)?) } else { None };
        containers.put_archive(&id, &path, UnpackOptions { keep_kind, owner }, archive)
    })
    .await?;
    Ok(StatusCode::OK.into_response())
}
