//! `/dray/volumes`: what Dray can do with volumes beyond Docker's API (docs/volume.md).

use std::io::BufWriter;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::{get, post};
use dray_api::Labels;
use dray_api::extension::{VolumeCloneRequest, VolumeUpdateRequest};
use dray_engine::image::{self, auth};
use dray_engine::volume::{Backup, CloneOptions, Service, read_base};
use http::{HeaderMap, StatusCode};

use super::needed;
use crate::blocking::call;
use crate::body;
use crate::credentials;
use crate::error::{ApiError, ApiResult, json};
use crate::extract::{Json, Params};
use crate::read_ahead::reader;
use crate::state::App;

type Volumes = State<Arc<Service>>;
type Images = State<Arc<image::Service>>;

/// Bytes of an archive that go out at once.
const PIECE: usize = 256 << 10;

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/dray/volumes/df", get(df))
        .route("/dray/volumes/update", post(update))
        .route("/dray/volumes/rename", post(rename))
        .route("/dray/volumes/clone", post(clone))
        .route("/dray/volumes/backup", post(backup))
        .route("/dray/volumes/restore", post(restore))
}

async fn df(State(volumes): Volumes) -> ApiResult {
    Ok(json(StatusCode::OK, &call(move || volumes.space()).await?))
}

async fn update(
    State(volumes): Volumes,
    params: Params,
    Json(request): Json<VolumeUpdateRequest>,
) -> ApiResult {
    let name = needed(&params, "volume")?;
    let updated = call(move || volumes.update(&name, request.labels, &request.remove_labels)).await?;
    Ok(json(StatusCode::OK, &updated))
}

async fn rename(State(volumes): Volumes, params: Params) -> ApiResult {
    let (old, new) = (needed(&params, "volume")?, needed(&params, "name")?);
    Ok(json(StatusCode::OK, &call(move || volumes.rename(&old, &new)).await?))
}

async fn clone(
    State(volumes): Volumes,
    params: Params,
    Json(request): Json<VolumeCloneRequest>,
) -> ApiResult {
    let (source, name) = (needed(&params, "volume")?, needed(&params, "name")?);
    let options = CloneOptions {
        labels: request.labels,
        no_pause: !params.bool_or("pause", true),
        snapshot: params.bool("snapshot"),
    };
    let made = call(move || volumes.clone_volume(&source, &name, &options)).await?;
    Ok(json(StatusCode::CREATED, &made))
}

/// An archive, or, with `to`, what became of the backup in a registry. The body may be the documents of an earlier
/// backup.
async fn backup(
    State(volumes): Volumes,
    State(images): Images,
    params: Params,
    headers: HeaderMap,
    body: Body,
) -> ApiResult {
    let name = needed(&params, "volume")?;
    let no_pause = !params.bool_or("pause", true);
    if let Some(to) = params.non_empty("to") {
        let (repository, tag) = images.push_target(to, &auth(&credentials::of_registry(&headers)))?;
        let backup = Backup { no_pause, base: None };
        let told = volumes.push_backup(name, backup, repository, &tag, params.bool("full")).await?;
        return Ok(json(StatusCode::CREATED, &told));
    }
    let (checked, wanted, based) = (Arc::clone(&volumes), name.clone(), params.bool("base"));
    let base = call(move || {
        checked.check_backup(&wanted)?;
        if based { read_base(&wanted, reader(body)).map(Some) } else { Ok(None) }
    })
    .await?;
    let (out, response, _) = body::raw("application/x-tar");
    tokio::task::spawn_blocking(move || {
        let breaker = out.breaker();
        let out = BufWriter::with_capacity(PIECE, out);
        // The answer has begun: that it ends without an end is all that can be told of an error.
        if let Err(error) = volumes.backup_to(&name, Backup { no_pause, base }, out) {
            tracing::warn!(%error, volume = name, "backup");
            breaker.break_off();
        }
    });
    Ok(response)
}

async fn restore(
    State(volumes): Volumes,
    State(images): Images,
    params: Params,
    headers: HeaderMap,
    body: Body,
) -> ApiResult {
    let name = needed(&params, "volume")?;
    let labels = match params.non_empty("labels") {
        None => Labels::new(),
        Some(text) => serde_json::from_str(text)
            .map_err(|error| ApiError::bad_request(format!("error reading labels: {error}")))?,
    };
    let restored = match params.non_empty("from") {
        Some(from) => {
            let (repository, tag) = images.pull_source(from, &auth(&credentials::of_registry(&headers)))?;
            volumes.restore_pulled(name, labels, repository, &tag).await?
        }
        None => call(move || volumes.restore_from(&name, labels, reader(body))).await?,
    };
    Ok(json(StatusCode::CREATED, &restored))
}
