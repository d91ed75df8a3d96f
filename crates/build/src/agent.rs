//! SSH agents of `RUN --mount=type=ssh`: the step gets a socket, and what it says there goes to the client's agent.
//! No key ever comes here; nothing of it is part of a step's key, its layer, its history or a message.

use std::fmt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// Where agents are: the client of one build.
pub trait AgentSource: Send + Sync {
    /// Asks the client for its agent of this id. Called on the build's threads; may wait for the client.
    ///
    /// # Errors
    /// If there is none, or the client cannot be asked.
    fn check(&self, id: &str) -> Result<(), AgentError>;

    /// Joins a connection of a step with the agent of this id. Returns at once; the connection is closed when either
    /// side ends it.
    fn connect(&self, id: &str, connection: UnixStream);
}

/// Why an agent cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The client offers no agents at all.
    #[error("no SSH key {0:?} forwarded from the client")]
    NotForwarded(String),
    /// The client does not have this one, or could not be asked.
    #[error("{source}")]
    Source {
        /// The agent's id.
        id: String,
        /// What failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The socket for the step cannot be made.
    #[error("socket for ssh agent {id}: {source}")]
    Socket {
        /// The agent's id.
        id: String,
        /// What failed.
        source: std::io::Error,
    },
}

/// The agents of one build; without a source there are none.
#[derive(Clone, Default)]
pub struct Agents(Option<Arc<dyn AgentSource>>);

impl Agents {
    /// Agents from a source.
    pub fn from_source(source: Arc<dyn AgentSource>) -> Self {
        Agents(Some(source))
    }

    pub(crate) fn source(&self) -> Option<&Arc<dyn AgentSource>> {
        self.0.as_ref()
    }
}

impl fmt::Debug for Agents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Agents(a source)" } else { "Agents(none)" })
    }
}
