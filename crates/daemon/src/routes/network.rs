//! `/networks`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use dray_api::network::{NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest};
use dray_engine::container;
use dray_engine::network::Service;
use http::StatusCode;

use crate::blocking::call;
use crate::error::{ApiResult, json};
use crate::extract::{Json, Params};
use crate::state::App;
use crate::version::ApiVersion;

type Networks = State<Arc<Service>>;
type Containers = State<Arc<container::Service>>;

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/networks", get(list))
        .route("/networks/create", post(create))
        .route("/networks/prune", post(prune))
        .route("/networks/{id}/connect", post(connect))
        .route("/networks/{id}/disconnect", post(disconnect))
        .route("/networks/{id}", get(inspect).delete(remove))
}

async fn list(State(networks): Networks, params: Params) -> ApiResult {
    let filters = params.filters()?;
    Ok(json(StatusCode::OK, &call(move || networks.list(&filters)).await?))
}

async fn inspect(State(networks): Networks, Path(id): Path<String>, params: Params) -> ApiResult {
    Ok(json(StatusCode::OK, &networks.inspect(&id, params.get("scope"))?))
}

async fn create(
    State(networks): Networks,
    version: ApiVersion,
    Json(mut request): Json<NetworkCreateRequest>,
) -> ApiResult {
    if !version.at_least(48) {
        request.enable_ipv4 = None;
    }
    Ok(json(StatusCode::CREATED, &call(move || networks.create(request)).await?))
}

async fn remove(State(networks): Networks, Path(id): Path<String>) -> ApiResult {
    call(move || networks.remove(&id)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn prune(State(networks): Networks, params: Params) -> ApiResult {
    let filters = params.filters()?;
    Ok(json(StatusCode::OK, &call(move || networks.prune(&filters)).await?))
}

async fn connect(
    State(containers): Containers,
    Path(id): Path<String>,
    Json(request): Json<NetworkConnectRequest>,
) -> ApiResult {
    let settings = request.endpoint_config.unwrap_or_default();
    containers.connect_network(&request.container, &id, settings).await?;
    Ok(StatusCode::OK.into_response())
}

async fn disconnect(
    State(containers): Containers,
    Path(id): Path<String>,
    Json(request): Json<NetworkDisconnectRequest>,
) -> ApiResult {
    containers.disconnect_network(&request.container, &id, request.force).await?;
    Ok(StatusCode::OK.into_response())
}
