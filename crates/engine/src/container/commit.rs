//! An image from what a container has written.

use std::sync::Arc;

use dray_api::container::ContainerConfig;

use super::hold::Frozen;
use super::images::CommitRequest;
use super::service::Service;
use super::{Error, merge};

/// How a container is committed.
#[derive(Debug, Clone, Default)]
pub struct CommitOptions {
    /// Name of the image, as `repo:tag`; empty for none.
    pub reference: String,
    /// Who made it.
    pub author: String,
    /// Why.
    pub comment: String,
    /// Freeze the container meanwhile.
    pub pause: bool,
    /// Dockerfile instructions that change the configuration.
    pub changes: Vec<String>,
    /// Configuration over the container's.
    pub config: Option<ContainerConfig>,
}

impl Service {
    /// Makes an image of a container; gives its id.
    ///
    /// # Errors
    /// When the name is none or the container's layer cannot be read.
    pub async fn commit(self: &Arc<Self>, called: &str, options: CommitOptions) -> Result<String, Error> {
        let container = self.registry.find(called)?;
        self.blocking(move |service| {
            let _order = container.lifecycle.blocking_lock();
            let record = container.record();
            if record.state.removing || record.state.dead {
                return Err(Error::MarkedForRemoval);
            }
            let freeze = options.pause && container.is_up() && !record.state.paused;
            let frozen = if freeze { service.hold_still(&container)? } else { None };
            let mut config = options.config.unwrap_or_else(|| record.config.clone());
            merge::merge(&mut config, &record.config);
            let mut attributes = container.attributes();
            attributes.insert("comment".into(), options.comment.clone());
            let made = service.images.commit(&CommitRequest {
                upper: service.layers(&record).upper,
                parent: record.image.clone(),
                layers: record.layers.clone(),
                config,
                command: std::iter::once(&record.path).chain(&record.args).cloned().collect(),
                reference: options.reference.clone(),
                author: options.author,
                changes: options.changes,
                comment: options.comment.clone(),
                attributes: attributes.clone(),
            });
            frozen.map_or(Ok(()), Frozen::thaw)?;
            let id = made?;
            let more =
                [("comment", options.comment), ("imageID", id.clone()), ("imageRef", options.reference)];
            service.announce(&container, "commit", &more);
            Ok(id)
        })
        .await
    }
}
