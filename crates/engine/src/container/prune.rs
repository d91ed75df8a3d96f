//! Removing all stopped containers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use dray_api::Filters;
use dray_api::container::ContainersPruneReport;
use jiff::Timestamp;

use super::Error;
use super::service::Service;
use crate::timestamp;

impl Service {
    /// Removes stopped containers that match; running ones are never touched.
    ///
    /// # Errors
    /// For filters that are none.
    pub async fn prune(self: &Arc<Self>, filters: Filters) -> Result<ContainersPruneReport, Error> {
        filters.validate(&["label", "label!", "until"])?;
        let until = until_time(&filters)?;
        self.blocking(move |service| {
            let _alone = Pruning::begin(service)?;
            let mut report =
                ContainersPruneReport { containers_deleted: Some(Vec::new()), space_reclaimed: 0 };
            for container in service.registry.all() {
                let record = container.record();
                let labels = record.config.labels.clone().unwrap_or_default();
                let young = until.is_some_and(|until| record.created > until);
                if record.state.running || young || !filters.match_labels(&labels) {
                    continue;
                }
                let (written, _) = service.sizes(&record);
                match service.remove_now(&container, false) {
                    Ok(()) => {
                        report.space_reclaimed += u64::try_from(written).unwrap_or(0);
                        report.containers_deleted.get_or_insert_default().push(record.id);
                    }
                    // It was started, or is removed by somebody else, meanwhile.
                    Err(Error::Remove { .. } | Error::RemovalInProgress(_)) => {}
                    Err(error) => tracing::warn!(container = record.id, %error, "cannot prune a container"),
                }
            }
            // What is said to be freed is free.
            service.sweep_removed();
            let reclaimed = [("reclaimed".to_owned(), report.space_reclaimed.to_string())].into();
            service.events.publish("container", "prune", "", reclaimed);
            Ok(report)
        })
        .await
    }
}

/// One pruning at a time.
struct Pruning<'a>(&'a Service);

impl<'a> Pruning<'a> {
    fn begin(service: &'a Service) -> Result<Self, Error> {
        if service.pruning.swap(true, Ordering::AcqRel) {
            Err(Error::PruneRunning)
        } else {
            Ok(Self(service))
        }
    }
}

impl Drop for Pruning<'_> {
    fn drop(&mut self) {
        self.0.pruning.store(false, Ordering::Release);
    }
}

/// `until`: a time, or a span like `24h` before now.
fn until_time(filters: &Filters) -> Result<Option<Timestamp>, Error> {
    let mut values = filters.get("until");
    let (value, more) = (values.next(), values.next());
    match (value, more) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(Error::SeveralUntil),
        (Some(value), None) => Ok(timestamp::moment("until", value, Timestamp::now())?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> Result<Option<Timestamp>, Error> {
        let mut filters = Filters::default();
        values.iter().for_each(|value| filters.add("until", *value));
        until_time(&filters)
    }

    #[test]
    fn spans_and_times() {
        let hour_ago = of(&["1h"]).unwrap().unwrap();
        let age = Timestamp::now().duration_since(hour_ago).as_secs();
        assert!((3599..=3601).contains(&age));
        assert!(of(&["1h30m"]).unwrap().is_some());
        assert_eq!(of(&["1700000000"]).unwrap().unwrap().as_second(), 1_700_000_000);
        assert_eq!(of(&[]).unwrap(), None);
        assert!(of(&["soon"]).is_err());
        assert_eq!(of(&["1h", "2h"]).unwrap_err().to_string(), "more than one until filter specified");
    }
}
