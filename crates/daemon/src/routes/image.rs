//! `/images` and `/distribution`.

use std::io::BufWriter;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};
use dray_api::image::{ImageInspect, ImageSignature, ImageSummary};
use dray_api::progress::{ProgressDetail, ProgressMessage};
use dray_engine::image::{CreateSource, ImportOptions, ListOptions, PullWhat, Service, auth};
use dray_image::{Loaded, Progress, Silent};
use http::{HeaderMap, StatusCode};

use crate::blocking::call;
use crate::body::{self, Failure, JsonLines, messages};
use crate::credentials;
use crate::error::{ApiError, ApiResult, json};
use crate::extract::{Json, Params};
use crate::read_ahead;
use crate::state::App;
use crate::version::ApiVersion;

type Images = State<Arc<Service>>;

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/images/json", get(list))
        .route("/images/create", post(create))
        .route("/images/load", post(load))
        .route("/images/get", get(save_many))
        .route("/images/prune", post(prune))
        .route("/images/search", get(search))
        .route("/images/{name}/json", get(inspect))
        .route("/images/{name}/history", get(history))
        .route("/images/{name}/get", get(save_one))
        .route("/images/{name}/tag", post(tag))
        .route("/images/{name}/push", post(push))
        .route("/images/{name}/signatures", get(signatures).post(sign))
        .route("/images/{name}", delete(remove))
        .route("/distribution/{name}/json", get(distribution))
}

async fn list(State(images): Images, version: ApiVersion, params: Params) -> ApiResult {
    let mut filters = params.filters()?;
    // Before 1.25 the reference filter was a parameter of its own.
    if let Some(reference) = params.non_empty("filter").filter(|_| !version.at_least(41)) {
        filters.add("reference", reference);
    }
    let options = ListOptions { all: params.bool("all"), filters, shared_size: params.bool("shared-size") };
    let mut listed = call(move || images.list(&options)).await?;
    listed.iter_mut().for_each(|image| for_version(image, version));
    Ok(json(StatusCode::OK, &listed))
}

/// What older clients expect.
fn for_version(image: &mut ImageSummary, version: ApiVersion) {
    if !version.at_least(43) {
        if image.repo_tags.is_empty() && image.repo_digests.is_empty() {
            image.repo_tags.push("<none>:<none>".to_owned());
        }
        if image.repo_digests.is_empty() {
            image.repo_digests.push("<none>@<none>".to_owned());
        }
    }
    if !version.at_least(44) {
        image.virtual_size = Some(image.size);
    }
}

async fn inspect(
    State(images): Images,
    Path(name): Path<String>,
    version: ApiVersion,
    params: Params,
) -> ApiResult {
    // Older versions do not have the parameter.
    let platform = if version.at_least(49) { params.get("platform").to_owned() } else { String::new() };
    let mut found: ImageInspect = call(move || images.inspect(&name, &platform)).await?;
    if !version.at_least(44) {
        found.virtual_size = Some(found.size);
    }
    Ok(json(StatusCode::OK, &found))
}

async fn history(State(images): Images, Path(name): Path<String>) -> ApiResult {
    Ok(json(StatusCode::OK, &call(move || images.history(&name)).await?))
}

async fn tag(State(images): Images, Path(name): Path<String>, params: Params) -> ApiResult {
    call(move || images.tag(&name, params.get("repo"), params.get("tag"))).await?;
    Ok(StatusCode::CREATED.into_response())
}

async fn remove(State(images): Images, Path(name): Path<String>, params: Params) -> ApiResult {
    if name.trim().is_empty() {
        return Err(ApiError::bad_request("image name cannot be blank"));
    }
    let (force, prune) = (params.bool("force"), !params.bool("noprune"));
    Ok(json(StatusCode::OK, &call(move || images.remove(&name, force, prune)).await?))
}

async fn prune(State(images): Images, params: Params) -> ApiResult {
    let filters = params.filters()?;
    Ok(json(StatusCode::OK, &call(move || images.prune(&filters)).await?))
}

async fn search() -> ApiError {
    dray_engine::image::Error::Search.into()
}

async fn distribution(State(images): Images, Path(name): Path<String>, headers: HeaderMap) -> ApiResult {
    let found = images.distribution(&name, &auth(&credentials::of_registry(&headers))).await?;
    Ok(json(StatusCode::OK, &found))
}

async fn signatures(State(images): Images, Path(name): Path<String>, headers: HeaderMap) -> ApiResult {
    let found = images.signatures(&name, &auth(&credentials::of_registry(&headers))).await?;
    Ok(json(StatusCode::OK, &found))
}

async fn sign(
    State(images): Images,
    Path(name): Path<String>,
    headers: HeaderMap,
    Json(signature): Json<ImageSignature>,
) -> ApiResult {
    images.sign(&name, &signature, &auth(&credentials::of_registry(&headers))).await?;
    Ok(StatusCode::CREATED.into_response())
}

