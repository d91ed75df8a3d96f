//! `login` and `logout`.

use std::collections::BTreeMap;
use std::io::Read as _;

use dray_client::api::auth::{AuthConfig, AuthResponse};

use crate::app::App;
use crate::command_error::Error;
use crate::config_file::HUB;
use crate::credential::{VARIABLE, hostname};
use crate::flag::{Flag, NONE, Parsed, switch, text};
use crate::spec::{Args, Command, Done};
use crate::terminal::{self, ask, ask_secret};

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

const SUGGEST_HUB: &str = "Log in with your Docker ID or email address to push and pull images from Docker Hub. If you don't have a Docker ID, head over to https://hub.docker.com/ to create one.";
const SUGGEST_TOKEN: &str = "You can log in with your password or a Personal Access Token (PAT). Using a limited-scope PAT grants better security and is required for organizations using SSO. Learn more at https://docs.docker.com/go/access-tokens/";

/// The name under which a server's credentials are kept.
fn key_of(server: Option<&String>) -> String {
    match server.map(String::as_str) {
        None | Some("" | "docker.io" | HUB) => HUB.to_owned(),
        Some(server) => hostname(server).to_owned(),
    }
}

/// What the flags say, checked.
struct Given {
    user: String,
    password: String,
}

impl Given {
    fn read(app: &App, p: &Parsed) -> Result<Given, Error> {
        let refuse = |text: &str| Err(Error::Refused(text.into()));
        if p.given("password-stdin") {
            if p.given("password") {
                return refuse("conflicting options: cannot specify both --password and --password-stdin");
            }
            if !p.given("username") {
                return refuse("the --password-stdin option requires --username to be set");
            }
        }
        let mut given = Given { user: p.get("username").to_owned(), password: p.get("password").to_owned() };
        if p.given("username") && given.user.is_empty() {
            return refuse("username is empty");
        }
        if p.given("password") && given.password.is_empty() {
            return refuse("password is empty");
        }
        if !given.password.is_empty() {
            app.warn("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
        }
        if p.is("password-stdin") {
            given.password = read_all()?;
        }
        Ok(given)
    }
}

async fn login(app: &App, p: Parsed) -> Done {
    let given = Given::read(app, &p)?;
    if std::env::var_os(VARIABLE).is_some_and(|value| !value.is_empty()) {
        let text = format!(
            "{VARIABLE} is set and takes precedence.\nUnset {VARIABLE} to restore the CLI auth behaviour.\n"
        );
        note(app, " Warning -> ", &text);
    }
    let server = key_of(p.args.first());
    let mut kept = AuthConfig::default();
    if given.user.is_empty() && given.password.is_empty() {
        // Credentials that cannot be read are asked for anew.
        kept = app.config().borrow().auth(&server).unwrap_or_default();
        if !kept.username.is_empty()
            && !kept.password.is_empty()
            && let Some(status) = login_with_kept(app, &server, &kept).await?
        {
            app.print(format!("{status}\n"))?;
            return Ok(0);
        }
    }
    let status = login_with(app, &server, given, &kept.username).await?;
    app.print(format!("{status}\n"))?;
    Ok(0)
}

/// Tries what is kept; none if that does not help.
async fn login_with_kept(app: &App, server: &str, kept: &AuthConfig) -> Result<Option<String>, Error> {
    app.warn(format!("Authenticating with existing credentials... [Username: {}]", kept.username));
    note(
        app,
        " Info -> ",
        &format!("To login with a different account, run '{0} logout' followed by '{0} login'", app.name),
    );
    app.warn("\n");
    let auth = AuthConfig { serveraddress: server.to_owned(), identitytoken: String::new(), ..kept.clone() };
    match app.client()?.login(&auth).await {
        Ok(answer) => keep(app, auth, answer).map(Some),
        Err(dray_client::Error::Api { status: 401, .. }) => {
            app.warn("Stored credentials invalid or expired");
            Ok(None)
        }
        Err(error) => {
            app.warn(format!("Login did not succeed, error: {error}"));
            Ok(None)
        }
    }
}

/// Asks for what is missing and tries it.
async fn login_with(app: &App, server: &str, given: Given, known_user: &str) -> Result<String, Error> {
    let missing = given.user.is_empty() || given.password.is_empty();
    if missing && !terminal::is_terminal(rustix::stdio::stdin()) {
        let text = "Error: Cannot perform an interactive login from a non TTY device";
        return Err(Error::Refused(text.into()));
    }
    let username = match given.user.trim() {
        "" => ask_user(app, server, known_user).await?,
        user => user.to_owned(),
    };
    let password = match given.password.trim() {
        "" => ask_password(app, server).await?,
        password => password.to_owned(),
    };
    let auth = AuthConfig { username, password, serveraddress: server.to_owned(), ..AuthConfig::default() };
    let answer = app.client()?.login(&auth).await?;
    keep(app, auth, answer)
}

async fn ask_user(app: &App, server: &str, known: &str) -> Result<String, Error> {
    if server == HUB {
        app.print(format!("{SUGGEST_HUB}\n"))?;
        if hints(app) {
            app.print(format!("{SUGGEST_TOKEN}\n\n"))?;
        }
    }
    let question = if known.is_empty() { "Username: ".to_owned() } else { format!("Username ({known}): ") };
    let user = ask(app, &question).await?;
    match (user.is_empty(), known.is_empty()) {
        (true, true) => Err(Error::Refused("Error: Non-null Username Required".into())),
        (true, false) => Ok(known.to_owned()),
        (false, _) => Ok(user),
    }
}

async fn ask_password(app: &App, server: &str) -> Result<String, Error> {
    if server == HUB {
        let text = "A Personal Access Token (PAT) can be used instead.\nTo create a PAT, visit https://app.docker.com/settings\n\n";
        note(app, " Info -> ", text);
    }
    let password = ask_secret(app, "Password: ").await?;
    if password.is_empty() {
        return Err(Error::Refused("Error: Password Required".into()));
    }
    Ok(password)
}

/// Keeps credentials that were good; gives the daemon's words of success.
fn keep(app: &App, mut auth: AuthConfig, answer: AuthResponse) -> Result<String, Error> {
    if !answer.identity_token.is_empty() {
        auth.password.clear();
        auth.identitytoken = answer.identity_token;
    }
    let mut config = app.config().borrow_mut();
    let stored = config.store(&auth);
    if stored.map_err(|error| Error::Refused(format!("Error saving credentials: {error}")))? {
        app.warn(format!(
            "\nWARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper to remove this warning. See\nhttps://docs.docker.com/go/credential-store/\n",
            config.dir().join("config.json").display()
        ));
    }
    Ok(answer.status)
}

/// Lines below a header, each as far to the right as the first.
fn note(app: &App, header: &str, text: &str) {
    let lines = text.replace('\n', &format!("\n{}", " ".repeat(header.len())));
    app.warn(format!("\n{header}{lines}"));
}

/// Whether hints are wanted: the variable decides, else the configuration, else they are.
fn hints(app: &App) -> bool {
    let said = |text: &str| match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    };
    if let Some(said) = std::env::var("DOCKER_CLI_HINTS").ok().as_deref().and_then(said) {
        return said;
    }
    let config = app.config().borrow();
    let hooks = config.entry("plugins", "-x-cli-hints").and_then(|hints| hints.get("enabled"));
    hooks.and_then(serde_json::Value::as_str).and_then(said).unwrap_or(true)
}

