//! `attach`: joins the streams of a running container.

use dray_client::container::AttachOptions;

use super::run::{beside, check_tty, detach_keys, enter_raw, exit_code};
use crate::app::App;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, switch, text};
use crate::spec::{Args, Command, Done};
use crate::stdio::{self, End, Join, SignalProxy, Sized};
use crate::terminal;

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
    let mut proxy = if p.is("sig-proxy") && !tty { Some(SignalProxy::catch()?) } else { None };
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
    let on_terminal = terminal::is_terminal(rustix::stdio::stdin());
    let join = Join { tty, stdin, stdout: true, stderr: true, keys: (tty && on_terminal).then_some(keys) };
    let size = async {
        if tty && terminal::is_terminal(rustix::stdio::stdout()) {
            redraw(client, id).await;
            stdio::follow_size(client, Sized::Container(id)).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    let signals = async {
        match &mut proxy {
            Some(proxy) => proxy.forward(client, id).await,
            None => stdio::end_on_signals().await,
        }
    };
    let main = async {
        match stdio::join(connection, join).await? {
            End::Detached => Ok(0),
            End::Closed => exit_code(&mut waiting).await,
        }
    };
    let done = beside(main, size, signals).await;
    drop(raw);
    done
}

/// Makes a full-screen program draw itself anew: to it the terminal changes its size and back.
async fn redraw(client: &dray_client::Client, id: &str) {
    if let Some((height, width)) = terminal::size(rustix::stdio::stdout()) {
        // A program that has just ended has nothing to draw.
        let _ = client.container_resize(id, height.saturating_add(1), width.saturating_add(1)).await;
    }
}
