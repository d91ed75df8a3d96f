//! `diff`.

use crate::app::App;
use crate::command_error::Error;
use crate::flag::Parsed;
use crate::spec::{Args, Command, Done};

/// `diff`
pub static COMMAND: Command = Command::new(
    "diff",
    &["CONTAINER"],
    Args::Exactly(1),
    "Show which files of a container differ from its image",
    |a, p| Box::pin(run(a, p)),
)
.also(&["container diff", "diff"]);

async fn run(app: &App, p: Parsed) -> Done {
    if p.args[0].is_empty() {
        return Err(Error::Refused("Container name cannot be empty".into()));
    }
    for change in app.client()?.container_changes(&p.args[0]).await? {
        let kind = match change.kind {
            0 => "C",
            1 => "A",
            _ => "D",
        };
        app.print(format!("{kind} {}\n", change.path))?;
    }
    Ok(0)
}
