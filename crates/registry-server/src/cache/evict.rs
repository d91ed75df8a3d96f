//! What has not been asked for in a while, or is too much, goes: the image that was not used for the longest time
//! first, and then the blobs that no other copy in its repository needs.

use std::collections::BTreeSet;

use crate::api::{Registry, now};
use crate::garbage::{self, Ages, Collector};
use crate::metadata::{CachedManifest, Deleted, Metadata, Millis};
use crate::name::Repository;

/// Manifests that are looked at, and blobs that are unlinked, at once.
const STEP: usize = 50;

/// Brings the cache within its bounds; gives how many manifests went.
///
/// # Errors
/// The metadata or the storage fail; what went until then is gone.
pub(crate) async fn evict(
    registry: &Registry,
    collector: &Collector,
    ages: &Ages,
) -> Result<u64, garbage::Error> {
    let (cache, metadata) = (&registry.cache, &*registry.metadata);
    let mut gone = 0;
    if let Some(unused) = cache.bounds.unused {
        loop {
            let old = metadata.least_used(now().saturating_sub(unused.millis()), STEP).await?;
            if old.is_empty() {
                break;
            }
            gone += remove(metadata, &old, Needed::Used).await?;
        }
    }
    if let Some(bytes) = cache.bounds.bytes {
        while held(registry).await? > bytes {
            let oldest = metadata.least_used(Millis::MAX, 1).await?;
            if oldest.is_empty() {
                break;
            }
            gone += remove(metadata, &oldest, Needed::Removed).await?;
        }
    }
    if gone > 0 {
        cache.forget_uses();
        collector.round(ages).await?;
        registry.report.evicted(gone);
    }
    Ok(gone)
}

/// Bytes of all copies, each repository counted once.
async fn held(registry: &Registry) -> Result<u64, garbage::Error> {
    let prefixes: BTreeSet<&str> =
        registry.cache.upstreams.iter().map(|upstream| upstream.prefix()).collect();
    let inside = |inner: &str, outer: &str| {
        inner != outer
            && (outer.is_empty() || inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/')))
    };
    let mut bytes = 0_u64;
    for prefix in &prefixes {
        if !prefixes.iter().any(|outer| inside(prefix, outer)) {
            bytes = bytes.saturating_add(registry.metadata.usage(prefix).await?.bytes);
        }
    }
    Ok(bytes)
}

/// What is done about a manifest that an index lists.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needed {
    /// The index is asked for, so its manifest counts as asked for as well.
    Used,
    /// The index goes too.
    Removed,
}

async fn remove(
    metadata: &dyn Metadata,
    manifests: &[CachedManifest],
    needed: Needed,
) -> Result<u64, garbage::Error> {
    let (mut gone, mut repositories) = (0, BTreeSet::new());
    let mut listed = Vec::new();
    for manifest in manifests {
        let CachedManifest { repository, digest, .. } = manifest;
        match metadata.delete_manifest(repository, digest).await? {
            Deleted::Deleted => {
                gone += 1;
                repositories.insert(repository.clone());
            }
            Deleted::Needed(index) => listed.push((manifest, index)),
            Deleted::Missing => {}
        }
    }
    for (CachedManifest { repository, digest, .. }, index) in listed {
        // Its index may have been among them.
        let mut chain = vec![digest.clone()];
        if needed == Needed::Removed {
            chain.push(index);
        }
        while let Some(last) = chain.last() {
            match metadata.delete_manifest(repository, last).await? {
                // Indexes of indexes have an end: none can hold its own digest.
                Deleted::Needed(index) if needed == Needed::Removed => chain.push(index),
                Deleted::Needed(_) => {
                    metadata.note_use(repository, digest, now()).await?;
                    break;
                }
                done => {
                    gone += u64::from(done == Deleted::Deleted);
                    repositories.insert(repository.clone());
                    chain.pop();
                }
            }
        }
    }
    for repository in &repositories {
        unlink_unneeded(metadata, repository).await?;
    }
    Ok(gone)
}

async fn unlink_unneeded(metadata: &dyn Metadata, repository: &Repository) -> Result<(), garbage::Error> {
    loop {
        let unneeded = metadata.unneeded(repository, STEP).await?;
        let mut unlinked = 0;
        for digest in &unneeded {
            // A manifest that came meanwhile may need it.
            if metadata.unlink(repository, digest).await? == Deleted::Deleted {
                unlinked += 1;
            }
        }
        if unlinked == 0 {
            return Ok(());
        }
    }
}
