//! Removing images: names go first, the image when its last name goes, its layers and blobs when no other
//! image has them. The rules are Docker's, and so are the words.

use std::sync::atomic::Ordering;

use dray_spec::{Digest, Reference, chain_id};

use crate::error::Conflict;
use crate::{Error, Filter, Image, Images, Result, claim};

/// A container that was made from an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerUse {
    /// The container's ID.
    pub id: String,
    /// True while it runs.
    pub running: bool,
}

/// What was removed, in order; one line of `docker rmi` each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A name, as shown.
    Untagged(String),
    /// An image's ID, or the chain ID of a layer.
    Deleted(String),
}

/// What a pruning has removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// In order.
    pub removed: Vec<Removed>,
    /// The sizes of the removed layers, and of downloads that nobody goes on with.
    pub reclaimed: u64,
}

/// Which conflicts stop a removal.
#[derive(Debug, Clone, Copy)]
struct Check {
    /// Names.
    names: bool,
    /// Stopped containers.
    stopped: bool,
}

/// Who uses an image.
type Users<'a> = dyn Fn(&Digest) -> Vec<ContainerUse> + 'a;

struct Removal<'a> {
    images: &'a Images,
    users: &'a Users<'a>,
    removed: Vec<Removed>,
    /// Sizes of the layers that go along.
    freed: u64,
}

impl Images {
    /// Removes a name or an image, and with `prune` the nameless images it was made upon.
    ///
    /// # Errors
    /// If there is no such image, something needs it (some needs `force` overrules), or the store fails.
    pub fn remove(
        &self,
        name_or_id: &str,
        force: bool,
        prune: bool,
        users: &Users<'_>,
    ) -> Result<Vec<Removed>> {
        let claims = self.claims.lock();
        let users = |id: &Digest| [users(id), claim::users(&claims, id)].concat();
        let removed = loop {
            let image = self.resolve(name_or_id)?;
            let mut removal = Removal { images: self, users: &users, removed: Vec::new(), freed: 0 };
            // A name that went to another image meanwhile is looked up again.
            if removal.by_name_or_id(&image, name_or_id, force, prune)? {
                break removal.removed;
            }
        };
        drop(claims);
        self.store().collect()?;
        Ok(removed)
    }

    /// Removes the images that fulfil the filter and that nobody needs: those without a name, or with
    /// `filter.dangling` false all that no container uses.
    ///
    /// # Errors
    /// If a pruning is on its way already, or the store fails.
    pub fn prune(&self, filter: &Filter, users: &Users<'_>) -> Result<Pruned> {
        if self.pruning.swap(true, Ordering::AcqRel) {
            return Err(Error::PruneRunning);
        }
        let result = self.prune_now(filter, users);
        self.pruning.store(false, Ordering::Release);
        result
    }

    fn prune_now(&self, filter: &Filter, users: &Users<'_>) -> Result<Pruned> {
        let dangling_only = filter.dangling.unwrap_or(true);
        let filter = Filter { dangling: None, ..filter.clone() };
        let mut pruned = Pruned::default();
        let companions = self.all_companions()?;
        let candidate = |image: &Image| {
            // They go with the image that they belong to.
            let belongs = crate::filter::is_dangling(image) && companions.contains(&image.id);
            !belongs && (image.tags.is_empty() || !dangling_only) && filter.matches(image)
        };
        for image in self.list()?.into_iter().filter(candidate) {
            // Taken anew for each, so that containers need not wait for all of it.
            let claims = self.claims.lock();
            // One that has got a name since the list was read is no candidate any more.
            let Some(image) = self.get(&image.id)?.filter(candidate) else { continue };
            let users = |id: &Digest| [users(id), claim::users(&claims, id)].concat();
            let mut removal = Removal { images: self, users: &users, removed: Vec::new(), freed: 0 };
            removal.unless_needed(&image)?;
            pruned.reclaimed += removal.freed;
            pruned.removed.append(&mut removal.removed);
        }
        self.store().collect()?;
        if !dangling_only {
            pruned.reclaimed += self.store().blobs().abandon()?;
        }
        Ok(pruned)
    }
}