async fn create(images: Images, params: Params, headers: HeaderMap, body: Body) -> ApiResult {
    match params.non_empty("fromImage") {
        Some(image) => pull(images, image.trim_end_matches(':'), &params, &headers).await,
        None => import(images, &params, body).await,
    }
}

async fn pull(State(images): Images, image: &str, params: &Params, headers: &HeaderMap) -> ApiResult {
    let CreateSource::Pull { reference, all_tags } = CreateSource::pull(image, params.get("tag"))? else {
        return Err(ApiError::bad_request("nothing to pull"));
    };
    let platform = params.get("platform").to_owned();
    // Dray's own: Docker has no parameter for it.
    let all_platforms = params.bool("all-platforms");
    let auth = auth(&credentials::of_registry(headers));
    messages(move |lines, _| async move {
        let what = PullWhat { all_tags, all_platforms, platform: &platform, by_digest: false };
        images.pull(&reference, what, auth, &lines).await?;
        Ok(())
    })
    .await
}

async fn import(State(images): Images, params: &Params, body: Body) -> ApiResult {
    let source = params.get("fromSrc");
    if source != "-" {
        return Err(ApiError::bad_request("only an import of the request's body (fromSrc=-) is supported"));
    }
    let options = ImportOptions {
        repository: params.get("repo").to_owned(),
        tag: params.get("tag").to_owned(),
        changes: params.all("changes").map(str::to_owned).collect(),
        message: params.get("message").to_owned(),
        platform: params.get("platform").to_owned(),
    };
    messages(move |lines, _| async move {
        let id = call(move || images.import(read_ahead::reader(body), options)).await?;
        let _ = lines.send(&ProgressMessage::status(id.to_string())).await;
        Ok(())
    })
    .await
}

async fn push(
    State(images): Images,
    Path(name): Path<String>,
    params: Params,
    headers: HeaderMap,
) -> ApiResult {
    let auth = auth(&credentials::of_registry(&headers));
    let (tag, platform) = (params.get("tag").to_owned(), params.get("platform").to_owned());
    messages(move |lines, _| async move {
        for pushed in images.push(&name, &tag, &platform, auth, &lines).await? {
            let aux = serde_json::to_value(&pushed).map_err(|error| ApiError::internal(error.to_string()))?;
            let message = ProgressMessage {
                progress_detail: Some(ProgressDetail::default()),
                ..ProgressMessage::aux(aux)
            };
            let _ = lines.send(&message).await;
        }
        Ok(())
    })
    .await
}

async fn load(State(images): Images, params: Params, body: Body) -> ApiResult {
    let archive = read_ahead::reader(body);
    load_messages(&params, move |platform, progress| images.load(archive, platform, progress)).await
}

/// Answers with what the loading of an archive has to tell; `work` blocks.
pub(super) async fn load_messages<E: Into<ApiError> + Send + 'static>(
    params: &Params,
    work: impl FnOnce(&str, &dyn Progress) -> Result<Vec<Loaded>, E> + Send + 'static,
) -> ApiResult {
    let quiet = params.bool_or("quiet", true);
    let platform = params.get("platform").to_owned();
    messages(move |lines, _| async move {
        let progress = lines.clone();
        let work = move || {
            let progress: &dyn Progress = if quiet { &Silent } else { &progress };
            work(&platform, progress)
        };
        for loaded in call(work).await? {
            tell_loaded(&lines, &loaded).await;
        }
        Ok::<_, Failure>(())
    })
    .await
}

async fn tell_loaded(lines: &JsonLines, loaded: &Loaded) {
    let mut texts = Vec::new();
    for (name, id) in &loaded.replaced {
        let name = name.familiar();
        texts.push(format!(
            "The image {name} already exists, renaming the old one with ID {id} to empty string\n"
        ));
    }
    for name in &loaded.names {
        texts.push(format!("Loaded image: {}\n", name.familiar()));
    }
    if loaded.names.is_empty() {
        texts.push(format!("Loaded image ID: {}\n", loaded.id));
    }
    for text in texts {
        let _ = lines.send(&ProgressMessage::stream(text)).await;
    }
}

async fn save_one(images: Images, Path(name): Path<String>, params: Params) -> ApiResult {
    save(images, vec![name], &params).await
}

async fn save_many(images: Images, params: Params) -> ApiResult {
    save(images, params.all("names").map(str::to_owned).collect(), &params).await
}

async fn save(State(images): Images, names: Vec<String>, params: &Params) -> ApiResult {
    let platform = params.get("platform").to_owned();
    let (checked, wanted, for_platform) = (Arc::clone(&images), names.clone(), platform.clone());
    call(move || checked.check_save(&wanted, &for_platform)).await?;
    let (out, response, _) = body::raw("application/x-tar");
    tokio::task::spawn_blocking(move || {
        let breaker = out.breaker();
        let mut out = BufWriter::with_capacity(256 << 10, out);
        // The answer has begun: that it ends without an end is all that can be told of an error.
        if let Err(error) = images.save(&names, &platform, &mut out) {
            tracing::warn!(%error, ?names, "save");
            breaker.break_off();
        }
    });
    Ok(response)
}
