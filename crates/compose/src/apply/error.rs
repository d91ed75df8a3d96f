//! Why a project cannot be brought where it should be.

use crate::plan;

/// A failure; the words are Docker Compose's where it has words for it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The daemon.
    #[error(transparent)]
    Client(#[from] dray_client::Error),
    /// A container cannot be asked for.
    #[error(transparent)]
    Container(#[from] plan::container::Error),
    /// An answer of the daemon is not what it should be.
    #[error("{what}: {source}")]
    Json {
        /// What was asked.
        what: String,
        /// Where it went wrong.
        source: serde_json::Error,
    },
    /// A network could not be made.
    #[error("failed to create network {name}: {source}")]
    NetworkCreate {
        /// Its name.
        name: String,
        /// What the daemon says.
        source: dray_client::Error,
    },
    /// A network could not be removed.
    #[error("failed to remove network {name}: {source}")]
    NetworkRemove {
        /// Its name.
        name: String,
        /// What the daemon says.
        source: dray_client::Error,
    },
    /// An external network does not exist.
    #[error("network {0} declared as external, but could not be found")]
    NoNetwork(String),
    /// There are many networks of this name.
    #[error("multiple networks with name {0:?} were found. Use network ID as `name` to avoid ambiguity")]
    ManyNetworks(String),
    /// A network of this name belongs to something else.
    #[error(
        "network {name} was found but has incorrect label {label} set to {found:?} (expected: {wanted:?})"
    )]
    ForeignNetwork {
        /// Its name.
        name: String,
        /// The label.
        label: &'static str,
        /// What it says.
        found: String,
        /// What it should say.
        wanted: String,
    },
    /// A new container did not get well, and all are as before.
    #[error("service {name:?} is rolled back: {source}")]
    RolledBack {
        /// The service.
        name: String,
        /// What was wrong.
        source: Box<Error>,
    },
    /// A new container did not get well; others are new already.
    #[error("service {name:?} is updated in part, {new} of {all} containers: {source}")]
    RollPaused {
        /// The service.
        name: String,
        /// How many are new.
        new: usize,
        /// Of how many.
        all: usize,
        /// What was wrong.
        source: Box<Error>,
    },
    /// What was to come back has been removed by somebody else.
    #[error("{source}\ncontainer {name} is gone, so that its successor stays as it is")]
    Gone {
        /// The container.
        name: String,
        /// Why it was to come back.
        source: Box<Error>,
    },
    /// Ports cannot be moved from one container to another.
    #[error(
        "service {0:?}: deploy.update_config.order is start-first and it publishes ports, which only Dray's daemon can move; \
         use stop-first"
    )]
    NoMove(String),
    /// An external volume does not exist.
    #[error("external volume {0:?} not found")]
    NoVolume(String),
    /// A service that is referred to has no container.
    #[error("cannot share {what} with service {name}: container missing")]
    NoContainer {
        /// What is shared.
        what: &'static str,
        /// The service.
        name: String,
    },
    /// A service has nothing to start.
    #[error("service {0:?} has no container to start")]
    NothingToStart(String),
    /// A dependency has no container.
    #[error("{dependent} is missing dependency {name}")]
    MissingDependency {
        /// Who depends.
        dependent: String,
        /// On what.
        name: String,
    },
    /// A dependency does not become healthy.
    #[error("dependency failed to start: {0}")]
    Dependency(Box<Error>),
    /// A container ended.
    #[error("container {name} exited ({code})")]
    Exited {
        /// Its name.
        name: String,
        /// Its exit code.
        code: i64,
    },
    /// A container cannot run any more.
    #[error("container {0} is dead: its removal failed half-way")]
    Dead(String),
    /// A container's health check fails.
    #[error("container {name} is unhealthy{}", last(.output))]
    Unhealthy {
        /// Its name.
        name: String,
        /// What the last check wrote.
        output: Option<(i64, String)>,
    },
    /// A container has no health check to wait for.
    #[error("container {0} has no healthcheck configured")]
    NoHealthCheck(String),
    /// A service that should end well did not.
    #[error("service {name:?} didn't complete successfully: exit {code}")]
    Incomplete {
        /// The service.
        name: String,
        /// Its exit code.
        code: i64,
    },
    /// It took too long.
    #[error("application not healthy after {0}")]
    Timeout(String),
    /// A hook's command failed.
    #[error("{service} hook exited with status {code}")]
    Hook {
        /// The service.
        service: String,
        /// Its exit code.
        code: i64,
    },
    /// Content cannot be written into a read-only container.
    #[error(
        "cannot create {kind} {name:?} in read-only service {service}: `file` is the sole supported option"
    )]
    ReadOnly {
        /// Config or secret.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The service.
        service: String,
    },
    /// The variable of a config or secret has no value.
    #[error("environment variable {variable:?} required by {kind} {name:?} is not set")]
    NoVariable {
        /// The variable.
        variable: String,
        /// Config or secret.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A container's number cannot be had.
    #[error("service {service:?} is not running{}", number(.index))]
    NotRunning {
        /// The service.
        service: String,
        /// The number that was asked for.
        index: u32,
    },
    /// The service is not part of what is there.
    #[error("no such service: {0}")]
    NoService(String),
    /// A stream broke off.
    #[error("{what}: {source}")]
    Stream {
        /// What was read or written.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

fn number(index: &u32) -> String {
    if *index == 0 { String::new() } else { format!(" container #{index}") }
}

fn last(output: &Option<(i64, String)>) -> String {
    match output {
        Some((code, text)) if !text.trim().is_empty() => {
            let lines: Vec<&str> = text.trim().lines().collect();
            let tail = lines[lines.len().saturating_sub(5)..].join("\n  ");
            format!("\n  the last health check exited with {code} and wrote:\n  {tail}")
        }
        Some((code, _)) => format!("\n  the last health check exited with {code} and wrote nothing"),
        None => String::new(),
    }
}

impl Error {
    /// Whether the daemon says that the thing does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::Client(e) if e.is_not_found())
    }

    /// Whether the daemon says that the thing is in another state or in use.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Error::Client(dray_client::Error::Api { status: 409, .. }))
    }
}
