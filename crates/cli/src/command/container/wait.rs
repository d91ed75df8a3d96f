//! `wait`.

use crate::app::App;
use crate::command_error::Error;
use crate::flag::Parsed;
use crate::spec::{Args, Command, Done};

/// `wait`
pub static COMMAND: Command = Command::new(
    "wait",
    &["CONTAINER [CONTAINER...]"],
    Args::AtLeast(1),
    "Wait until containers end, then print their exit codes",
    |a, p| Box::pin(run(a, p)),
)
.also(&["container wait", "wait"]);

async fn run(app: &App, p: Parsed) -> Done {
    let client = app.client()?;
    let mut errors = Vec::new();
    for name in &p.args {
        let waited = async { client.container_wait(name, "").await?.next().await }.await;
        match waited {
            Ok(Some(response)) => app.print(format!("{}\n", response.status_code))?,
            Ok(None) => errors.push(Error::Refused(format!("the daemon did not say how {name} ended"))),
            Err(e) => errors.push(e.into()),
        }
    }
    Error::all(errors).map(|()| 0)
}
