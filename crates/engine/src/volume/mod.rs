//! Volumes: folders of their own that outlive containers.
//!
//! ```text
//! <data-root>/volumes/<name>/_data      the content; with the option `size` a subvolume of btrfs; with `type` and
//!                                       `device` a file system is mounted there as long as containers use it
//! <data-root>/volumes/.draft-<id>/_data a clone or a restored volume on its way, or a removed one; swept at the start
//! ```
//! The record is written after the folder is there and removed before it goes, so a record always has its folder; a
//! folder without one is put away before its name is used again. A rename writes the new record with the old name in
//! it, moves the folder, and writes the record without: the next start finishes what was cut off in between.

mod backup;
mod clone;
mod draft;
mod error;
mod hold;
mod local;
mod lock;
mod plugin;
mod quota;
mod remote;
mod rename;
mod space;
mod update;

use std::collections::{BTreeSet, HashMap};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use dray_api::volume::{Volume, VolumeCreateRequest, VolumeListResponse, VolumeUsage, VolumesPruneReport};
use dray_api::{Filters, Labels};
use dray_store::Store;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use draft::Gone;
use remote::Known;

use crate::container::{ContainerVolumes, VolumeHandle, VolumeRequest, names};
use crate::{EventBus, ServiceError, timestamp};
pub use backup::{Backup, Told, read_base};
pub use clone::CloneOptions;
pub use error::Error;
pub use hold::{Hold, Holder};
pub use plugin::{PluginError, Plugins};

const KIND: &str = "volume";
/// Docker's label of volumes that were made without a name.
const ANONYMOUS: &str = "com.docker.volume.anonymous";
/// The label of a snapshot: the volume that it is of. Containers have it read-only.
const SNAPSHOT: &str = "dev.dray.volume.snapshot";

/// Who uses a volume: ids of the containers that have it, running or not.
pub type Users = Arc<dyn Fn(&str) -> Vec<String> + Send + Sync>;

/// The driver of volumes on the daemon's own disk.
const LOCAL: &str = "local";

/// Volumes: those of the local driver, and those of plugins.
pub struct Service {
    store: Store,
    events: EventBus,
    users: Users,
    /// Which containers have a volume mounted that needs a mount of its own.
    mounted: Mutex<HashMap<String, BTreeSet<String>>>,
    plugins: Plugins,
    /// Containers that are being made, by the volumes that they will have.
    claimed: Mutex<HashMap<String, BTreeSet<String>>>,
    /// Held, by name, while a volume is made, changed or removed.
    changing: lock::Names,
    /// Who can hold the users of a volume still.
    holder: OnceLock<Weak<dyn Holder>>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("volume::Service").finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    name: String,
    created: String,
    options: Option<Labels>,
    labels: Option<Labels>,
    #[serde(default = "local_driver")]
    driver: String,
    /// Its folder has still this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    renamed_from: Option<String>,
}

fn local_driver() -> String {
    LOCAL.to_owned()
}

impl Record {
    fn is_local(&self) -> bool {
        self.driver == LOCAL
    }

    fn is_snapshot(&self) -> bool {
        self.labels.as_ref().is_some_and(|labels| labels.contains_key(SNAPSHOT))
    }

    fn anonymous(&self) -> bool {
        self.labels.as_ref().is_some_and(|labels| labels.contains_key(ANONYMOUS))
    }

    fn needs_mount(&self) -> bool {
        self.is_local() && self.options.as_ref().is_some_and(local::needs_mount)
    }
}

impl Service {
    /// The volumes of a store.
    #[must_use]
    pub fn open(store: Store, events: EventBus, users: Users, plugins: Plugins) -> Arc<Self> {
        let service = Service {
            store,
            events,
            users,
            mounted: Mutex::default(),
            plugins,
            claimed: Mutex::default(),
            changing: lock::Names::default(),
            holder: OnceLock::new(),
        };
        service.sweep_drafts();
        service.finish_renames();
        Arc::new(service)
    }

    /// Who can hold the users of a volume still while it is cloned or backed up. Said once.
    pub fn set_holder(&self, holder: Weak<dyn Holder>) {
        let _ = self.holder.set(holder);
    }

