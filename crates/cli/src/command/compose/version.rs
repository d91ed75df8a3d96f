//! `compose version`.

use crate::app::App;
use crate::flag::{Parsed, switch, text};
use crate::spec::{Args, Command, Done};

/// `compose version`
pub static COMMAND: Command = Command::new(
    "version",
    &["[OPTIONS]"],
    Args::No,
    "Show the Docker Compose version information",
    |a, p| Box::pin(run(a, p)),
)
.flags(&[&[
    text("format", 'f', "Format of the output (pretty, json)"),
    switch("short", crate::flag::NONE, "Show the number only"),
]]);

async fn run(app: &App, p: Parsed) -> Done {
    let version = dray_compose::plan::label::COMPOSE_VERSION;
    app.print(if p.is("short") {
        format!("{version}\n")
    } else if p.get("format") == "json" {
        format!("{{\"version\":\"v{version}\"}}\n")
    } else {
        format!("Docker Compose version v{version} (Dray {})\n", env!("CARGO_PKG_VERSION"))
    })?;
    Ok(0)
}
