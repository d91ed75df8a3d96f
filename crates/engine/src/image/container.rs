//! What containers need of images.

use dray_api::container::ContainerConfig;
use dray_image::{Commit, Image};
use dray_spec::{Platform, RunConfig};

use super::transfer::parse_platform;
use super::{Error, Service, change, named};
use crate::ServiceError;
use crate::container::{CommitRequest, ContainerImage, ContainerImages};

impl ContainerImages for Service {
    fn resolve(&self, called: &str, platform: Option<&str>) -> Result<ContainerImage, ServiceError> {
        let image = self.images.resolve(called).map_err(Error::from)?;
        let image = self.companion(&image, platform)?.unwrap_or(image);
        Ok(for_container(&image, called, platform.unwrap_or_default())?)
    }

    fn claim(
        &self,
        called: &str,
        platform: Option<&str>,
        container: &str,
    ) -> Result<ContainerImage, ServiceError> {
        let (mut image, mut claim) = self.images.claim(called, container).map_err(Error::from)?;
        // It stays while the image that it belongs to is claimed.
        if let Some(companion) = self.companion(&image, platform)? {
            let id = companion.id.as_str();
            (image, claim) = self.images.claim(id, container).map_err(Error::from)?;
        }
        let image = for_container(&image, called, platform.unwrap_or_default())?;
        Ok(ContainerImage { claim: Some(claim), ..image })
    }

    fn commit(&self, request: &CommitRequest) -> Result<String, ServiceError> {
        Ok(self.commit_upper(request)?)
    }
}

fn for_container(image: &Image, called: &str, platform: &str) -> Result<ContainerImage, Error> {
    let has = platform_of(image);
    if let Some(wanted) = parse_platform(platform)?.filter(|wanted| !wanted.accepts(&has)) {
        return Err(Error::OtherPlatform {
            name: called.to_owned(),
            wanted: wanted.to_string(),
            actual: has.to_string(),
        });
    }
    Ok(ContainerImage {
        id: image.id.to_string(),
        config: container_config(image.config.config.as_ref()),
        layers: image.layers.clone(),
        platform: format!("{}/{}", has.os, has.architecture),
        claim: None,
    })
}

impl Service {
    /// The image of another platform that belongs to this one, where that is asked for.
    fn companion(&self, image: &Image, platform: Option<&str>) -> Result<Option<Image>, Error> {
        let Some(wanted) = parse_platform(platform.unwrap_or_default())? else { return Ok(None) };
        if wanted.accepts(&platform_of(image)) {
            return Ok(None);
        }
        Ok(self.images.for_platform(image.clone(), &wanted)?)
    }

    fn commit_upper(&self, request: &CommitRequest) -> Result<String, Error> {
        let name = match request.reference.as_str() {
            "" => None,
            reference => Some(named(reference, "")?),
        };
        let parent = self.images.resolve(&request.parent)?;
        let shown = name.as_ref().map(dray_spec::Reference::familiar);
        let mut config = run_config(&request.config);
        change::apply(&mut config, &request.changes)?;
        let commit = Commit {
            config,
            author: request.author.clone(),
            comment: request.comment.clone(),
            created_by: request.command.join(" "),
            name,
        };
        let image = self.images.commit(&request.upper, &parent, commit)?;
        let id = image.id.to_string();
        if let Some(shown) = shown {
            self.announce("tag", &id, &shown, image.config.labels());
        }
        Ok(id)
    }
}

/// The platform an image says it is for.
pub(crate) fn platform_of(image: &Image) -> Platform {
    let config = &image.config;
    Platform::new(&config.os, &config.architecture, config.variant.as_deref())
}

/// Image documents and the API name the fields alike.
fn container_config(run: Option<&RunConfig>) -> ContainerConfig {
    run.and_then(|run| serde_json::to_value(run).ok())
        .and_then(|value| serde_json::from_value(value).ok())
        .unwrap_or_default()
}

fn run_config(config: &ContainerConfig) -> RunConfig {
    let value = serde_json::to_value(config).unwrap_or_default();
    serde_json::from_value(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_survive_the_way_to_a_container_and_back() {
        let run = RunConfig {
            user: "nobody".into(),
            cmd: Some(vec!["sh".into()]),
            env: Some(vec!["A=b".into()]),
            exposed_ports: Some([("80/tcp".to_owned(), Default::default())].into()),
            ..Default::default()
        };
        let container = container_config(Some(&run));
        assert_eq!(container.user, "nobody");
        assert!(container.exposed_ports.as_ref().unwrap().contains_key("80/tcp"));
        let back = run_config(&container);
        assert_eq!((back.user, back.cmd, back.env), (run.user, run.cmd, run.env));
    }
}
