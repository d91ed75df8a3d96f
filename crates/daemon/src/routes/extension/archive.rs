//! Archives of images in files that a client hands over: `docker load` and `docker save` without the bytes going
//! through the socket (docs/image.md).

use axum::Router;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::post;
use dray_image::{FilePart, SaveTarget};
use http::StatusCode;

use super::Images;
use crate::blocking::call;
use crate::error::{ApiError, ApiResult};
use crate::extract::Params;
use crate::handed;
use crate::hijack::Hijack;
use crate::routes::image::load_messages;
use crate::state::App;

pub(super) fn router() -> Router<App> {
    Router::new().route("/dray/images/load", post(load)).route("/dray/images/save", post(save))
}

async fn load(State(images): Images, hijack: Hijack, params: Params) -> ApiResult {
    handed::take(hijack, |file, given_up| async move {
        let archive = FilePart::of(file, given_up).map_err(unfit)?;
        load_messages(&params, move |platform, progress| images.load_file(archive, platform, progress)).await
    })
}

async fn save(State(images): Images, hijack: Hijack, params: Params) -> ApiResult {
    let names: Vec<String> = params.all("names").map(str::to_owned).collect();
    let platform = params.get("platform").to_owned();
    let (checked, wanted, for_platform) = (images.clone(), names.clone(), platform.clone());
    call(move || checked.check_save(&wanted, &for_platform)).await?;
    handed::take(hijack, |file, given_up| async move {
        let target = SaveTarget::of(file, given_up).map_err(unfit)?;
        call(move || images.save_file(&names, &platform, &target)).await?;
        Ok(StatusCode::OK.into_response())
    })
}

fn unfit(error: std::io::Error) -> ApiError {
    ApiError::bad_request(format!("the file that was handed over cannot be used: {error}"))
}
