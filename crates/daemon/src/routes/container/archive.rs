//! Files in and out: `archive` and `export`.

use std::io::BufWriter;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use dray_api::container::{PATH_STAT_HEADER, PathStat};
use dray_engine::container::{Error, UnpackOptions};
use http::{HeaderName, HeaderValue, StatusCode};

use super::Containers;
use crate::blocking::call;
use crate::body;
use crate::error::{ApiError, ApiResult};
use crate::extract::Params;
use crate::read_ahead;
use crate::state::App;

const TAR: &str = "application/x-tar";
/// Bytes sent at once.
const PIECE: usize = 64 << 10;

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
    let stat = containers.stat_path(&id, &path).await?;
    let (out, response, _) = body::raw(TAR);
    tokio::task::spawn_blocking(move || {
        let breaker = out.breaker();
        let done = containers.get_archive(&id, &path, BufWriter::with_capacity(PIECE, out));
        tell_failure("archive", &id, done, breaker);
    });
    Ok(with_stat(response, &stat))
}

async fn export(State(containers): Containers, Path(id): Path<String>) -> ApiResult {
    containers.registry().find(&id)?;
    let (out, response, _) = body::raw("application/octet-stream");
    tokio::task::spawn_blocking(move || {
        let breaker = out.breaker();
        tell_failure("export", &id, containers.export(&id, BufWriter::with_capacity(PIECE, out)), breaker);
    });
    Ok(response)
}

/// What fails after the head is sent can only break the body off.
fn tell_failure(what: &str, container: &str, result: Result<(), Error>, breaker: body::Breaker) {
    if let Err(error) = result {
        tracing::warn!(container, %error, "{what} ended early");
        breaker.break_off();
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
    let archive = read_ahead::reader(body);
    call(move || {
        let owner = if as_user { Some(containers.owner(&id)?) } else { None };
        containers.put_archive(&id, &path, UnpackOptions { keep_kind, owner }, archive)
    })
    .await?;
    Ok(StatusCode::OK.into_response())
}
