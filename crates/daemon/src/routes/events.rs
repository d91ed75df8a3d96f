//! `/events`.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use dray_engine::{EventBus, timestamp};

use crate::body::JsonLines;
use crate::error::{ApiError, ApiResult};
use crate::extract::Params;
use crate::state::App;
use crate::version::ApiVersion;

pub(super) fn router() -> Router<App> {
    Router::new().route("/events", get(events))
}

async fn events(State(bus): State<EventBus>, version: ApiVersion, params: Params) -> ApiResult {
    let time =
        |name| timestamp::parse(name, params.get(name)).map_err(|e| ApiError::bad_request(e.to_string()));
    let (since, until) = (time("since")?, time("until")?);
    if let (Some(since), Some(until)) = (since, until)
        && until < since
    {
        let (since, until) = (params.get("since"), params.get("until"));
        return Err(ApiError::bad_request(format!(
            "`since` time ({since}) cannot be after `until` time ({until})"
        )));
    }
    let mut subscription = bus.subscribe(since, until, params.filters()?);
    let (lines, response, gone) = JsonLines::open();
    tokio::spawn(gone.run_until_cancelled_owned(async move {
        while let Some(event) = subscription.next().await {
            // Image create events came with 1.46.
            let unknown = !version.at_least(46) && event.kind == "image" && event.action == "create";
            if !unknown && lines.send(&*event).await.is_err() {
                return;
            }
        }
    }));
    Ok(response)
}
