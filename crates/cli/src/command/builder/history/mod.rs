//! `builder history`: what was built, how it went, and why steps were carried out.
//!
//! Commands, columns and flags are those of `docker buildx history`. A build is meant by its reference, the beginning of
//! it, `^1` (the one before the last), or nothing: the last.

mod attachment;
mod bundle;
mod explain;
mod inspect;
mod local;
mod logs;
mod ls;
mod rm;
mod trace;

pub use explain::text as explanation;

use std::time::Duration;

use dray_client::api::build::BuildSummary;

use crate::app::App;
use crate::command_error::Error;
use crate::flag::Parsed;
use crate::format::time::parse_rfc3339;
use crate::spec::{Args, Command, Done, Group};

/// `builder history`
pub static GROUP: Group =
    Group { name: "builder history", about: "Look at builds that were made", commands: COMMANDS };

/// Its commands.
pub const COMMANDS: &[&Command] = &[
    &explain::COMMAND,
    &bundle::EXPORT,
    &bundle::IMPORT,
    &inspect::COMMAND,
    &attachment::COMMAND,
    &logs::COMMAND,
    &ls::COMMAND,
    &OPEN,
    &rm::COMMAND,
    &trace::COMMAND,
];

static OPEN: Command = Command::new(
    "open",
    &["[BUILD]"],
    Args::AtMost(1),
    "Kept for scripts of buildx: there is no desktop to open a build in",
    |a, p| Box::pin(open(a, p)),
);

async fn open(app: &App, _: Parsed) -> Done {
    Err(Error::Refused(format!(
        "there is no desktop application to open a build in: use '{} builder history inspect'",
        app.name
    )))
}

/// The build that is meant.
fn wanted(p: &Parsed) -> &str {
    p.args.first().map_or("", String::as_str)
}

/// How long a build took; with a plus if it goes on.
fn duration(build: &BuildSummary) -> String {
    let Some(begun) = parse_rfc3339(&build.created_at) else { return String::new() };
    let ended = build.completed_at.as_deref().and_then(parse_rfc3339);
    let took = ended.unwrap_or_else(jiff::Timestamp::now).duration_since(begun);
    let took = Duration::try_from(took).unwrap_or_default();
    let text = match took.as_secs() {
        0..60 => format!("{:.1}s", took.as_secs_f64()),
        seconds => format!("{}m {:2}s", seconds / 60, seconds % 60),
    };
    if ended.is_none() { text + "+" } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_buildx_s() {
        let text = |completed: &str| {
            duration(&BuildSummary {
                created_at: "2026-01-02T03:04:05Z".into(),
                completed_at: Some(completed.into()),
                ..BuildSummary::default()
            })
        };
        assert_eq!(text("2026-01-02T03:04:06.25Z"), "1.2s");
        assert_eq!(text("2026-01-02T03:07:10Z"), "3m  5s");
    }
}
