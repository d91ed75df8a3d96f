//! The routes, one file per noun.
//!
//! A handler takes `State` of its service, [`crate::extract::Params`] for the query,
//! [`crate::extract::Json`] for the body and [`crate::hijack::Hijack`] to take the connection over;
//! it returns [`crate::error::ApiResult`]. Streams are made with [`crate::body`].

mod build;
mod buildkit;
mod container;
mod events;
mod exec;
mod extension;
mod image;
mod network;
mod system;
mod volume;

use axum::Router;

use crate::error::ApiError;
use crate::state::App;

/// All routes.
pub(crate) fn router(app: App) -> Router {
    Router::new()
        .merge(build::router())
        .merge(buildkit::router())
        .merge(container::router())
        .merge(events::router())
        .merge(exec::router())
        .merge(extension::router())
        .merge(image::router())
        .merge(network::router())
        .merge(system::router())
        .merge(volume::router())
        .fallback(page_not_found)
        .method_not_allowed_fallback(page_not_found)
        .with_state(app)
}

/// Docker answers a wrong method as it answers a wrong path.
async fn page_not_found() -> ApiError {
    ApiError::not_found("page not found")
}
