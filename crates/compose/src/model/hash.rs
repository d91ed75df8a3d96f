//! The hash of a configuration: the digest of its JSON, by Docker Compose's rule, so that each of the two knows what
//! the other has made and whether it must be made anew.

use sha2::{Digest as _, Sha256};

use super::data::Form;
use super::field::Field;
use super::resource::{Network, Volume};
use super::service::Service;
use crate::render::json;

/// The hash of a service: without what does not change its containers.
pub fn service(service: &Service) -> String {
    let mut bare = Service {
        build: None,
        pull_policy: String::new(),
        scale: None,
        depends_on: std::collections::BTreeMap::new(),
        profiles: Vec::new(),
        ..service.clone()
    };
    if let Some(deploy) = &mut bare.deploy {
        deploy.replicas = None;
    }
    digest(&bare)
}

/// The hash of a network.
pub fn network(network: &Network) -> String {
    digest(network)
}

/// The hash of a volume.
pub fn volume(volume: &Volume) -> String {
    let mut volume = volume.clone();
    if volume.driver.is_empty() {
        volume.driver = "local".into();
    }
    digest(&volume)
}

fn digest(value: &impl Field) -> String {
    hex::encode(Sha256::digest(json::compact(&value.write(Form::Json))))
}
