//! `pause` and `unpause`.

use crate::app::App;
use crate::command::each::at_once;
use crate::flag::Parsed;
use crate::spec::{Args, Command, Done};

/// `pause`
pub static PAUSE: Command = Command::new(
    "pause",
    &["CONTAINER [CONTAINER...]"],
    Args::AtLeast(1),
    "Freeze all processes of containers",
    |a, p| Box::pin(pause(a, p)),
)
.also(&["container pause", "pause"]);

/// `unpause`
pub static UNPAUSE: Command = Command::new(
    "unpause",
    &["CONTAINER [CONTAINER...]"],
    Args::AtLeast(1),
    "Let frozen processes of containers go on",
    |a, p| Box::pin(unpause(a, p)),
)
.also(&["container unpause", "unpause"]);

async fn pause(app: &App, p: Parsed) -> Done {
    let client = app.client()?;
    at_once(app, &p.args, |name| async move { Ok(client.container_pause(name).await?) }).await
}

async fn unpause(app: &App, p: Parsed) -> Done {
    let client = app.client()?;
    at_once(app, &p.args, |name| async move { Ok(client.container_unpause(name).await?) }).await
}
