//! Volumes whose driver is a plugin.
//!
//! The record says which driver a volume has and what labels it was given; everything else the plugin is asked. Volumes
//! that only a plugin knows are listed and can be used as well; they have no record.

use std::collections::BTreeMap;
use std::path::PathBuf;

use dray_api::Labels;
use dray_api::volume::Volume;

use super::plugin::{Plugin, PluginVolume};
use super::{Error, LOCAL, PluginError, Record, Service};

/// What plugins say of their volumes at one moment.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// By driver and name, with the driver's scope.
    volumes: BTreeMap<(String, String), (PluginVolume, String)>,
    /// Plugins that could not be asked.
    pub warnings: Vec<String>,
}

impl Service {
    /// The drivers that volumes can have now.
    #[must_use]
    pub fn drivers(&self) -> Vec<String> {
        let plugins = self.plugins.names().into_iter().filter(|name| self.plugins.find(name).is_ok());
        std::iter::once(LOCAL.to_owned()).chain(plugins).collect()
    }

    fn plugin(&self, operation: &'static str, record: &Record) -> Result<Plugin, Error> {
        let failed = |source| Error::Plugin { operation, name: record.name.clone(), source };
        self.plugins.find(&record.driver).map_err(failed)
    }

    /// A volume with a record, or one that a plugin knows.
    pub(super) fn find_anywhere(&self, name: &str) -> Result<Record, Error> {
        let missing = match self.find(name) {
            Err(error @ Error::NotFound(_)) => error,
            found => return found,
        };
        let knows = |driver: String| {
            let volume = self.plugins.find(&driver).ok()?.get(name).ok()?;
            Some(unrecorded(driver, volume))
        };
        self.plugins.names().into_iter().find_map(knows).ok_or(missing)
    }

    /// All records, and volumes that only plugins know.
    pub(super) fn all_records(&self, known: &mut Known) -> Result<Vec<Record>, Error> {
        let mut records = self.records()?;
        for driver in self.plugins.names() {
            let asked = self.plugins.find(&driver).and_then(|plugin| Ok((plugin.list()?, plugin.scope())));
            match asked {
                Ok((volumes, scope)) => {
                    for volume in volumes {
                        if !records.iter().any(|record| record.name == volume.name) {
                            records.push(unrecorded(driver.clone(), volume.clone()));
                        }
                        let key = (driver.clone(), volume.name.clone());
                        known.volumes.insert(key, (volume, scope.clone()));
                    }
                }
                Err(PluginError::NotVolume(_)) => {}
                Err(error) => {
                    known.warnings.push(format!("error while listing volumes of {driver}: {error}"))
                }
            }
        }
        Ok(records)
    }

    /// A volume as the API shows it, with what its plugin has said.
    pub(super) fn with_known(&self, record: &Record, known: &Known) -> Volume {
        let key = (record.driver.clone(), record.name.clone());
        match known.volumes.get(&key) {
            Some((volume, scope)) => told(self.to_wire(record), volume.clone(), scope.clone()),
            None => self.to_wire(record),
        }
    }

    /// A volume as the API shows it; its plugin is asked.
    pub(super) fn inspect_record(&self, record: &Record) -> Result<Volume, Error> {
        let wire = self.to_wire(record);
        if record.is_local() {
            return Ok(wire);
        }
        let plugin = self.plugin("get", record)?;
        let failed = |source| Error::Plugin { operation: "get", name: record.name.clone(), source };
        Ok(told(wire, plugin.get(&record.name).map_err(failed)?, plugin.scope()))
    }

    pub(super) fn create_by_plugin(&self, record: &Record, options: &Labels) -> Result<(), Error> {
        let failed = |source| Error::Plugin { operation: "create", name: record.name.clone(), source };
        self.plugin("create", record)?.create(&record.name, options).map_err(failed)
    }

    /// With `force` a volume whose plugin is gone is forgotten.
    pub(super) fn remove_by_plugin(&self, record: &Record, force: bool) -> Result<(), Error> {
        let failed = |source| Error::Plugin { operation: "remove", name: record.name.clone(), source };
        let removed =
            self.plugin("remove", record).and_then(|plugin| plugin.remove(&record.name).map_err(failed));
        match removed {
            Err(Error::Plugin { source: PluginError::NotFound(_) | PluginError::Io { .. }, .. }) if force => {
                Ok(())
            }
            other => other,
        }
    }

    pub(super) fn mount_by_plugin(&self, record: &Record, user: &str) -> Result<PathBuf, Error> {
        let failed = |source| Error::Plugin { operation: "mount", name: record.name.clone(), source };
        self.plugin("mount", record)?.mount(&record.name, user).map_err(failed)
    }

    pub(super) fn unmount_by_plugin(&self, record: &Record, user: &str) -> Result<(), Error> {
        let failed = |source| Error::Plugin { operation: "unmount", name: record.name.clone(), source };
        self.plugin("unmount", record)?.unmount(&record.name, user).map_err(failed)
    }
}

fn unrecorded(driver: String, volume: PluginVolume) -> Record {
    Record {
        name: volume.name,
        created: volume.created_at.unwrap_or_default(),
        options: None,
        labels: None,
        driver,
        renamed_from: None,
    }
}

fn told(wire: Volume, volume: PluginVolume, scope: String) -> Volume {
    Volume {
        created_at: volume.created_at.filter(|time| !time.is_empty()).unwrap_or(wire.created_at),
        mountpoint: volume.mountpoint.unwrap_or_default(),
        status: volume.status.map(|status| status.into_iter().collect()),
        scope,
        ..wire
    }
}
