//! `/dray`: what Dray has beyond Docker's API (docs/build.md, docs/image.md, docs/network.md, docs/run.md,
//! docs/volume.md).

mod archive;
mod build;
mod container;
mod service;
mod volume;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use dray_api::extension::SquashResponse;
use dray_engine::image::{Service, SquashOptions};
use dray_engine::network;
use http::StatusCode;

use crate::blocking::call;
use crate::error::{ApiError, ApiResult, json};
use crate::extract::Params;
use crate::state::App;

type Images = State<Arc<Service>>;
type Networks = State<Arc<network::Service>>;

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/dray/images/tree", get(tree))
        .route("/dray/images/diff", get(diff))
        .route("/dray/images/squash", post(squash))
        .route("/dray/images/mount", post(mount))
        .route("/dray/images/mounts", get(mounts))
        .route("/dray/images/unmount", post(unmount))
        .route("/dray/networks/exposure", get(exposure))
        .merge(archive::router())
        .merge(build::router())
        .merge(container::router())
        .merge(service::router())
        .merge(volume::router())
}

fn needed(params: &Params, name: &str) -> Result<String, ApiError> {
    let missing = || ApiError::bad_request(format!("the parameter {name} is missing"));
    params.non_empty(name).map(str::to_owned).ok_or_else(missing)
}

async fn tree(State(images): Images, params: Params) -> ApiResult {
    let name = needed(&params, "image")?;
    Ok(json(StatusCode::OK, &call(move || images.tree(&name)).await?))
}

async fn diff(State(images): Images, params: Params) -> ApiResult {
    let (from, to) = (needed(&params, "from")?, needed(&params, "to")?);
    Ok(json(StatusCode::OK, &call(move || images.diff(&from, &to)).await?))
}

async fn squash(State(images): Images, params: Params) -> ApiResult {
    let name = needed(&params, "image")?;
    let options = SquashOptions {
        onto: params.get("onto").to_owned(),
        names: params.all("tag").map(str::to_owned).collect(),
        comment: params.get("comment").to_owned(),
    };
    let id = call(move || images.squash(&name, &options)).await?;
    Ok(json(StatusCode::CREATED, &SquashResponse { id: id.to_string() }))
}

async fn mount(State(images): Images, params: Params) -> ApiResult {
    let (name, target) = (needed(&params, "image")?, params.get("target").to_owned());
    Ok(json(StatusCode::CREATED, &call(move || images.mount(&name, &target)).await?))
}

async fn mounts(State(images): Images) -> ApiResult {
    Ok(json(StatusCode::OK, &call(move || images.mounts()).await?))
}

async fn unmount(State(images): Images, params: Params) -> ApiResult {
    let name = needed(&params, "name")?;
    Ok(json(StatusCode::OK, &call(move || images.unmount(&name)).await?))
}

async fn exposure(State(networks): Networks, params: Params) -> ApiResult {
    let filters = params.filters()?;
    Ok(json(StatusCode::OK, &call(move || networks.exposure(&filters)).await?))
}
