//! `/dray/services`: services whose number of containers follows their load (docs/compose.md).

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use dray_engine::container::Service;
use http::StatusCode;

use crate::error::{ApiResult, json};
use crate::state::App;

pub(super) fn router() -> Router<App> {
    Router::new().route("/dray/services/scale", get(scale))
}

async fn scale(State(containers): State<Arc<Service>>) -> ApiResult {
    Ok(json(StatusCode::OK, &containers.scales()))
}