    /// The volumes that match.
    ///
    /// # Errors
    /// For a filter that volumes do not have.
    pub fn list(&self, filters: &Filters) -> Result<VolumeListResponse, Error> {
        filters.validate(&["dangling", "driver", "label", "name"])?;
        let dangling = match filters.contains("dangling") {
            true => Some(filters.get_bool("dangling", false)?),
            false => None,
        };
        let mut volumes = Vec::new();
        let mut known = Known::default();
        for record in self.all_records(&mut known)? {
            if filters.exact("driver", &record.driver)
                && filters.substring("name", &record.name)
                && filters.match_labels(&record.labels.clone().unwrap_or_default())
                && dangling.is_none_or(|dangling| dangling == (self.users)(&record.name).is_empty())
            {
                volumes.push(self.with_known(&record, &known));
            }
        }
        let warnings = Some(known.warnings).filter(|warnings| !warnings.is_empty());
        Ok(VolumeListResponse { volumes, warnings })
    }

    /// One volume.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn inspect(&self, name: &str) -> Result<Volume, Error> {
        self.inspect_record(&self.find_anywhere(name)?)
    }

    /// Makes a volume; one that is there already is given as it is.
    ///
    /// # Errors
    /// For a bad name, driver or option, or if the disk fails.
    pub fn create(&self, request: VolumeCreateRequest) -> Result<Volume, Error> {
        if request.cluster_volume_spec.is_some() {
            return Err(Error::NoSwarm);
        }
        let (record, _) = self.find_or_make(&VolumeRequest {
            name: Some(request.name).filter(|name| !name.is_empty()),
            driver: request.driver,
            options: request.driver_opts.unwrap_or_default(),
            labels: request.labels.unwrap_or_default(),
            container: String::new(),
        })?;
        self.inspect_record(&record)
    }

    /// Removes a volume that no container has. With `force` one that is not there is no error.
    ///
    /// # Errors
    /// [`Error::NotFound`] or [`Error::InUse`].
    pub fn remove(&self, name: &str, force: bool) -> Result<(), Error> {
        self.remove_but_for(name, force, "")
    }

    /// Removes a volume that no container has but this one.
    fn remove_but_for(&self, name: &str, force: bool, container: &str) -> Result<(), Error> {
        let gone = {
            let _changing = self.changing(name);
            let record = match self.find_anywhere(name) {
                Err(Error::NotFound(_)) if force => return Ok(()),
                found => found?,
            };
            let mut users = self.users_of(name);
            users.retain(|user| user != container);
            if !users.is_empty() {
                return Err(Error::InUse { operation: "remove", name: name.to_owned(), users });
            }
            self.remove_record(&record, force)?
        };
        gone.delete()
    }

    /// Removes volumes that no container has: anonymous ones, or all with the filter `all`.
    ///
    /// # Errors
    /// For a filter that pruning does not have.
    pub fn prune(&self, filters: &Filters) -> Result<VolumesPruneReport, Error> {
        filters.validate(&["all", "label", "label!"])?;
        let all = filters.get_bool("all", false)?;
        let candidate = |record: &Record| {
            let labels = record.labels.clone().unwrap_or_default();
            record.is_local()
                && (all || record.anonymous())
                && filters.match_labels(&labels)
                && self.users_of(&record.name).is_empty()
        };
        let mut report = VolumesPruneReport::default();
        for record in self.records()?.into_iter().filter(candidate) {
            let size = self.size(&record);
            let gone = {
                let _changing = self.changing(&record.name);
                // One that has got a user or another label since, or is another of that name, is none any more.
                let Some(record) = self.find(&record.name).ok().filter(candidate) else { continue };
                self.remove_record(&record, false)
            };
            match gone.and_then(Gone::delete) {
                Ok(()) => {
                    report.volumes_deleted.get_or_insert_default().push(record.name);
                    report.space_reclaimed += size;
                }
                Err(error) => tracing::warn!(%error, volume = record.name, "prune"),
            }
        }
        let reclaimed = ("reclaimed".to_owned(), report.space_reclaimed.to_string());
        self.events.publish("volume", "prune", "", Labels::from([reclaimed]));
        Ok(report)
    }

    /// All volumes with what they take on the disk, for `system df`.
    ///
    /// # Errors
    /// If the records cannot be read.
    pub fn usage(&self) -> Result<Vec<Volume>, Error> {
        let with_usage = |record: Record| {
            let ref_count = i64::try_from(self.users_of(&record.name).len()).unwrap_or(i64::MAX);
            let size = match record.is_local() {
                true => i64::try_from(self.allocated(&record)).unwrap_or(i64::MAX),
                false => -1,
            };
            Volume { usage_data: Some(VolumeUsage { ref_count, size }), ..self.to_wire(&record) }
        };
        Ok(self.records()?.into_iter().map(with_usage).collect())
    }

    fn find(&self, name: &str) -> Result<Record, Error> {
        self.store.records().get(KIND, name)?.ok_or_else(|| Error::NotFound(name.to_owned()))
    }

    fn records(&self) -> Result<Vec<Record>, Error> {
        Ok(self.store.records().list(KIND)?.into_iter().map(|record| record.document).collect())
    }

    /// The record, and whether it was made now.
    fn find_or_make(&self, request: &VolumeRequest) -> Result<(Record, bool), Error> {
        let name = request.name.clone().unwrap_or_else(names::new_id);
        check_name(&name)?;
        let _changing = self.changing(&name);
        // A volume that only a plugin knows is as good, unless another driver is asked for.
        let found = if request.driver.is_empty() && request.name.is_some() {
            self.find_anywhere(&name)
        } else {
            self.find(&name)
        };
        match found {
            Err(Error::NotFound(_)) => {}
            found => {
                let found = found?;
                if !request.driver.is_empty() && request.driver != found.driver {
                    return Err(Error::OtherDriver { name, driver: found.driver });
                }
                self.claim(&name, &request.container);
                return Ok((found, false));
            }
        }
        let driver = if request.driver.is_empty() { local_driver() } else { request.driver.clone() };
        if driver == LOCAL {
            local::check(&name, &request.options)?;
        }
        let mut labels = request.labels.clone();
        if request.name.is_none() {
            labels.insert(ANONYMOUS.to_owned(), String::new());
        }
        let record = Record {
            created: seconds(Timestamp::now()),
            options: Some(request.options.clone()).filter(|options| !options.is_empty()),
            labels: Some(labels).filter(|labels| !labels.is_empty()),
            renamed_from: None,
            driver,
            name,
        };
        if record.is_local() {
            let data = self.data(&record.name);
            let folder = data.parent().unwrap_or(&data);
            // A daemon that was killed has left it behind: what a removed volume held is not for the next of its name.
            self.put_away(&record.name)?.delete()?;
            let make = |path: &std::path::Path, mode| {
                std::fs::DirBuilder::new().mode(mode).recursive(true).create(path)
            };
            make(folder, 0o701).map_err(Error::io("create volume", folder))?;
            match record.limit() {
                Some(bytes) => quota::make(&record.name, folder, bytes).inspect_err(|_| {
                    let _ = std::fs::remove_dir(folder);
                })?,
                None => make(&data, 0o755).map_err(Error::io("create volume", &data))?,
            }
        } else {
            self.create_by_plugin(&record, &request.options)?;
        }
        self.store.records().put(KIND, &record.name, Some(&record.name), &record)?;
        self.claim(&record.name, &request.container);
        self.announce("create", &record);
        Ok((record, true))
    }

    fn claim(&self, volume: &str, container: &str) {
        if !container.is_empty() {
            self.claimed().entry(volume.to_owned()).or_default().insert(container.to_owned());
        }
    }

    /// Who has a volume, those included that are being made.
    fn users_of(&self, volume: &str) -> Vec<String> {
        let mut users = (self.users)(volume);
        let claimed = self.claimed();
        users.extend(claimed.get(volume).into_iter().flatten().cloned());
        users.sort();
        users.dedup();
        users
    }

    /// Forgets all claims of a user.
    fn unclaim(&self, user: &str) {
        self.claimed().retain(|_, users| {
            users.remove(user);
            !users.is_empty()
        });
    }

    fn claimed(&self) -> MutexGuard<'_, HashMap<String, BTreeSet<String>>> {
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes a volume for everybody. The caller holds its name, and deletes what has gone after giving it back.
    fn remove_record(&self, record: &Record, force: bool) -> Result<Gone, Error> {
        if !record.is_local() {
            self.remove_by_plugin(record, force)?;
            self.store.records().delete(KIND, &record.name)?;
            self.announce("destroy", record);
            return Ok(Gone::default());
        }
        let data = self.data(&record.name);
        if local::is_mounted(&data) {
            local::unmount_from(&data)?;
        }
        self.store.records().delete(KIND, &record.name)?;
        let gone = self.put_away(&record.name)?;
        self.announce("destroy", record);
        Ok(gone)
    }

    fn data(&self, name: &str) -> PathBuf {
        self.store.volume_dir(name).join("_data")
    }

    fn size(&self, record: &Record) -> u64 {
        if record.needs_mount() {
            return 0;
        }
        dray_store::usage(&self.data(&record.name)).map_or(0, |usage| usage.bytes)
    }

    fn allocated(&self, record: &Record) -> u64 {
        if record.needs_mount() {
            return 0;
        }
        // A subvolume counts as a file system of its own, which is not looked into from above.
        let place = match record.limit() {
            Some(_) => self.data(&record.name),
            None => self.store.volume_dir(&record.name),
        };
        dray_store::usage(&place).map_or(0, |usage| usage.allocated)
    }

    fn to_wire(&self, record: &Record) -> Volume {
        Volume {
            created_at: record.created.clone(),
            driver: record.driver.clone(),
            labels: record.labels.clone(),
            mountpoint: match record.is_local() {
                true => self.data(&record.name).display().to_string(),
                false => String::new(),
            },
            name: record.name.clone(),
            options: record.options.clone(),
            scope: "local".to_owned(),
            status: None,
            usage_data: None,
        }
    }

    fn announce(&self, action: &str, record: &Record) {
        let attributes = Labels::from([("driver".to_owned(), record.driver.clone())]);
        self.events.publish("volume", action, &record.name, attributes);
    }

    fn changing(&self, name: &str) -> lock::Held<'_> {
        self.changing.hold(&[name])
    }

    fn mounted(&self) -> MutexGuard<'_, HashMap<String, BTreeSet<String>>> {
        self.mounted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mount_for(&self, name: &str, container: &str) -> Result<PathBuf, Error> {
        let record = self.find_anywhere(name)?;
        if !record.is_local() {
            return self.mount_by_plugin(&record, container);
        }
        let data = self.data(name);
        if let Some(options) = record.options.as_ref().filter(|_| record.needs_mount()) {
            let mut mounted = self.mounted();
            if !local::is_mounted(&data) {
                local::mount_on(&data, options)?;
            }
            mounted.entry(name.to_owned()).or_default().insert(container.to_owned());
        }
        Ok(data)
    }

    fn unmount_for(&self, name: &str, container: &str) -> Result<(), Error> {
        let record = self.find_anywhere(name);
        if let Ok(record) = record.as_ref()
            && !record.is_local()
        {
            return self.unmount_by_plugin(record, container);
        }
        let mut mounted = self.mounted();
        if let Some(users) = mounted.get_mut(name) {
            users.remove(container);
            if users.is_empty() {
                mounted.remove(name);
                local::unmount_from(&self.data(name))?;
            }
        }
        Ok(())
    }
}

