//! What a build asks of its client while it runs: secrets, SSH agents, credentials.

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use dray_api::auth::AuthConfig;
use dray_build::{AgentError, AgentSource, Agents, SecretContent, SecretError, SecretSource, Secrets};
use dray_buildkit::Session;
use dray_engine::build::{CredentialSource, Recording, Wishes};
use tokio::runtime::Handle;

/// The host that Docker's clients know Docker Hub's registry by.
const DOCKER_HUB: &str = "registry-1.docker.io";

/// A client, asked from the threads of its build.
pub(crate) struct Caller {
    session: Session,
    handle: Handle,
    /// The record of the build, which no secret may get into.
    recording: Option<Arc<Recording>>,
}

impl Caller {
    /// The client of a session, for a build that is recorded or not. Must be called inside a tokio runtime.
    pub(crate) fn recorded(session: Session, recording: Option<Arc<Recording>>) -> Arc<Self> {
        Arc::new(Caller { session, handle: Handle::current(), recording })
    }

    /// What steps may ask the client for.
    pub(crate) fn wishes(self: &Arc<Self>) -> Wishes {
        Wishes {
            secrets: Secrets::from_source(Arc::clone(self) as Arc<dyn SecretSource>),
            agents: Agents::from_source(Arc::clone(self) as Arc<dyn AgentSource>),
        }
    }
}

impl SecretSource for Caller {
    fn secret(&self, id: &str) -> Result<Option<SecretContent>, SecretError> {
        let found = self.handle.block_on(self.session.secret(id));
        let failed = |status| SecretError::Source { id: id.to_owned(), source: Box::new(status) };
        let found = found.map_err(failed)?;
        if let (Some(secret), Some(recording)) = (&found, &self.recording) {
            recording.mask().add(secret);
        }
        Ok(found.map(SecretContent))
    }
}

impl CredentialSource for Caller {
    fn credentials(&self, domain: &str) -> AuthConfig {
        self.handle.block_on(credentials(&self.session, domain))
    }
}

/// The client's credentials for a registry; what cannot be had counts as none.
pub(super) async fn credentials(session: &Session, domain: &str) -> AuthConfig {
    let host = if domain == "docker.io" { DOCKER_HUB } else { domain };
    match session.credentials(host).await {
        Ok(None) => AuthConfig::default(),
        Ok(Some(found)) if found.username.is_empty() => {
            AuthConfig { identitytoken: found.secret, ..AuthConfig::default() }
        }
        Ok(Some(found)) => {
            AuthConfig { username: found.username, password: found.secret, ..AuthConfig::default() }
        }
        Err(error) => {
            tracing::debug!(%error, domain, "a build client does not say its credentials");
            AuthConfig::default()
        }
    }
}

impl AgentSource for Caller {
    fn check(&self, id: &str) -> Result<(), AgentError> {
        match self.handle.block_on(self.session.check_agent(id)) {
            Ok(true) => Ok(()),
            Ok(false) => Err(AgentError::NotForwarded(id.to_owned())),
            Err(status) => Err(AgentError::Source { id: id.to_owned(), source: Box::new(status) }),
        }
    }

    fn connect(&self, id: &str, connection: UnixStream) {
        let (session, id) = (self.session.clone(), id.to_owned());
        self.handle.spawn(async move {
            let opened = connection.set_nonblocking(true);
            let forwarded = match opened.and_then(|()| tokio::net::UnixStream::from_std(connection)) {
                Ok(connection) => session.forward_agent(&id, connection).await,
                Err(error) => return tracing::warn!(%error, id, "a step's connection to its ssh agent"),
            };
            if let Err(error) = forwarded {
                tracing::debug!(%error, id, "an ssh agent of a build client");
            }
        });
    }
}
