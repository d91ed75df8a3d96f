//! `login` and `logout`.

use std::io::{BufRead as _, Read as _};

use dray_client::api::auth::AuthConfig;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::app::App;
use crate::command_error::Error;
use crate::config_file::HUB;
use crate::flag::{Flag, NONE, Parsed, switch, text};
use crate::spec::{Args, Command, Done};
use crate::terminal;

const FLAGS: &[Flag] = &[
    text("password", 'p', "Password or access token"),
    switch("password-stdin", NONE, "Read the password or access token from standard input"),
    text("username", 'u', "User name"),
];

/// `login`
pub static LOGIN: Command = Command::new(
    "login",
    &["[OPTIONS] [SERVER]"],
    Args::AtMost(1),
    "Give credentials for a registry",
    |a, p| Box::pin(login(a, p)),
)
.flags(&[FLAGS])
.details("Without a server, Docker Hub is meant.");

/// `logout`
pub static LOGOUT: Command = Command::new(
    "logout",
    &["[SERVER]"],
    Args::AtMost(1),
    "Forget the credentials for a registry",
    |a, p| Box::pin(logout(a, p)),
)
.details("Without a server, Docker Hub is meant.");

/// The name under which a server's credentials are kept.
fn key_of(server: Option<&String>) -> String {
    match server.map(String::as_str) {
        None | Some("" | "docker.io" | "index.docker.io" | "registry-1.docker.io") => HUB.to_owned(),
        Some(server) => {
            let rest =
                server.strip_prefix("https://").or_else(|| server.strip_prefix("http://")).unwrap_or(server);
            rest.trim_end_matches('/').split('/').next().unwrap_or(rest).to_owned()
        }
    }
}

async fn login(app: &App, p: Parsed) -> Done {
    let server = key_of(p.args.first());
    let (mut user, mut password) = (p.get("username").to_owned(), p.get("password").to_owned());
    if p.given("password") {
        if p.is("password-stdin") {
            let text = "conflicting options: cannot specify both --password and --password-stdin";
            return Err(Error::Refused(text.into()));
        }
        app.warn("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
    }
    if p.is("password-stdin") {
        if user.is_empty() {
            return Err(Error::Refused("the --password-stdin option requires --username to be set".into()));
        }
        password = read_all()?;
    }
    if user.is_empty() && password.is_empty() {
        let kept = app.config().borrow().auth(&server)?;
        if !kept.username.is_empty() || !kept.identitytoken.is_empty() {
            app.print(format!(
                "Authenticating with existing credentials... [Username: {}]\n",
                kept.username
            ))?;
            let auth = AuthConfig { serveraddress: server.clone(), ..kept };
            if let Ok(status) = attempt(app, &server, auth).await {
                app.print(format!("\n{status}\n"))?;
                return Ok(0);
            }
            app.warn("Login did not succeed with the credentials that are kept.");
        }
    }
    if user.is_empty() {
        user = prompt(app, "Username: ", true)?;
    }
    if password.is_empty() {
        password = prompt(app, "Password: ", false)?;
    }
    if user.is_empty() || password.is_empty() {
        let what = if user.is_empty() { "username is required" } else { "password is required" };
        return Err(Error::Refused(what.into()));
    }
    let auth =
        AuthConfig { username: user, password, serveraddress: server.clone(), ..AuthConfig::default() };
    let status = attempt(app, &server, auth).await?;
    app.print(format!("{status}\n"))?;
    Ok(0)
}

/// Checks credentials with the daemon and keeps them; gives its words of success.
async fn attempt(app: &App, server: &str, mut auth: AuthConfig) -> Result<String, Error> {
    let answer = app.client()?.login(&auth).await?;
    if !answer.identity_token.is_empty() {
        auth.password.clear();
        auth.identitytoken = answer.identity_token;
    }
    let mut config = app.config().borrow_mut();
    if config.helper(server).is_none() {
        app.warn(format!(
            "\nWARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper to remove this warning. See\nhttps://docs.docker.com/go/credential-store/\n",
            config.dir().join("config.json").display()
        ));
    }
    config.store(server, &auth)?;
    Ok(answer.status)
}

fn read_all() -> Result<String, Error> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(Error::io("read standard input"))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

fn prompt(app: &App, question: &str, echo: bool) -> Result<String, Error> {
    let stdin = rustix::stdio::stdin();
    if !terminal::is_terminal(stdin) {
        return Err(Error::Refused(
            "Error: Cannot perform an interactive login from a non TTY device".into(),
        ));
    }
    app.print(question)?;
    let before = tcgetattr(stdin).map_err(|e| Error::io("read the terminal's settings")(e.into()))?;
    if !echo {
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(stdin, OptionalActions::Drain, &silent)
            .map_err(|e| Error::io("hide what is typed")(e.into()))?;
    }
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    if !echo {
        tcsetattr(stdin, OptionalActions::Drain, &before)
            .map_err(|e| Error::io("show what is typed")(e.into()))?;
        app.print("\n")?;
    }
    read.map_err(Error::io("read standard input"))?;
    Ok(line.trim().to_owned())
}

async fn logout(app: &App, p: Parsed) -> Done {
    let server = key_of(p.args.first());
    let shown = if server == HUB { HUB } else { &server };
    // Docker says so too where nothing was kept.
    app.print(format!("Removing login credentials for {shown}\n"))?;
    app.config().borrow_mut().erase(&server)?;
    Ok(0)
}
