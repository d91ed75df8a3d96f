//! What `FROM` names: an image that is here, or pulled.

use std::sync::Arc;

use dray_api::auth::{AuthConfig, AuthConfigs};
use dray_build::{BaseImage, BaseImageError, BaseImages, Cancel};
use dray_image::{Image, Progress};
use dray_registry::Auth;
use dray_spec::{Digest, ImageConfig, Platform, Reference};
use tokio::runtime::Handle;

use crate::image::{self, PullWhat, auth};

/// Base images over the engine's images, with the credentials of one request.
pub(super) struct Bases {
    images: Arc<image::Service>,
    handle: Handle,
    credentials: Credentials,
}

/// Why a pull for a build ended early.
#[derive(Debug, thiserror::Error)]
#[error("pull cancelled")]
struct Cancelled;

impl Bases {
    pub fn new(images: Arc<image::Service>, handle: Handle, credentials: Credentials) -> Self {
        Bases { images, handle, credentials }
    }

    fn here(&self, name: &str, platform: &Platform) -> Result<Option<BaseImage>, image::Error> {
        match self.images.images().resolve(name) {
            Ok(image) => Ok(self.images.images().for_platform(image, platform)?.map(base)),
            Err(error) if error.kind() == dray_image::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Pulls an image. The name is for images of this machine: those of other platforms do not take it from them.
    fn pull(
        &self,
        reference: &Reference,
        platform: &Platform,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<Option<Digest>, BaseImageError> {
        let auth = self.credentials.for_registry(reference.domain());
        let by_digest = !Platform::host().accepts(platform);
        let platform = platform.to_string();
        let what = PullWhat { platform: &platform, by_digest, ..PullWhat::default() };
        let pulled = std::thread::scope(|scope| {
            // Who listens may block, which the thread that drives the pull must not.
            let (sender, events) = std::sync::mpsc::channel();
            scope.spawn(move || events.into_iter().for_each(|event| progress.event(event)));
            let relay = move |event| drop(sender.send(event));
            self.interruptibly(cancel, self.images.pull(reference, what, auth, &relay))
        })?;
        Ok(pulled.into_iter().next().map(|pulled| pulled.image))
    }

    /// Waits for a registry, unless the build is cancelled.
    fn interruptibly<T>(
        &self,
        cancel: &Cancel,
        work: impl Future<Output = Result<T, image::Error>>,
    ) -> Result<T, BaseImageError> {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let _guard = cancel.on_cancel(move || {
            let _ = stop.send(());
        });
        self.handle.block_on(async {
            tokio::select! {
                done = work => done.map_err(|error| BaseImageError(Box::new(error))),
                // A guard that is dropped unused ends the channel too, but only after the work.
                Ok(()) = stopped => Err(BaseImageError(Box::new(Cancelled))),
            }
        })
    }
}

impl BaseImages for Bases {
    fn resolve(
        &self,
        name: &str,
        platform: &Platform,
        force_pull: bool,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<BaseImage, BaseImageError> {
        let failed = |error: image::Error| BaseImageError(Box::new(error));
        if !force_pull && let Some(found) = self.here(name, platform).map_err(failed)? {
            return Ok(found);
        }
        let reference = Reference::parse(name).map_err(|error| failed(error.into()))?.tagged();
        let pulled = self.pull(&reference, platform, progress, cancel)?;
        let found = pulled.map(|id| self.images.images().get(&id)).transpose();
        let found = found.map_err(|error| failed(error.into()))?.flatten();
        found.map(base).ok_or_else(|| failed(dray_image::Error::NotFound(reference.familiar()).into()))
    }

    fn config(
        &self,
        name: &str,
        platform: &Platform,
        cancel: &Cancel,
    ) -> Result<ImageConfig, BaseImageError> {
        let failed = |error: image::Error| BaseImageError(Box::new(error));
        if let Some(found) = self.here(name, platform).map_err(failed)? {
            return Ok(found.config);
        }
        let reference = Reference::parse(name).map_err(|error| failed(error.into()))?.tagged();
        let auth = self.credentials.for_registry(reference.domain());
        self.interruptibly(cancel, self.images.remote_config(&reference, platform, &auth))
    }
}

fn base(image: Image) -> BaseImage {
    BaseImage { id: image.id, config: image.config, layers: image.layers }
}

/// Who is asked for the credentials of a registry, when a base image is pulled.
pub trait CredentialSource: Send + Sync {
    /// The credentials for a registry (Docker Hub is `docker.io`); what cannot be had counts as none. Called on
    /// the build's threads; may wait for the client.
    fn credentials(&self, domain: &str) -> AuthConfig;
}

/// The credentials for a registry out of those that came with a request, as `X-Registry-Config` has them.
#[must_use]
pub fn given_credentials<'a>(given: &'a AuthConfigs, domain: &str) -> Option<&'a AuthConfig> {
    let fits = |name: &str| {
        let host = name.split_once("://").map_or(name, |(_, rest)| rest);
        let host = host.split('/').next().unwrap_or(host);
        host == domain
            || (domain == "docker.io" && matches!(host, "index.docker.io" | "registry-1.docker.io"))
    };
    given.iter().find(|(name, _)| fits(name)).map(|(_, config)| config)
}

/// Credentials by registry, as `X-Registry-Config` has them, or asked for.
#[derive(Clone)]
pub(super) enum Credentials {
    Given(AuthConfigs),
    Asked(Arc<dyn CredentialSource>),
}

impl Default for Credentials {
    fn default() -> Self {
        Credentials::Given(AuthConfigs::default())
    }
}

impl Credentials {
    pub fn new(configs: AuthConfigs) -> Self {
        Credentials::Given(configs)
    }

    /// Clients name a registry by host, by URL, or Docker Hub by its old index.
    fn for_registry(&self, domain: &str) -> Auth {
        let given = match self {
            Credentials::Given(configs) => configs,
            Credentials::Asked(source) => return auth(&source.credentials(domain)),
        };
        given_credentials(given, domain).map_or(Auth::Anonymous, auth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_found_by_any_of_a_registry_s_names() {
        let config =
            |user: &str| AuthConfig { username: user.into(), password: "p".into(), ..Default::default() };
        let credentials = Credentials::new(AuthConfigs::from([
            ("https://index.docker.io/v1/".to_owned(), config("hub")),
            ("localhost:5000".to_owned(), config("local")),
        ]));
        let user = |domain: &str| match credentials.for_registry(domain) {
            Auth::Basic { user, .. } => user,
            _ => String::new(),
        };
        assert_eq!(user("docker.io"), "hub");
        assert_eq!(user("localhost:5000"), "local");
        assert_eq!(user("example.org"), "");
    }
}
