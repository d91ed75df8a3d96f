//! `/dray/builds`: the history of builds, and the directories of cache mounts (docs/build.md).

use std::io::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use dray_api::build::{
    BuildExport, BuildImport, BuildLocal, BuildPlace, BuildPlaceFile, BuildPlaceKind, CacheMountImport,
};
use dray_build::{Cancel, ContextDir};
use dray_engine::build::history::{HistoryError, view};
use dray_engine::build::{Place, Service};
use http::StatusCode;

use super::needed;
use crate::blocking::call;
use crate::body;
use crate::buildkit::{
    BuildKit, BundleError, Exports, LocalState, LogReader, filtered, read_bundle, write_bundle,
};
use crate::error::{ApiError, ApiResult, json};
use crate::extract::{Json, Params};
use crate::read_ahead;
use crate::routes::build::{gone_guard, session, wishes_of};
use crate::state::App;

/// Bytes of an archive that go out at once.
const PIECE: usize = 256 << 10;

type Builds = State<Arc<Service>>;

/// Messages of a log, each with its length before it, as BuildKit keeps them.
const LOG_TYPE: &str = "application/vnd.buildkit.status.v0";

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/dray/builds", get(list))
        .route("/dray/builds/inspect", get(inspect))
        .route("/dray/builds/place", get(place))
        .route("/dray/builds/logs", get(logs))
        .route("/dray/builds/trace", get(trace))
        .route("/dray/builds/attachment", get(attachment))
        .route("/dray/builds/export", post(export))
        .route("/dray/builds/import", post(import))
        .route("/dray/builds/remove", post(remove))
        .route("/dray/builds/mounts", get(mounts))
        .route("/dray/builds/mounts/export", get(export_mounts))
        .route("/dray/builds/mounts/import", post(import_mounts))
}

/// The largest bake file, as buildx has it for those of an address.
const MAX_FILE: u64 = 2 << 20;

/// Files of what an address leads to.
async fn place(State(builds): Builds, State(kit): State<Arc<BuildKit>>, params: Params) -> ApiResult {
    let session = session(&kit, &params).await?;
    let secrets = wishes_of(session.as_ref(), &params, None).secrets;
    let address = needed(&params, "remote")?.to_owned();
    let names: Vec<String> = params.all("file").map(str::to_owned).collect();
    let optional = params.bool("optional");
    let cancel = Cancel::new();
    let _raise = gone_guard(&cancel);
    let fetching = cancel.clone();
    let work = move || {
        let (kind, files) = match builds.look_at(&address, &secrets, &fetching)? {
            Place::File(text) => (BuildPlaceKind::File, vec![BuildPlaceFile { name: address, text }]),
            Place::Folder(folder) => (BuildPlaceKind::Folder, files_of(&folder, names, optional)?),
        };
        Ok::<_, ApiError>(BuildPlace { kind, files })
    };
    let found = tokio::task::spawn_blocking(work).await;
    Ok(json(StatusCode::OK, &found.map_err(|error| ApiError::internal(error.to_string()))??))
}

fn files_of(
    folder: &ContextDir,
    names: Vec<String>,
    optional: bool,
) -> Result<Vec<BuildPlaceFile>, ApiError> {
    let wrong = |error: &dyn std::fmt::Display| ApiError::bad_request(error.to_string());
    let mut files = Vec::new();
    for name in names {
        let found = folder.metadata(&name).map_err(|error| wrong(&error))?;
        let Some(found) = found.filter(|found| !optional || found.is_file()) else {
            if optional {
                continue;
            }
            return Err(wrong(&format!("open {name}: no such file or directory")));
        };
        if found.len() > MAX_FILE {
            return Err(wrong(&format!("{name}: more than {} MiB", MAX_FILE >> 20)));
        }
        let bytes = folder.read(&name).map_err(|error| wrong(&error))?.unwrap_or_default();
        let text = String::from_utf8(bytes).map_err(|_| wrong(&format!("{name}: invalid UTF-8")))?;
        files.push(BuildPlaceFile { name, text });
    }
    Ok(files)
}

async fn mounts(State(builds): Builds) -> ApiResult {
    Ok(json(StatusCode::OK, &call(move || builds.cache_mounts()).await?))
}

/// An archive of the directories with these ids, or of all.
async fn export_mounts(State(builds): Builds, params: Params) -> ApiResult {
    let (checked, ids) = (Arc::clone(&builds), params.all("mount").map(str::to_owned).collect());
    let ids = call(move || checked.check_cache_mounts(ids)).await?;
    let (out, response, _) = body::raw("application/x-tar");
    tokio::task::spawn_blocking(move || {
        let breaker = out.breaker();
        let out = std::io::BufWriter::with_capacity(PIECE, out);
        // The answer has begun: that it ends without an end is all that can be told of an error.
        if let Err(error) = builds.export_cache_mounts(&ids, out) {
            tracing::warn!(%error, "export cache mounts");
            breaker.break_off();
        }
    });
    Ok(response)
}

async fn import_mounts(State(builds): Builds, body: Body) -> ApiResult {
    let imported = call(move || builds.import_cache_mounts(read_ahead::reader(body))).await?;
    let told = CacheMountImport { imported: imported.taken, existing: imported.there };
    Ok(json(StatusCode::OK, &told))
}