impl Removal<'_> {
    /// False, with nothing done, if the name is no longer the image's.
    fn by_name_or_id(&mut self, image: &Image, given: &str, force: bool, prune: bool) -> Result<bool> {
        let names = self.names(&image.id)?;
        if is_id_prefix(&image.id, given) {
            if is_single(&names) {
                self.check(&image.id, Check { names: false, stopped: !force })?;
                self.untag_all(&image.id)?;
            }
            self.delete(&image.id, force, prune, false)?;
            return Ok(true);
        }
        if !force
            && is_single(&names)
            && let Some(user) = (self.users)(&image.id).first()
        {
            return Err(Error::Conflict(Conflict::NameInUse {
                name: given.into(),
                container: short(&user.id),
                image: image.id.short().into(),
            }));
        }
        let name = Reference::parse(given)?.tagged();
        if !self.untag(&image.id, &name)? {
            return Ok(false);
        }
        if name.digest().is_none() {
            self.untag_digests_left_alone(&image.id, &name)?;
        }
        if self.names(&image.id)?.is_empty() {
            self.delete(&image.id, force, prune, true)?;
        }
        Ok(true)
    }

    /// When a repository's last tag has gone, its names by digest go too.
    fn untag_digests_left_alone(&mut self, id: &Digest, gone: &Reference) -> Result<()> {
        let names = self.names(id)?;
        let same = |name: &&Reference| name.name() == gone.name();
        if names.iter().filter(same).any(|name| name.digest().is_none()) {
            return Ok(());
        }
        for name in names.iter().filter(same) {
            self.untag(id, name)?;
        }
        Ok(())
    }

    /// Takes a name away; false if another image has it by now, or none.
    fn untag(&mut self, id: &Digest, name: &Reference) -> Result<bool> {
        // A digest outweighs a tag, as when it was looked up.
        let name = match name.digest() {
            Some(digest) => name.with_digest(digest.clone()),
            None => name.clone(),
        };
        let had = self.images.store().tags().remove_of(id, &name)?;
        if had {
            self.removed.push(Removed::Untagged(name.familiar()));
        }
        Ok(had)
    }

    fn untag_all(&mut self, id: &Digest) -> Result<()> {
        self.names(id)?.iter().try_for_each(|name| self.untag(id, name).map(drop))
    }

    /// Deletes the image and, with `prune`, its parents as far as nobody needs them. Quietly: a conflict is
    /// no failure, the image then just stays.
    fn delete(&mut self, id: &Digest, force: bool, prune: bool, quiet: bool) -> Result<()> {
        match self.check(id, Check { names: !force, stopped: !force }) {
            Err(Error::Conflict(conflict)) if quiet && (conflict.is_use() || !self.is_bare(id)?) => {
                return Ok(());
            }
            other => other?,
        }
        let Some(image) = self.images.get(id)? else { return Ok(()) };
        if force {
            self.untag_all(id)?;
        }
        let chains = self.chains_to_go(&image)?;
        let mut freed = 0;
        for layer in image.layers.iter().rev().take(chains.len()) {
            freed += self.images.store().layers().get(*layer)?.own;
        }
        let companions = self.images.companions(id)?;
        if !self.images.store().images().delete_nameless(id)? {
            // A pull, a load or a tag has given it a name meanwhile.
            return Ok(());
        }
        self.freed += freed;
        self.images.set_companions(id, &[])?;
        self.images.promise_attestations(id, &[])?;
        self.removed.push(Removed::Deleted(id.to_string()));
        self.removed.extend(chains.into_iter().map(|chain| Removed::Deleted(chain.to_string())));
        if !companions.is_empty() {
            let of_others = self.images.all_companions()?;
            for companion in companions.iter().filter(|companion| !of_others.contains(companion)) {
                // One that has a name, or that something needs, stays.
                self.delete(companion, false, prune, true)?;
            }
        }
        match image.parent {
            Some(parent) if prune => self.delete(&parent, false, true, true),
            _ => Ok(()),
        }
    }

    fn unless_needed(&mut self, image: &Image) -> Result<()> {
        let bare = image.tags.is_empty() && image.repo_digests.is_empty();
        if bare && !self.images.children(&image.id)?.is_empty() {
            return Ok(());
        }
        let quietly = |result| match result {
            Ok(_) | Err(Error::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        };
        if bare {
            return quietly(self.delete(&image.id, false, true, true).map(|()| true));
        }
        // The names by which it was found to be unneeded: what it has got since is somebody's.
        for name in image.tags.iter().chain(&image.repo_digests) {
            quietly(self.by_name_or_id(image, &name.to_string(), false, true))?;
        }
        Ok(())
    }

    fn check(&self, id: &Digest, check: Check) -> Result<()> {
        let image = id.short().to_string();
        let users = (self.users)(id);
        let conflict = if !self.images.children(id)?.is_empty() {
            Conflict::Children { image }
        } else if let Some(user) = users.iter().find(|user| user.running) {
            Conflict::Running { image, container: short(&user.id) }
        } else if check.names && !self.names(id)?.is_empty() {
            Conflict::Named { image }
        } else if let Some(user) = users.iter().find(|user| check.stopped && !user.running) {
            Conflict::Stopped { image, container: short(&user.id) }
        } else {
            return Ok(());
        };
        Err(Error::Conflict(conflict))
    }

    /// The chain IDs of the layers that no other image and no holder keeps, the topmost first.
    fn chains_to_go(&self, image: &Image) -> Result<Vec<Digest>> {
        let held = self.images.store().layers().held()?;
        let mut kept =
            image.layers.iter().rposition(|layer| held.contains(layer)).map_or(0, |index| index + 1);
        for other in self.images.store().images().list()? {
            if other.id != image.id {
                let common = image.layers.iter().zip(&other.layers).take_while(|(a, b)| a == b).count();
                kept = kept.max(common);
            }
        }
        let diff_ids = &image.config.rootfs.diff_ids;
        Ok((kept..diff_ids.len()).rev().map(|index| chain_id(&diff_ids[..=index])).collect())
    }

    fn names(&self, id: &Digest) -> Result<Vec<Reference>> {
        Ok(self.images.store().tags().of(id)?)
    }

    fn is_bare(&self, id: &Digest) -> Result<bool> {
        Ok(self.names(id)?.is_empty() && self.images.children(id)?.is_empty())
    }
}

/// True if all names are of one repository and at most one has a tag; false without any.
fn is_single(names: &[Reference]) -> bool {
    if names.len() <= 1 {
        return names.len() == 1;
    }
    let tagged: Vec<&Reference> = names.iter().filter(|name| name.digest().is_none()).collect();
    let first = tagged.first().copied().unwrap_or(&names[0]);
    tagged.len() <= 1 && names.iter().all(|name| name.name() == first.name())
}

fn is_id_prefix(id: &Digest, text: &str) -> bool {
    id.as_str().starts_with(text) || id.hex().starts_with(text)
}

fn short(id: &str) -> String {
    id.chars().take(12).collect()
}

#[cfg(test)]
mod tests;
