//! Images: listed, inspected, named, removed, pulled, pushed, and moved in archives.

mod change;
mod container;
mod error;
mod files;
mod mount;
mod repository;
mod signature;
mod transfer;
mod usage;
mod view;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use dray_api::image::{DeleteItem, HistoryItem, ImageInspect, ImageSummary, ImagesPruneReport};
use dray_api::{Filters, Labels};
use dray_image::pull::Puller;
use dray_image::push::Pusher;
use dray_image::{ContainerUse, Filter, Image, Images, Removed};
use dray_registry::Client;
use dray_spec::{Digest, Platform, Reference};
use jiff::Timestamp;

use crate::{EventBus, timestamp};
pub(crate) use container::platform_of;
pub use error::Error;
pub use files::SquashOptions;
pub use transfer::{CreateSource, ImportOptions, PullWhat, Pushing, auth};

/// The containers that were made from an image.
pub type Users = Arc<dyn Fn(&Digest) -> Vec<ContainerUse> + Send + Sync>;

/// What of the images is listed.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// Those between, too: nameless images that others were made upon.
    pub all: bool,
    /// Which ones.
    pub filters: Filters,
    /// Measure what each shares with others.
    pub shared_size: bool,
}

/// Images and the registries they come from.
pub struct Service {
    images: Images,
    remote: RwLock<Arc<Remote>>,
    events: EventBus,
    users: Users,
    run_root: PathBuf,
    /// Held while images are mounted and taken off.
    mounting: Mutex<()>,
}

/// How registries are spoken to. Replaced as a whole when the configuration is read again; what is under way goes on
/// with the one it began with.
#[derive(Clone)]
pub struct Remote {
    /// Pulls.
    pub puller: Puller,
    /// Pushes.
    pub pusher: Pusher,
    /// Everything else.
    pub client: Client,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("image::Service").finish_non_exhaustive()
    }
}

impl Service {
    /// The images of a store.
    #[must_use]
    pub fn open(
        images: Images,
        remote: Remote,
        events: EventBus,
        users: Users,
        run_root: PathBuf,
    ) -> Arc<Self> {
        let (remote, mounting) = (RwLock::new(Arc::new(remote)), Mutex::default());
        let service = Arc::new(Service { images, remote, events, users, run_root, mounting });
        service.restore_mounts();
        service
    }

    /// From now on registries are spoken to like this.
    pub fn set_remote(&self, remote: Remote) {
        *self.remote.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(remote);
    }

    fn remote(&self) -> Arc<Remote> {
        Arc::clone(&self.remote.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn mounting(&self) -> MutexGuard<'_, ()> {
        self.mounting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The images themselves.
    #[must_use]
    pub fn images(&self) -> &Images {
        &self.images
    }

    /// The client that speaks to registries.
    #[must_use]
    pub fn client(&self) -> Client {
        self.remote().client.clone()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.images.store().images().list().map_or(0, |images| images.len())
    }

    /// The images that match, the newest first.
    ///
    /// # Errors
    /// For a filter that images do not have, or if the store fails.
    pub fn list(&self, options: &ListOptions) -> Result<Vec<ImageSummary>, Error> {
        options.filters.validate(&[
            "before",
            "dangling",
            "label",
            "label!",
            "reference",
            "since",
            "until",
        ])?;
        let filter = self.filter(&options.filters)?;
        let all = self.images.list_brief()?;
        let parents: std::collections::HashSet<&Digest> =
            all.iter().filter_map(|image| image.parent.as_ref()).collect();
        let mut listed: Vec<&Image> = all.iter().filter(|image| filter.matches(image)).collect();
        if !options.all {
            let companions = self.images.all_companions()?;
            let is_part = |image: &Image| parents.contains(&image.id) || companions.contains(&image.id);
            listed.retain(|image| !dray_image::filter::is_dangling(image) || !is_part(image));
        }
        listed.sort_by_key(|image| std::cmp::Reverse(dray_image::filter::created(image)));
        let sharing = if options.shared_size { Some(view::Sharing::of(&all)) } else { None };
        let mut summaries = Vec::new();
        for image in listed {
            let mut summary = view::summary(image, filter.names(image));
            if let Some(sharing) = &sharing {
                summary.shared_size = sharing.shared(&self.images, image)?;
            }
            summaries.push(summary);
        }
        Ok(summaries)
    }

    /// All images with how many containers use each, what each takes on the disk (layers and the blobs kept for
    /// it) and what of that it shares, for `system df`.
    ///
    /// # Errors
    /// If the store fails.
    pub fn usage(&self) -> Result<Vec<ImageSummary>, Error> {
        let all = self.images.list()?;
        let usage = usage::Usage::of(&self.images, &all)?;
        let mut summaries = self.list(&ListOptions::default())?;
        for summary in &mut summaries {
            let Ok(id) = summary.id.parse::<Digest>() else { continue };
            summary.containers = i64::try_from((self.users)(&id).len()).unwrap_or(i64::MAX);
            if let Some((size, shared)) = usage.image(&id) {
                (summary.size, summary.shared_size) = (size, shared);
            }
        }
        Ok(summaries)
    }

    /// What all layers, blobs and downloads take on the disk together, but for the layers that only the build
    /// cache has.
    ///
    /// # Errors
    /// If the store fails.
    pub fn layers_size(&self) -> Result<i64, Error> {
        usage::everything(self.images.store()).map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX))
    }

    /// One image.
    ///
    /// # Errors
    /// If there is none of that name, or none for the platform, which is empty for any.
    pub fn inspect(&self, name: &str, platform: &str) -> Result<ImageInspect, Error> {
        let image = self.images.resolve(name)?;
        let image = match transfer::platform_of_api(platform)? {
            None => image,
            Some(wanted) => self.of_platform(image, name, &wanted)?,
        };
        Ok(view::inspect(&self.images, &image))
    }

