//! `rename`.

use crate::app::App;
use crate::command_error::Error;
use crate::flag::Parsed;
use crate::spec::{Args, Command, Done};

/// `rename`
pub static COMMAND: Command = Command::new(
    "rename",
    &["CONTAINER NEW_NAME"],
    Args::Exactly(2),
    "Give a container another name",
    |a, p| Box::pin(run(a, p)),
)
.also(&["container rename", "rename"]);

async fn run(app: &App, p: Parsed) -> Done {
    let (old, new) = (p.args[0].trim(), p.args[1].trim());
    if old.is_empty() || new.is_empty() {
        return Err(Error::Refused("Error: Neither old nor new names may be empty".into()));
    }
    if let Err(error) = app.client()?.container_rename(old, new).await {
        app.warn(Error::from(error));
        return Err(Error::Refused(format!("Error: failed to rename container named {old}")));
    }
    Ok(0)
}