impl ContainerVolumes for Service {
    fn ensure(&self, request: &VolumeRequest) -> Result<VolumeHandle, ServiceError> {
        let (record, created) = self.find_or_make(request)?;
        let mountpoint = PathBuf::from(self.inspect_record(&record)?.mountpoint);
        let read_only = record.is_snapshot();
        Ok(VolumeHandle { name: record.name, driver: record.driver, mountpoint, created, read_only })
    }

    fn settle(&self, container: &str) {
        self.unclaim(container);
    }

    fn mount(&self, name: &str, container: &str) -> Result<PathBuf, ServiceError> {
        Ok(self.mount_for(name, container)?)
    }

    fn release_unused(&self) {
        let mounted = self.mounted();
        for record in self.records().unwrap_or_default() {
            let data = self.data(&record.name);
            let unused = record.needs_mount() && !mounted.contains_key(&record.name);
            if unused
                && local::is_mounted(&data)
                && let Err(error) = local::unmount_from(&data)
            {
                tracing::warn!(%error, volume = record.name, "unmount what no container uses");
            }
        }
    }

    fn unmount(&self, name: &str, container: &str) {
        if let Err(error) = self.unmount_for(name, container) {
            tracing::warn!(%error, volume = name, container, "unmount");
        }
    }

    fn remove_anonymous(&self, name: &str, container: &str) {
        match self.find(name) {
            Ok(record) if record.anonymous() => {}
            _ => return,
        }
        match self.remove_but_for(name, true, container) {
            Ok(()) | Err(Error::InUse { .. }) => {}
            Err(error) => tracing::warn!(%error, volume = name, "remove an anonymous volume"),
        }
    }
}

fn check_name(name: &str) -> Result<(), Error> {
    if name.len() == 1 {
        return Err(Error::ShortName(name.to_owned()));
    }
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if first && rest { Ok(()) } else { Err(Error::InvalidName(name.to_owned())) }
}

/// Volumes tell the time in whole seconds.
fn seconds(time: Timestamp) -> String {
    timestamp::rfc3339(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

#[cfg(test)]
mod tests;
