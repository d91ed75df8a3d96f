//! `exec`: runs a command in a running container.

use dray_client::Client;
use dray_client::api::container::{ExecCreateRequest, ExecStartRequest};

use super::run::{check_tty, detach_keys};
use super::session::{beside, enter_raw};
use crate::app::App;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, list, switch, text};
use crate::opts::env;
use crate::spec::{Args, Command, Done};
use crate::stdio::{self, End, Join, Sized};
use crate::terminal;

const FLAGS: &[Flag] = &[
    switch("detach", 'd', "Leave the command in the background"),
    text("detach-keys", NONE, "Keys that leave it running"),
    list("env", 'e', "Set an environment variable").check(env::check_env),
    list("env-file", NONE, "Read environment variables from a file"),
    switch("interactive", 'i', "Send standard input"),
    switch("privileged", NONE, "Give the command all privileges"),
    switch("tty", 't', "Give the command a terminal"),
    text("user", 'u', "User name or id, with a group after a colon"),
    text("workdir", 'w', "Working directory inside"),
];

/// `exec`
pub static COMMAND: Command = Command::new(
    "exec",
    &["[OPTIONS] CONTAINER COMMAND [ARG...]"],
    Args::AtLeast(2),
    "Run a command in a running container",
    |a, p| Box::pin(run(a, p)),
)
.flags(&[FLAGS])
.program()
.also(&["container exec", "exec"]);

async fn run(app: &App, p: Parsed) -> Done {
    let client = app.client()?;
    let (keys_text, keys) = detach_keys(app, &p)?;
    let (detach, tty) = (p.is("detach"), p.is("tty"));
    let stdin = p.is("interactive") && !detach;
    let env = env::environment(&p.all("env-file"), &p.all("env")).map_err(Error::Refused)?;
    check_tty(stdin, tty)?;
    let console_size = if tty {
        terminal::size(rustix::stdio::stdout()).map(|(h, w)| [u32::from(h), u32::from(w)])
    } else {
        None
    };
    let request = ExecCreateRequest {
        user: p.get("user").to_owned(),
        privileged: p.is("privileged"),
        tty,
        console_size,
        attach_stdin: stdin,
        attach_stdout: !detach,
        attach_stderr: !detach,
        detach_keys: keys_text,
        env: (!env.is_empty()).then_some(env),
        working_dir: p.get("workdir").to_owned(),
        cmd: Some(p.args[1..].to_vec().into()),
        detach,
    };
    let id = client.exec_create(&p.args[0], &request).await?.id;
    let start = ExecStartRequest { detach, tty, console_size };
    if detach {
        client.exec_start(&id, &start).await?;
        return Ok(0);
    }
    let connection = client.exec_attach(&id, &start).await?;
    let raw = if stdin && tty { enter_raw()? } else { None };
    let on_terminal = terminal::is_terminal(rustix::stdio::stdin());
    let join = Join { tty, stdin, stdout: true, stderr: true, keys: (tty && on_terminal).then_some(keys) };
    let size = async {
        if tty && terminal::is_terminal(rustix::stdio::stdout()) {
            stdio::follow_size(client, Sized::Exec(&id)).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    let ended = beside(stdio::join(connection, join), size, stdio::end_on_signals()).await;
    drop(raw);
    match ended? {
        End::Detached => Ok(0),
        End::Closed => exit_code(client, &id).await,
    }
}

async fn exit_code(client: &Client, id: &str) -> Done {
    let exec = client.exec_inspect(id).await?;
    Ok(u8::try_from(exec.exit_code.unwrap_or(0) & 0xff).unwrap_or(1))
}
