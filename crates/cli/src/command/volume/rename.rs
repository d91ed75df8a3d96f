//! `volume rename`. Dray's own.

use crate::app::App;
use crate::flag::Parsed;
use crate::spec::{Args, Command, Done};

/// `volume rename`
pub static COMMAND: Command =
    Command::new("rename", &["VOLUME NEW_NAME"], Args::Exactly(2), "Rename a volume", |a, p| {
        Box::pin(run(a, p))
    })
    .details("A volume that containers have, running or not, cannot be renamed.");

async fn run(app: &App, p: Parsed) -> Done {
    app.client()?.volume_rename(&p.args[0], &p.args[1]).await?;
    Ok(0)
}