    /// An image, or that of another platform that belongs to it.
    fn of_platform(&self, image: Image, called: &str, wanted: &Platform) -> Result<Image, Error> {
        let actual = platform_of(&image).to_string();
        let other = || Error::OtherPlatform { name: called.to_owned(), wanted: wanted.to_string(), actual };
        self.images.for_platform(image, wanted)?.ok_or_else(other)
    }

    /// How an image came to be, the last step first.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn history(&self, name: &str) -> Result<Vec<HistoryItem>, Error> {
        let image = self.images.resolve(name)?;
        Ok(self.images.history(&image)?.into_iter().map(view::history_item).collect())
    }

    /// Gives an image one more name: `repository` with `tag`, or with the tag it has itself.
    ///
    /// # Errors
    /// If there is no such image, or the name is none.
    pub fn tag(&self, source: &str, repository: &str, tag: &str) -> Result<(), Error> {
        let image = self.images.resolve(source)?;
        let reference = named(repository, tag)?;
        self.images.tag(&image, &reference)?;
        self.announce("tag", image.id.as_ref(), &reference.familiar(), image.config.labels());
        Ok(())
    }

    /// Removes a name, and the image when that was its last one.
    ///
    /// # Errors
    /// If there is none of that name, or something needs it.
    pub fn remove(&self, name: &str, force: bool, prune: bool) -> Result<Vec<DeleteItem>, Error> {
        let image = self.images.resolve(name)?;
        let users = Arc::clone(&self.users);
        let removed = self.images.remove(name, force, prune, &move |id: &Digest| users(id))?;
        Ok(self.told(&removed, Some(&image)))
    }

    /// Removes images that nobody needs.
    ///
    /// # Errors
    /// For a filter that pruning does not have, or if one is running.
    pub fn prune(&self, filters: &Filters) -> Result<ImagesPruneReport, Error> {
        filters.validate(&["dangling", "label", "label!", "until"])?;
        let filter = self.filter(filters)?;
        let users = Arc::clone(&self.users);
        let pruned = self.images.prune(&filter, &move |id: &Digest| users(id))?;
        let deleted = self.told(&pruned.removed, None);
        let reclaimed = Labels::from([("reclaimed".to_owned(), pruned.reclaimed.to_string())]);
        self.events.publish("image", "prune", "", reclaimed);
        Ok(ImagesPruneReport {
            images_deleted: (!deleted.is_empty()).then_some(deleted),
            space_reclaimed: pruned.reclaimed,
        })
    }

    /// What was removed, as the API says it; each is announced.
    fn told(&self, removed: &[Removed], image: Option<&Image>) -> Vec<DeleteItem> {
        let labels = image.and_then(|image| image.config.labels());
        let id = image.map(|image| image.id.to_string());
        let tell = |removed: &Removed| match removed {
            Removed::Untagged(name) => {
                let id = id.as_deref().unwrap_or(name);
                self.announce("untag", id, id, labels);
                DeleteItem { untagged: name.clone(), ..Default::default() }
            }
            Removed::Deleted(id) => {
                self.announce("delete", id, id, labels);
                DeleteItem { deleted: id.clone(), ..Default::default() }
            }
        };
        removed.iter().map(tell).collect()
    }

    fn filter(&self, filters: &Filters) -> Result<Filter, Error> {
        let created = |key: &str| -> Result<Vec<Timestamp>, Error> {
            filters
                .get(key)
                .map(|name| Ok(dray_image::filter::created(&self.images.resolve(name)?)))
                .collect()
        };
        let dangling = match filters.contains("dangling") {
            true => Some(filters.get_bool("dangling", false)?),
            false => None,
        };
        let mut untils = filters.get("until");
        let (value, more) = (untils.next(), untils.next());
        if more.is_some() {
            return Err(Error::FilterValue("more than one until filter specified".to_owned()));
        }
        let moment = |value| timestamp::moment("until", value, Timestamp::now());
        let until = value.map(moment).transpose().map_err(|error| Error::FilterValue(error.to_string()))?;
        let until = until.flatten();
        let owned = |key: &str| filters.get(key).map(str::to_owned).collect();
        Ok(Filter {
            dangling,
            labels: owned("label"),
            without_labels: owned("label!"),
            before: created("before")?.into_iter().max(),
            since: created("since")?.into_iter().min(),
            references: owned("reference"),
            until,
        })
    }

    fn announce(&self, action: &str, id: &str, name: &str, labels: Option<&Labels>) {
        let mut attributes = labels.cloned().unwrap_or_default();
        if !name.is_empty() {
            attributes.insert("name".to_owned(), name.to_owned());
        }
        self.events.publish("image", action, id, attributes);
    }
}

/// A name given as repository and tag.
///
/// # Errors
/// If it is none.
pub(crate) fn named(repository: &str, tag: &str) -> Result<Reference, Error> {
    let reference = Reference::parse(repository)?;
    if tag.is_empty() { Ok(reference.tagged()) } else { reference.with_tag(tag).map_err(|_| Error::Tag) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_docker_s() {
        assert_eq!(named("busybox", "").unwrap().familiar(), "busybox:latest");
        assert_eq!(named("localhost:5000/x:v1", "v2").unwrap().familiar(), "localhost:5000/x:v2");
        assert_eq!(
            named("Foo", "").unwrap_err().to_string(),
            "invalid reference format: repository name (library/Foo) must be lowercase"
        );
        assert_eq!(named("x", "a b").unwrap_err().to_string(), "invalid tag format");
    }
}
