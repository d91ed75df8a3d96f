//! What all commands share: what the program was called, its configuration, its client, its output.

use std::cell::{OnceCell, RefCell};
use std::io::Write as _;

use dray_client::{Client, Endpoint};

use crate::command_error::Error;
use crate::config_file::{self, ConfigFile};
use crate::connect;
use crate::flag::{Flag, NONE, Parsed, list, switch, text};

/// Flags before the command.
pub const GLOBAL: &[Flag] = &[
    text("config", NONE, "Folder of the client's configuration (default \"~/.docker\")"),
    text("context", 'c', "Context to connect with, instead of DOCKER_HOST and the default context"),
    switch("debug", 'D', "Turn on debug output"),
    list("host", 'H', "Address of the daemon's socket"),
    text("log-level", 'l', "Level of logging: debug, info, warn, error or fatal").default("info"),
    switch("tls", NONE, "Speak TLS; --tlsverify implies it"),
    text(
        "tlscacert",
        NONE,
        "Authority that must have signed the daemon's certificate (default \"~/.docker/ca.pem\")",
    ),
    text("tlscert", NONE, "The client's certificate (default \"~/.docker/cert.pem\")"),
    text("tlskey", NONE, "The client's key (default \"~/.docker/key.pem\")"),
    switch("tlsverify", NONE, "Speak TLS and check the daemon's certificate"),
    switch("version", 'v', "Print the version and stop"),
];

/// A run of the program.
pub struct App {
    /// What it was called: `docker` or `dray`.
    pub name: String,
    /// The commit the program is built of.
    pub commit: &'static str,
    /// The command as called, such as `docker container ls`.
    pub called: String,
    /// The flags before the command.
    pub globals: Parsed,
    /// The flags between a noun and its command.
    pub group: Parsed,
    config: OnceCell<RefCell<ConfigFile>>,
    client: OnceCell<Client>,
}

impl App {
    /// A run with these global flags; `commit` is none where the build could not tell.
    pub fn new(name: &str, commit: Option<&'static str>, globals: Parsed) -> App {
        App {
            name: name.to_owned(),
            commit: commit.unwrap_or("unknown"),
            called: name.to_owned(),
            globals,
            group: Parsed::default(),
            config: OnceCell::new(),
            client: OnceCell::new(),
        }
    }

    /// The configuration file, read when first asked for.
    pub fn config(&self) -> &RefCell<ConfigFile> {
        let load = || RefCell::new(ConfigFile::load(config_file::dir(Some(self.globals.get("config")))));
        self.config.get_or_init(load)
    }

    /// The client of the daemon that flags, environment and context name. Starts Dray's own daemon if it is the one
    /// meant and does not run.
    ///
    /// # Errors
    /// The address is wrong, or the daemon does not start.
    pub fn client(&self) -> Result<&Client, Error> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let mut client = connect::client(self)?;
        if self.rehearses() {
            client = client.rehearsing();
        }
        Ok(self.client.get_or_init(|| client))
    }

    /// Has all commands speak with the daemon at an address; whether they do, and not with another one already.
    pub fn speaks_with(&self, endpoint: Endpoint) -> bool {
        let address = endpoint.text.clone();
        let made = || {
            let client = connect::client_at(endpoint);
            if self.rehearses() { client.rehearsing() } else { client }
        };
        self.client.get_or_init(made).endpoint().text == address
    }

    /// Whether nothing is to be changed: `compose --dry-run`.
    fn rehearses(&self) -> bool {
        self.group.is("dry-run")
    }

    /// Writes to standard output.
    ///
    /// # Errors
    /// Nobody reads it any more, or the disk is full.
    pub fn print(&self, text: impl AsRef<[u8]>) -> Result<(), Error> {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_ref()).and_then(|()| out.flush()).map_err(Error::io("write standard output"))
    }

    /// Writes a line to standard error.
    pub fn warn(&self, text: impl std::fmt::Display) {
        // Nothing is left to tell that standard error is gone.
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// A failure of `run` or `create`: names the program and points to the command's help.
    pub fn with_help(&self, code: u8, source: Error) -> Error {
        let (app, command) = (self.name.clone(), self.called.clone());
        Error::WithHelp { app, command, code, source: Box::new(source) }
    }

    /// Asks a question that a `y` agrees to.
    ///
    /// # Errors
    /// Standard output is gone.
    pub fn confirm(&self, question: &str) -> Result<bool, Error> {
        self.print(format!("{question} [y/N] "))?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).map_err(Error::io("read standard input"))?;
        Ok(answer.trim().eq_ignore_ascii_case("y"))
    }
}
