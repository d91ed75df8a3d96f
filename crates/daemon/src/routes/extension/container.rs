//! `/dray/containers`: what Dray can do with containers beyond Docker's API (docs/run.md).

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use dray_api::extension::ContainerLiveUpdateRequest;
use dray_engine::container::Service;
use http::StatusCode;

use super::needed;
use crate::error::{ApiResult, json};
use crate::extract::{Json, Params};
use crate::state::App;

pub(super) fn router() -> Router<App> {
    Router::new().route("/dray/containers/update", post(update))
}

async fn update(
    State(containers): State<Arc<Service>>,
    params: Params,
    Json(request): Json<ContainerLiveUpdateRequest>,
) -> ApiResult {
    let name = needed(&params, "container")?;
    Ok(json(StatusCode::OK, &containers.update_live(&name, request).await?))
}
