//! `run`: create, attach, wait, start; then the program's output and its exit code.
//!
//! ```text
//! create ─> attach ─> wait(next-exit | removed) ─> start ─> … output … ─> exit code
//! ```
//! Attaching and waiting come before the start, so that nothing of a short program is missed.

use dray_client::Client;
use dray_client::api::container::ContainerConfig;
use dray_client::container::AttachOptions;

use super::session::{self, Session, enter_raw};
use super::{create, options};
use crate::app::App;
use crate::command_error::{Error, NOT_EXECUTABLE, NOT_FOUND, REFUSED};
use crate::flag::{Flag, NONE, Parsed, switch, text};
use crate::spec::{Args, Command, Done};
use crate::stdio::{Join, SignalProxy};
use crate::terminal::{self, DetachKeys};

const FLAGS: &[Flag] = &[
    switch("detach", 'd', "Leave it in the background and print its id"),
    text("detach-keys", NONE, "Keys that leave it running"),
    switch("sig-proxy", NONE, "Pass signals on to the program").default("true"),
];

/// `run`
pub static COMMAND: Command = Command::new(
    "run",
    &["[OPTIONS] IMAGE [COMMAND] [ARG...]"],
    Args::AtLeast(1),
    "Make a container from an image and start it",
    |a, p| Box::pin(run(a, p)),
)
.flags(&[options::FLAGS, FLAGS])
.program()
.also(&["container run", "run"]);

async fn run(app: &App, p: Parsed) -> Done {
    let refuse = |text: String| app.with_help(REFUSED, Error::Refused(text));
    create::check_pull(p.get("pull")).map_err(refuse)?;
    let mut request = options::request(&p).map_err(refuse)?;
    let detach = p.is("detach");
    if detach {
        if p.given("attach") {
            return Err(Error::Refused(
                "conflicting options: cannot specify both --attach and --detach".into(),
            ));
        }
        let config = &mut request.config;
        (config.attach_stdin, config.attach_stdout, config.attach_stderr) = (false, false, false);
        config.stdin_once = false;
    } else {
        check_tty(request.config.attach_stdin, request.config.tty)?;
    }
    if let (Some(host), Some((height, width))) =
        (&mut request.host_config, terminal::size(rustix::stdio::stdout()))
    {
        host.console_size = [height.into(), width.into()];
    }
    let keys = detach_keys(app, &p)?;
    let made = create::create(app, &p, &request).await.map_err(|e| status_error(app, e))?;
    let auto_remove = p.is("rm");
    let run = Run { app, client: app.client()?, id: &made.id, config: &request.config, auto_remove };
    if !run.attaches() {
        return run.detached().await;
    }
    run.attached(keys, p.is("sig-proxy")).await
}

/// A terminal in the container needs one here.
///
/// # Errors
/// There is none.
pub fn check_tty(attach_stdin: bool, tty: bool) -> Result<(), Error> {
    if attach_stdin && tty && !terminal::is_terminal(rustix::stdio::stdin()) {
        return Err(Error::Refused("the input device is not a TTY".into()));
    }
    Ok(())
}

/// The keys that detach, by flag or configuration.
///
/// # Errors
/// Never, while the default ones are keys.
pub fn detach_keys(app: &App, p: &Parsed) -> Result<(String, DetachKeys), Error> {
    let flag = p.get("detach-keys");
    let text =
        if flag.is_empty() { app.config().borrow().text("detachKeys").to_owned() } else { flag.to_owned() };
    // Keys that are none are for the daemon to refuse.
    let keys = DetachKeys::parse(&text).or_else(|_| DetachKeys::parse("")).map_err(Error::Refused)?;
    Ok((text, keys))
}

/// Gives a failure to run its exit code: 127 for a program that is missing, 126 for one that cannot be executed.
pub fn status_error(app: &App, error: Error) -> Error {
    let text = error.to_string();
    let missing =
        ["executable file not found", "no such file or directory", "system cannot find the file specified"];
    let code = if missing.iter().any(|m| text.contains(m)) {
        NOT_FOUND
    } else if text.contains("permission denied") || text.contains("is a directory") {
        NOT_EXECUTABLE
    } else {
        REFUSED
    };
    match error {
        Error::Exit(_) | Error::WithHelp { .. } => error,
        error => app.with_help(code, error),
    }
}

struct Run<'a> {
    app: &'a App,
    client: &'a Client,
    id: &'a str,
    config: &'a ContainerConfig,
    auto_remove: bool,
}

impl Run<'_> {
    fn attaches(&self) -> bool {
        self.config.attach_stdin || self.config.attach_stdout || self.config.attach_stderr
    }

    async fn detached(&self) -> Done {
        // The id is shown even if the start fails, as Docker does.
        self.app.print(format!("{}\n", self.id))?;
        self.client.container_start(self.id, "").await.map_err(|e| status_error(self.app, e.into()))?;
        Ok(0)
    }

    async fn attached(&self, (keys_text, keys): (String, DetachKeys), proxies: bool) -> Done {
        let config = self.config;
        let proxy = if proxies { Some(SignalProxy::catch()?) } else { None };
        let options = AttachOptions {
            stream: true,
            stdin: config.attach_stdin,
            stdout: config.attach_stdout,
            stderr: config.attach_stderr,
            detach_keys: keys_text,
            logs: false,
        };
        let connection = self.client.container_attach(self.id, &options).await?;
        let condition = if self.auto_remove { "removed" } else { "next-exit" };
        let mut waiting = self.client.container_wait(self.id, condition).await?;
        let raw = if config.attach_stdin && config.tty { enter_raw()? } else { None };
        if let Err(e) = self.client.container_start(self.id, "").await {
            drop(raw);
            if self.auto_remove {
                // The container goes away by itself; only then is all said.
                let _ = waiting.next().await;
            }
            return Err(status_error(self.app, e.into()));
        }
        let join = Join {
            tty: config.tty,
            stdin: config.attach_stdin,
            stdout: config.attach_stdout,
            stderr: config.attach_stderr,
            keys: session::keys(config.tty, keys),
        };
        let session = Session { client: self.client, id: self.id, join, proxy, redraw: false };
        let done = session.until_end(connection, &mut waiting).await;
        drop(raw);
        done
    }
}
