//! `logs`.

use dray_client::container::LogOptions;

use crate::app::App;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, switch, text};
use crate::format::time::parse_since;
use crate::spec::{Args, Command, Done};
use crate::stdio;

const FLAGS: &[Flag] = &[
    switch("details", NONE, "Show what the logging driver adds"),
    switch("follow", 'f', "Go on as more is written"),
    text("since", NONE, "From this time on, or this long ago (2013-01-02T13:23:37Z, 42m)"),
    text("tail", 'n', "So many last lines").default("all"),
    switch("timestamps", 't', "Show when each line was written"),
    text("until", NONE, "Up to this time, or this long ago (2013-01-02T13:23:37Z, 42m)"),
];

/// `logs`
pub static COMMAND: Command = Command::new(
    "logs",
    &["[OPTIONS] CONTAINER"],
    Args::Exactly(1),
    "Show what a container has written",
    |a, p| Box::pin(run(a, p)),
)
.flags(&[FLAGS])
.also(&["container logs", "logs"]);

async fn run(app: &App, p: Parsed) -> Done {
    let client = app.client()?;
    let container = client.container_inspect(&p.args[0]).await?;
    let time = |flag: &str| {
        let wrong = |why| Error::Refused(format!("invalid value for {flag:?}: {why}"));
        parse_since(p.get(flag)).map_err(wrong)
    };
    let options = LogOptions {
        stdout: true,
        stderr: true,
        follow: p.is("follow"),
        timestamps: p.is("timestamps"),
        details: p.is("details"),
        since: time("since")?,
        until: time("until")?,
        tail: p.get("tail").to_owned(),
    };
    let log = client.container_logs(&container.id, &options).await?;
    stdio::show_all(log, container.config.tty).await?;
    Ok(0)
}
