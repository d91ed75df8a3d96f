//! `stop`.

use crate::app::App;
use crate::command::each::at_once;
use crate::command_error::Error;
use crate::flag::{Flag, Parsed, int, text};
use crate::spec::{Args, Command, Done};

/// Flags of `stop` and `restart`.
pub const FLAGS: &[Flag] = &[
    text("signal", 's', "Signal to send instead of the container's own"),
    int("timeout", 't', "Seconds until it is killed"),
    int("time", '\0', "Seconds until it is killed").hidden(),
];

/// `stop`
pub static COMMAND: Command = Command::new(
    "stop",
    &["[OPTIONS] CONTAINER [CONTAINER...]"],
    Args::AtLeast(1),
    "Stop running containers",
    |a, p| Box::pin(run(a, p)),
)
.flags(&[FLAGS])
.also(&["container stop", "stop"]);

/// The seconds given, if any.
///
/// # Errors
/// Both flags are given.
pub fn timeout(p: &Parsed) -> Result<Option<i64>, Error> {
    if p.given("time") && p.given("timeout") {
        return Err(Error::Refused("conflicting options: cannot specify both --timeout and --time".into()));
    }
    Ok(["timeout", "time"].into_iter().find(|f| p.given(f)).map(|f| p.int(f)))
}

async fn run(app: &App, p: Parsed) -> Done {
    let client = app.client()?;
    let (signal, timeout) = (p.get("signal"), timeout(&p)?);
    at_once(app, &p.args, |name| async move { Ok(client.container_stop(name, signal, timeout).await?) }).await
}
