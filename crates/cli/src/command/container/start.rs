//! `start`: starts containers; with `-a` or `-i` joins one of them.

use dray_client::container::AttachOptions;

use super::run::detach_keys;
use super::session::{self, Session, enter_raw};
use crate::app::App;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, switch, text};
use crate::spec::{Args, Command, Done};
use crate::stdio::{Join, SignalProxy};

const FLAGS: &[Flag] = &[
    switch("attach", 'a', "Show its output and pass signals on"),
    text("checkpoint", NONE, "Go on from this checkpoint").hidden(),
    text("checkpoint-dir", NONE, "Folder of checkpoints").hidden(),
    text("detach-keys", NONE, "Keys that leave it running"),
    switch("interactive", 'i', "Send standard input"),
];

/// `start`
pub static COMMAND: Command = Command::new(
    "start",
    &["[OPTIONS] CONTAINER [CONTAINER...]"],
    Args::AtLeast(1),
    "Start stopped containers",
    |a, p| Box::pin(run(a, p)),
)
.flags(&[FLAGS])
.also(&["container start", "start"]);

async fn run(app: &App, p: Parsed) -> Done {
    if !p.is("attach") && !p.is("interactive") {
        return each(app, &p.args).await;
    }
    if p.args.len() > 1 {
        return Err(Error::Refused("you cannot start and attach multiple containers at once".into()));
    }
    joined(app, &p).await
}

async fn each(app: &App, names: &[String]) -> Done {
    let client = app.client()?;
    let mut failed = Vec::new();
    for name in names {
        match client.container_start(name, "").await {
            Ok(()) => app.print(format!("{name}\n"))?,
            Err(e) => {
                app.warn(&e);
                failed.push(name.as_str());
            }
        }
    }
    if failed.is_empty() {
        return Ok(0);
    }
    Err(Error::Refused(format!("Error: failed to start containers: {}", failed.join(", "))))
}

async fn joined(app: &App, p: &Parsed) -> Done {
    let client = app.client()?;
    let (keys_text, keys) = detach_keys(app, p)?;
    let container = client.container_inspect(&p.args[0]).await?;
    let (id, tty) = (container.id.as_str(), container.config.tty);
    let stdin = p.is("interactive") && container.config.open_stdin;
    let proxy = if tty { None } else { Some(SignalProxy::catch()?) };
    let options = AttachOptions {
        stream: true,
        stdin,
        stdout: true,
        stderr: true,
        logs: false,
        detach_keys: keys_text,
    };
    let connection = client.container_attach(id, &options).await?;
    let condition = if container.host_config.auto_remove { "removed" } else { "next-exit" };
    let mut waiting = client.container_wait(id, condition).await?;
    let raw = if stdin && tty { enter_raw()? } else { None };
    client.container_start(id, "").await?;
    let join = Join { tty, stdin, stdout: true, stderr: true, keys: session::keys(tty, keys) };
    let session = Session { client, id, join, proxy, redraw: false };
    let done = session.until_end(connection, &mut waiting).await;
    drop(raw);
    done
}
