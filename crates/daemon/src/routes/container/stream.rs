//! What goes on for a while: attach, logs, stats, wait.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use dray_api::container::{WaitError, WaitResponse};
use dray_engine::container::{AttachOptions, WaitCondition};
use dray_engine::log::LogOptions;
use dray_engine::timestamp;
use http::{HeaderValue, StatusCode, header};

use super::Containers;
use crate::body::JsonLines;
use crate::error::{ApiError, ApiResult, json};
use crate::extract::Params;
use crate::hijack::Hijack;
use crate::state::App;
use crate::version::ApiVersion;
use crate::websocket;

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/containers/{id}/attach", post(attach))
        .route("/containers/{id}/attach/ws", get(attach_websocket))
        .route("/containers/{id}/logs", get(logs))
        .route("/containers/{id}/stats", get(stats))
        .route("/containers/{id}/wait", post(wait))
}

async fn attach(
    State(containers): Containers,
    Path(id): Path<String>,
    params: Params,
    hijack: Hijack,
) -> ApiResult {
    let attachment = containers.attach(&id, attach_options(&params)).await?;
    let framed = attachment.multiplexed();
    Ok(hijack.start(framed, move |connection| attachment.serve(connection)))
}

fn attach_options(params: &Params) -> AttachOptions {
    AttachOptions {
        stdin: params.bool("stdin"),
        stdout: params.bool("stdout"),
        stderr: params.bool("stderr"),
        stream: params.bool("stream"),
        logs: params.bool("logs"),
        detach_keys: params.get("detachKeys").to_owned(),
    }
}

/// Room between a program and its browser.
const ON_THE_WAY: usize = 64 << 10;

async fn attach_websocket(
    State(containers): Containers,
    Path(id): Path<String>,
    params: Params,
    request: axum::extract::Request,
) -> ApiResult {
    let attachment = containers.attach(&id, attach_options(&params)).await?;
    let framed = attachment.multiplexed();
    let (mut parts, _) = request.into_parts();
    let upgrade = parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
    let (session, ours) = tokio::io::duplex(ON_THE_WAY);
    let response = websocket::upgrade(&parts.headers, upgrade, framed, session);
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        tokio::spawn(attachment.serve(ours));
    }
    Ok(response)
}

async fn logs(
    State(containers): Containers,
    Path(id): Path<String>,
    version: ApiVersion,
    params: Params,
) -> ApiResult {
    let (stdout, stderr) = (params.bool("stdout"), params.bool("stderr"));
    if !stdout && !stderr {
        return Err(ApiError::bad_request("must specify at least one of 'stdout' or 'stderr'"));
    }
    let time = |name| timestamp::parse(name, params.get(name)).map_err(dray_engine::container::Error::from);
    let options = LogOptions {
        stdout,
        stderr,
        follow: params.bool("follow"),
        since: time("since")?,
        until: time("until")?,
        timestamps: params.bool("timestamps"),
        details: params.bool("details"),
        // `all`, and anything that is no number.
        tail: params.get("tail").parse().ok(),
    };
    let (stream, framed) = containers.logs(&id, options)?;
    let multiplexed = framed && version.at_least(42);
    let kind = if multiplexed { dray_api::MULTIPLEXED_STREAM } else { dray_api::RAW_STREAM };
    Ok(with_type(Body::from_stream(stream), kind))
}

fn with_type(body: Body, kind: &'static str) -> Response {
    let mut response = (StatusCode::OK, body).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

async fn stats(
    State(containers): Containers,
    Path(id): Path<String>,
    version: ApiVersion,
    params: Params,
) -> ApiResult {
    let mut reader = containers.stats(&id)?;
    if params.bool_or("stream", true) {
        let (lines, response, gone) = JsonLines::open();
        tokio::spawn(gone.run_until_cancelled_owned(async move {
            while let Ok(stats) = reader.next().await {
                if lines.send(&stats).await.is_err() || !reader.pause().await {
                    return;
                }
            }
        }));
        return Ok(response);
    }
    let mut stats = reader.next().await?;
    let one_shot = version.at_least(41) && params.bool("one-shot");
    // The processor time of one sample says nothing; a stopped container has none at all.
    if !one_shot && !stats.read.is_empty() {
        reader.pause().await;
        stats = reader.next().await?;
    }
    Ok(json(StatusCode::OK, &stats))
}

async fn wait(
    State(containers): Containers,
    Path(id): Path<String>,
    version: ApiVersion,
    params: Params,
) -> ApiResult {
    let condition = match version.at_least(30) {
        true => WaitCondition::parse(params.get("condition"))?,
        false => WaitCondition::NotRunning,
    };
    let wait = containers.wait(&id, condition)?;
    // The head goes out at once: clients start the container only when they know that we wait.
    let answer = async move {
        let (code, message) = wait.finish().await;
        let error = (!message.is_empty()).then_some(WaitError { message });
        let mut text =
            serde_json::to_vec(&WaitResponse { error, status_code: i64::from(code) }).unwrap_or_default();
        text.push(b'\n');
        Ok::<_, Infallible>(text)
    };
    Ok(with_type(Body::from_stream(futures_util::stream::once(answer)), "application/json"))
}
