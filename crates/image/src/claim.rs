//! Claims on images: who is about to use one, before its own record says so.
//!
//! A container is recorded some time after its image was looked up. In between, the claim keeps the image from
//! being removed, and a lease keeps the layers. An image is found and claimed in one step, and removed in one
//! step after its claims were looked at, both under the same lock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dray_spec::{Digest, ImageConfig};
use dray_store::{LayerId, Lease};

use crate::remove::ContainerUse;
use crate::{Image, Images, NewImage, Result};

/// All claims on the images of a store.
#[derive(Debug, Clone, Default)]
pub(crate) struct Claims(Arc<Mutex<Vec<(Digest, String)>>>);

/// Keeps an image, its layers and its blobs until the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Claim(#[expect(dead_code, reason = "held for its drop")] Arc<Held>);

#[derive(Debug)]
struct Held {
    claims: Claims,
    image: Digest,
    claimant: String,
    _lease: Lease,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut claims = self.claims.lock();
        let own = |(image, claimant): &(Digest, String)| *image == self.image && *claimant == self.claimant;
        if let Some(index) = claims.iter().position(own) {
            claims.swap_remove(index);
        }
    }
}

impl Claims {
    /// No image is claimed, and none may be removed, while this is held.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Vec<(Digest, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who has claimed an image, as users of it that do not run yet.
pub(crate) fn users(claims: &[(Digest, String)], image: &Digest) -> Vec<ContainerUse> {
    let own = claims.iter().filter(|(claimed, _)| claimed == image);
    own.map(|(_, claimant)| ContainerUse { id: claimant.clone(), running: false }).collect()
}

impl Images {
    /// Finds an image as [`Images::resolve`] does and keeps it for `claimant`, the ID of a container.
    ///
    /// # Errors
    /// As [`Images::resolve`].
    pub fn claim(&self, name_or_id: &str, claimant: &str) -> Result<(Image, Claim)> {
        let lease = self.lease();
        let mut claims = self.claims.lock();
        let image = self.resolve(name_or_id)?;
        claims.push((image.id.clone(), claimant.to_owned()));
        drop(claims);
        let claim = self.held(&image, claimant, lease);
        Ok((image, claim))
    }

    /// Records an image as [`Images::create_from`] does, claimed from its first moment: it has no name yet, and
    /// is not pruned for that before it gets one.
    ///
    /// # Errors
    /// As [`Images::create`].
    pub fn create_claimed(
        &self,
        config: &ImageConfig,
        layers: Vec<LayerId>,
        claimant: &str,
    ) -> Result<(Image, Claim)> {
        let lease = self.lease();
        let mut claims = self.claims.lock();
        let image =
            self.create_locked(NewImage { config: config.to_bytes(), layers, ..NewImage::default() })?;
        claims.push((image.id.clone(), claimant.to_owned()));
        drop(claims);
        let claim = self.held(&image, claimant, lease);
        Ok((image, claim))
    }

    /// An image that is not recorded: of a build whose result goes elsewhere. Its layers and what is exported of it
    /// stay as long as the claim.
    ///
    /// # Errors
    /// If a layer is not there.
    pub fn assemble(
        &self,
        config: &ImageConfig,
        layers: Vec<LayerId>,
        claimant: &str,
    ) -> Result<(Image, Claim)> {
        let lease = self.lease();
        let config_bytes = config.to_bytes();
        let mut size = 0;
        for layer in &layers {
            size += self.store().layers().get(*layer)?.size;
        }
        let image = Image {
            id: Digest::sha256_of(&config_bytes),
            config: config.clone(),
            config_bytes,
            layers,
            tags: Vec::new(),
            repo_digests: Vec::new(),
            parent: None,
            manifest: None,
            blobs: Vec::new(),
            size,
            created: config.created.clone().unwrap_or_default(),
        };
        self.claims.lock().push((image.id.clone(), claimant.to_owned()));
        let claim = self.held(&image, claimant, lease);
        Ok((image, claim))
    }

    fn held(&self, image: &Image, claimant: &str, lease: Lease) -> Claim {
        let (claims, image) = (self.claims.clone(), image.id.clone());
        Claim(Arc::new(Held { claims, image, claimant: claimant.to_owned(), _lease: lease }))
    }
}

#[cfg(test)]
mod tests {
    use crate::images::tests::Fixture;
    use crate::{Error, Filter};

    #[test]
    fn a_claimed_image_is_neither_removed_nor_pruned() {
        let fixture = Fixture::new();
        let images = &fixture.images;
        let image = fixture.image(1, &["a"], &["app"]);
        let (claimed, claim) = images.claim("app", "c0ffee0123456789").unwrap();
        assert_eq!(claimed.id, image.id);
        let nobody = |_: &dray_spec::Digest| Vec::new();
        let error = images.remove("app", false, true, &nobody).unwrap_err();
        assert!(matches!(error, Error::Conflict(_)), "{error}");
        assert!(error.to_string().contains("c0ffee012345"), "{error}");
        let all = Filter { dangling: Some(false), ..Filter::default() };
        assert!(images.prune(&all, &nobody).unwrap().removed.is_empty());
        drop(claim);
        assert_eq!(images.prune(&all, &nobody).unwrap().removed.len(), 3);
        assert!(images.store().layers().list().unwrap().is_empty());
    }

    #[test]
    fn layers_of_an_image_removed_by_force_stay_for_the_claimant() {
        let fixture = Fixture::new();
        let images = &fixture.images;
        let image = fixture.image(1, &["a"], &["app"]);
        let (_, claim) = images.claim("app", "c1").unwrap();
        images.remove("app", true, true, &|_| Vec::new()).unwrap();
        assert!(images.store().layers().folders(image.layers[0])[0].is_dir());
        images.store().layers().hold("c1", &image.layers).unwrap();
        drop(claim);
        assert!(images.store().layers().folders(image.layers[0])[0].is_dir());
        images.store().layers().release("c1").unwrap();
        images.store().collect().unwrap();
        assert!(!images.store().layers().folders(image.layers[0])[0].exists());
    }
}
