//! `restart`.

use super::stop::{FLAGS, timeout};
use crate::app::App;
use crate::command::each::each;
use crate::flag::Parsed;
use crate::spec::{Args, Command, Done};

/// `restart`
pub static COMMAND: Command = Command::new(
    "restart",
    &["[OPTIONS] CONTAINER [CONTAINER...]"],
    Args::AtLeast(1),
    "Stop containers and start them again",
    |a, p| Box::pin(run(a, p)),
)
.flags(&[FLAGS])
.also(&["container restart", "restart"]);

async fn run(app: &App, p: Parsed) -> Done {
    let client = app.client()?;
    let (signal, timeout) = (p.get("signal"), timeout(&p)?);
    each(app, &p.args, |name| async move { Ok(client.container_restart(name, signal, timeout).await?) }).await
}
