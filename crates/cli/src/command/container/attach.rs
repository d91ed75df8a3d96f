//! `attach`: joins the streams of a running container.

use dray_client::container::AttachOptions;

use super::run::{check_tty, detach_keys};
use super::session::{self, Session, enter_raw};
use crate::app::App;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, switch, text};
use crate::spec::{Args, Command, Done};
use crate::stdio::{Join, SignalProxy};

const FLAGS: &[Flag] = &[
    text("detach-keys", NONE, "Keys that leave it running"),
    switch("no-stdin", NONE, "Do not send standard input"),
    switch("sig-proxy", NONE, "Pass signals on to the program").default("true"),
];

/// `attach`
pub static COMMAND: Command = Command::new(
    "attach",
    &["[OPTIONS] CONTAINER"],
    Args::Exactly(1),
    "Join input, output and errors of a running container",
    |a, p| Box::pin(run(a, p)),
)
.flags(&[FLAGS])
.also(&["container attach", "attach"]);

async fn run(app: &App, p: Parsed) -> Done {
    let client = app.client()?;
    let container = client.container_inspect(&p.args[0]).await?;
    let state = &container.state;
    let refuse = |text: &str| Err(Error::Refused(text.to_owned()));
    if !state.running {
        return refuse("You cannot attach to a stopped container, start it first");
    }
    if state.paused {
        return refuse("You cannot attach to a paused container, unpause it first");
    }
    if state.restarting {
        return refuse("You cannot attach to a restarting container, wait until it is running");
    }
    let (id, tty) = (container.id.as_str(), container.config.tty);
    let stdin = !p.is("no-stdin") && container.config.open_stdin;
    check_tty(stdin, tty)?;
    let (keys_text, keys) = detach_keys(app, &p)?;
    let proxy = if p.is("sig-proxy") && !tty { Some(SignalProxy::catch()?) } else { None };
    let mut waiting = client.container_wait(id, "").await?;
    let options = AttachOptions {
        stream: true,
        stdin,
        stdout: true,
        stderr: true,
        logs: false,
        detach_keys: keys_text,
    };
    let connection = client.container_attach(id, &options).await?;
    let raw = if stdin && tty { enter_raw()? } else { None };
    let join = Join { tty, stdin, stdout: true, stderr: true, keys: session::keys(tty, keys) };
    let session = Session { client, id, join, proxy, redraw: true };
    let done = session.until_end(connection, &mut waiting).await;
    drop(raw);
    done
}