fn read_all() -> Result<String, Error> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(Error::io("read standard input"))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

async fn logout(app: &App, p: Parsed) -> Done {
    let named = p.args.first().map(String::as_str).unwrap_or_default();
    let (shown, names) = match named {
        "" => (HUB, vec![HUB.to_owned()]),
        server => {
            let host = hostname(server);
            // Older programs kept them under any of these.
            let names =
                [server.to_owned(), host.to_owned(), format!("http://{host}"), format!("https://{host}")];
            (host, names.to_vec())
        }
    };
    app.print(format!("Removing login credentials for {shown}\n"))?;
    let mut config = app.config().borrow_mut();
    let failed = |name: &String| config.erase(name).err().map(|error| (name.clone(), error));
    let errors: BTreeMap<_, _> = names.iter().filter_map(failed).collect();
    if errors.len() == names.len() {
        app.warn("WARNING: could not erase credentials:");
        for (name, error) in errors {
            app.warn(format!("{name}: {error}"));
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_kept_by_host() {
        let key = |server: &str| key_of(Some(&server.to_owned()));
        assert_eq!(key_of(None), HUB);
        assert_eq!(key("docker.io"), HUB);
        assert_eq!(key("https://reg.test:5000/v2/"), "reg.test:5000");
        assert_eq!(key("registry-1.docker.io"), "registry-1.docker.io");
    }
}
