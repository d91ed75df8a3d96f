//! `volume df`: what volumes take, and what they may.

use dray_api::extension::VolumeSpace;

use super::{Error, Record, Service, local};

impl Service {
    /// What each volume takes. One with a file system of its own is measured by that, while it is mounted.
    ///
    /// # Errors
    /// If the records cannot be read.
    pub fn space(&self) -> Result<Vec<VolumeSpace>, Error> {
        Ok(self.records()?.iter().map(|record| self.space_of(record)).collect())
    }

    fn space_of(&self, record: &Record) -> VolumeSpace {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let data = self.data(&record.name);
        let mut space = VolumeSpace {
            name: record.name.clone(),
            driver: record.driver.clone(),
            labels: record.labels.clone().unwrap_or_default(),
            created_at: record.created.clone(),
            ref_count: number(self.users_of(&record.name).len() as u64),
            files: -1,
            size: -1,
            limit: -1,
            available: -1,
        };
        if !record.is_local() {
            return space;
        }
        let own = record.needs_mount();
        if own && !local::is_mounted(&data) {
            return space;
        }
        if let Ok(stat) = rustix::fs::statvfs(&data) {
            space.available = number(stat.f_bavail.saturating_mul(stat.f_frsize));
            if own {
                space.limit = number(stat.f_blocks.saturating_mul(stat.f_frsize));
                space.size = number(stat.f_blocks.saturating_sub(stat.f_bfree).saturating_mul(stat.f_frsize));
                // btrfs counts none.
                if stat.f_files > 0 {
                    space.files = number(stat.f_files.saturating_sub(stat.f_ffree));
                }
            }
        }
        if !own && let Ok(usage) = dray_store::usage(&data) {
            (space.size, space.files) = (number(usage.allocated), number(usage.inodes.saturating_sub(1)));
            if let Some(limit) = record.limit() {
                space.limit = number(limit);
                space.available = space.available.min(number(limit.saturating_sub(usage.allocated)));
            }
        }
        space
    }
}
