//! `container prune`.

use crate::app::App;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, filter, switch};
use crate::format::units::human_size;
use crate::spec::{Args, Command, Done};

/// Flags of most `prune` commands.
pub const FLAGS: &[Flag] =
    &[filter(NONE, "Only those that match (until=24h, label=key)"), switch("force", 'f', "Do not ask")];

/// `container prune`
pub static COMMAND: Command =
    Command::new("prune", &["[OPTIONS]"], Args::No, "Remove all stopped containers", |a, p| {
        Box::pin(run(a, p))
    })
    .flags(&[FLAGS]);

/// Asks before something is removed, unless told not to.
///
/// # Errors
/// Standard output or input is gone.
pub fn agree(app: &App, p: &Parsed, question: &str) -> Result<bool, Error> {
    Ok(p.is("force") || app.confirm(question)?)
}

async fn run(app: &App, p: Parsed) -> Done {
    let question = "WARNING! This will remove all stopped containers.\nAre you sure you want to continue?";
    if !agree(app, &p, question)? {
        return Ok(0);
    }
    let report = app.client()?.container_prune(&p.filters()).await?;
    let deleted = report.containers_deleted.unwrap_or_default();
    if !deleted.is_empty() {
        app.print(format!("Deleted Containers:\n{}\n\n", deleted.join("\n")))?;
    }
    app.print(format!("Total reclaimed space: {}\n", human_size(report.space_reclaimed as f64)))?;
    Ok(0)
}