async fn list(State(builds): Builds, params: Params) -> ApiResult {
    let history = Arc::clone(builds.history());
    let records = call(move || history.list()).await?;
    let filters: Vec<&str> = params.all("filter").collect();
    let records = filtered(records, &filters).map_err(|status| ApiError::bad_request(status.message))?;
    Ok(json(StatusCode::OK, &records.into_iter().map(view::summary).collect::<Vec<_>>()))
}

async fn inspect(State(builds): Builds, params: Params) -> ApiResult {
    let (history, name) = (Arc::clone(builds.history()), params.get("build").to_owned());
    let detail = call(move || {
        let record = history.find(&name)?;
        let trace = history.trace(&record.id)?;
        Ok::<_, HistoryError>(view::detail(record, trace))
    });
    Ok(json(StatusCode::OK, &detail.await?))
}

/// The log; of a build that runs, on to its end.
async fn logs(State(builds): Builds, params: Params) -> ApiResult {
    let (history, name) = (Arc::clone(builds.history()), params.get("build").to_owned());
    let of = Arc::clone(&history);
    let mut reader = call(move || {
        let record = of.find(&name)?;
        LogReader::open(of, &record.id)
    })
    .await?;
    let (mut out, response, gone) = body::raw(LOG_TYPE);
    tokio::task::spawn_blocking(move || {
        loop {
            let (bytes, ended) = match reader.next() {
                Ok(next) => next,
                Err(error) => {
                    tracing::warn!(%error, "the log of a build");
                    return out.breaker().break_off();
                }
            };
            if out.write_all(&bytes).is_err() || ended || gone.is_cancelled() {
                return;
            }
            std::thread::sleep(LogReader::PAUSE);
        }
    });
    Ok(response)
}

async fn trace(State(builds): Builds, params: Params) -> ApiResult {
    let (history, name) = (Arc::clone(builds.history()), params.get("build").to_owned());
    let spans = call(move || {
        let record = history.find(&name)?;
        match (&record.completed, &record.spans) {
            (None, _) => Err(HistoryError::Running(record.id)),
            (_, None) => Ok(Vec::new()),
            (_, Some(_)) => history.spans(&record.id),
        }
    })
    .await?;
    let (mut out, response, _) = body::raw("application/x-ndjson");
    tokio::task::spawn_blocking(move || out.write_all(&spans));
    Ok(response)
}

/// The bytes of a document of a build.
async fn attachment(State(builds): Builds, params: Params) -> ApiResult {
    let (history, name) = (Arc::clone(builds.history()), params.get("build").to_owned());
    let digest = needed(&params, "digest")?.to_owned();
    let found = call(move || {
        let record = history.find(&name)?;
        let wanted = record.attachments.iter().find(|attachment| attachment.digest.as_str() == digest);
        let wanted = wanted.ok_or(HistoryError::NoAttachment { id: record.id.clone(), digest })?;
        Ok::<_, HistoryError>((wanted.media_type.clone(), history.attachment(wanted)?))
    });
    let (kind, bytes) = found.await?;
    Ok(([(http::header::CONTENT_TYPE, kind)], bytes).into_response())
}

/// Records as a bundle.
async fn export(State(builds): Builds, Json(asked): Json<BuildExport>) -> ApiResult {
    let history = Arc::clone(builds.history());
    let local = |local: BuildLocal| LocalState {
        target: local.target,
        local_path: local.local_path,
        dockerfile_path: local.dockerfile_path,
    };
    let found = Arc::clone(&history);
    let exports = call(move || {
        let known = asked.local.into_iter().map(|(reference, of)| (reference, local(of))).collect();
        Exports::find(&found, &asked.builds, asked.all, known)
    });
    let exports = exports.await?;
    let (out, response, _) = body::raw("application/gzip");
    tokio::task::spawn_blocking(move || {
        let breaker = out.breaker();
        let out = std::io::BufWriter::with_capacity(PIECE, out);
        if let Err(error) = write_bundle(&history, exports, out) {
            tracing::warn!(%error, "export the history of builds");
            breaker.break_off();
        }
    });
    Ok(response)
}

async fn import(State(builds): Builds, body: Body) -> ApiResult {
    let (history, from) = (Arc::clone(builds.history()), read_ahead::reader(body));
    let imported = tokio::task::spawn_blocking(move || read_bundle(&history, from)).await;
    let imported = imported.map_err(|error| ApiError::internal(error.to_string()))?;
    let imported = imported.map_err(|error| match error {
        BundleError::Invalid(_) | BundleError::Empty => ApiError::bad_request(error.to_string()),
        error => ApiError::internal(error.to_string()),
    })?;
    Ok(json(StatusCode::OK, &BuildImport { imported: imported.taken, existing: imported.there }))
}

/// Removes records by name, or with `all` those of all builds that have ended; gives what is gone.
async fn remove(State(builds): Builds, params: Params) -> ApiResult {
    let history = Arc::clone(builds.history());
    let names: Vec<String> = match params.bool("all") {
        true => Vec::new(),
        false => {
            needed(&params, "build")?;
            params.all("build").map(str::to_owned).collect()
        }
    };
    let removed = call(move || {
        let going = match names.is_empty() {
            true => history.list()?.into_iter().filter(|record| record.completed.is_some()).collect(),
            false => names.iter().map(|name| history.find(name)).collect::<Result<Vec<_>, _>>()?,
        };
        for record in &going {
            history.remove(&record.id)?;
        }
        Ok::<_, HistoryError>(going.into_iter().map(|record| record.id).collect::<Vec<_>>())
    });
    Ok(json(StatusCode::OK, &removed.await?))
}
