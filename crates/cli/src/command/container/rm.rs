//! `rm`.

use crate::app::App;
use crate::command_error::Error;
use crate::flag::{Flag, Parsed, switch};
use crate::spec::{Args, Command, Done};

const FLAGS: &[Flag] = &[
    switch("force", 'f', "Kill it first if it runs"),
    switch("link", 'l', "Remove the link and not the container"),
    switch("volumes", 'v', "Remove its anonymous volumes too"),
];

/// `rm`
pub static COMMAND: Command = Command::new(
    "rm",
    &["[OPTIONS] CONTAINER [CONTAINER...]"],
    Args::AtLeast(1),
    "Remove containers",
    |a, p| Box::pin(run(a, p)),
)
.flags(&[FLAGS])
.aliases(&["remove"])
.also(&["container rm", "container remove", "rm"]);

async fn run(app: &App, p: Parsed) -> Done {
    let client = app.client()?;
    let (volumes, link, force) = (p.is("volumes"), p.is("link"), p.is("force"));
    let removed = futures_util::future::join_all(p.args.iter().map(|name| async move {
        let name = name.trim_matches('/');
        if name.is_empty() {
            return Err(Error::Refused("container name cannot be empty".into()));
        }
        Ok(client.container_remove(name, volumes, link, force).await?)
    }))
    .await;
    let mut errors = Vec::new();
    for (name, result) in p.args.iter().zip(removed) {
        match result {
            Ok(()) => app.print(format!("{name}\n"))?,
            // Gone is what was asked for; it is said nevertheless.
            Err(e) if force && e.is_not_found() => app.warn(e),
            Err(e) => errors.push(e),
        }
    }
    Error::all(errors).map(|()| 0)
}
