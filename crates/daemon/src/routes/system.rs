//! The daemon itself: ping, version, info, disk usage, login; and what there is not.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use dray_api::auth::AuthConfig;
use dray_engine::system::{DiskUsageOptions, Service};
use dray_engine::{Engine, image};
use http::{HeaderValue, Method, StatusCode, header};

use crate::blocking::call;
use crate::error::{ApiError, ApiResult, json};
use crate::extract::{Json, Params};
use crate::state::App;
use crate::version::ApiVersion;

type System = State<Arc<Service>>;

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/_ping", get(ping))
        .route("/version", get(version))
        .route("/info", get(info))
        .route("/system/df", get(disk_usage))
        .route("/auth", post(auth))
        .route("/plugins", get(|| async { json(StatusCode::OK, &serde_json::json!([])) }))
        .merge(swarm())
}

/// The builder's version tells clients to build with BuildKit unless asked otherwise.
async fn ping(method: Method) -> Response {
    let mut response = if method == Method::HEAD { ().into_response() } else { "OK".into_response() };
    let headers = response.headers_mut();
    let mut set = |name, value: &'static str| headers.insert(name, HeaderValue::from_static(value));
    set(header::CACHE_CONTROL, "no-cache, no-store, must-revalidate");
    set(header::PRAGMA, "no-cache");
    set(header::CONTENT_TYPE, "text/plain; charset=utf-8");
    set(http::HeaderName::from_static("builder-version"), "2");
    set(http::HeaderName::from_static("swarm"), "inactive");
    response
}

async fn version(State(system): System) -> Response {
    json(StatusCode::OK, &system.version())
}

async fn info(State(system): System) -> ApiResult {
    let info = call(move || Ok::<_, ApiError>(system.info())).await?;
    Ok(json(StatusCode::OK, &info))
}

async fn disk_usage(State(system): System, version: ApiVersion, params: Params) -> ApiResult {
    let mut options = DiskUsageOptions::default();
    let mut any = false;
    for kind in params.all("type").filter(|_| version.at_least(42)) {
        any = true;
        match kind {
            "container" => options.containers = true,
            "image" => options.images = true,
            "volume" => options.volumes = true,
            "build-cache" => options.build_cache = true,
            other => return Err(ApiError::bad_request(format!("unknown object type: {other}"))),
        }
    }
    if !any {
        options = DiskUsageOptions { containers: true, images: true, volumes: true, build_cache: true };
    }
    let mut usage = call(move || system.disk_usage(options)).await?;
    if !version.at_least(42) {
        let cache = usage.build_cache.iter().flatten().map(|record| record.size).sum();
        usage.builder_size = Some(cache);
    }
    Ok(json(StatusCode::OK, &usage))
}

async fn auth(State(images): State<Arc<image::Service>>, Json(config): Json<AuthConfig>) -> ApiResult {
    Ok(json(StatusCode::OK, &images.login(&config).await?))
}

/// Swarm is not there, and says so as a Docker that never joined one.
fn swarm() -> Router<App> {
    let paths = ["/swarm", "/services", "/nodes", "/tasks", "/secrets", "/configs"];
    paths.into_iter().fold(Router::new(), |router, path| router.route(path, any(no_swarm)))
}

async fn no_swarm(_: State<Arc<Engine>>) -> ApiError {
    ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.",
    )
}
