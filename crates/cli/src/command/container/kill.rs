//! `kill`.

use crate::app::App;
use crate::command::each::at_once;
use crate::flag::{Flag, Parsed, text};
use crate::spec::{Args, Command, Done};

const FLAGS: &[Flag] = &[text("signal", 's', "Signal to send, KILL if none is given")];

/// `kill`
pub static COMMAND: Command = Command::new(
    "kill",
    &["[OPTIONS] CONTAINER [CONTAINER...]"],
    Args::AtLeast(1),
    "Kill running containers",
    |a, p| Box::pin(run(a, p)),
)
.flags(&[FLAGS])
.also(&["container kill", "kill"]);

async fn run(app: &App, p: Parsed) -> Done {
    let client = app.client()?;
    let signal = p.get("signal");
    at_once(app, &p.args, |name| async move { Ok(client.container_kill(name, signal).await?) }).await
}
