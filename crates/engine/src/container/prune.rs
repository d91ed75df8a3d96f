//! Removing all stopped containers.

use std::sync::Arc;

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
        let until = match filters.get("until").last() {
            Some(raw) => until_time(raw)?,
            None => None,
        };
        self.blocking(move |service| {
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
                    Err(error) => tracing::warn!(container = record.id, %error, "cannot prune a container"),
                }
            }
            let reclaimed = [("reclaimed".to_owned(), report.space_reclaimed.to_string())].into();
            service.events.publish("container", "prune", "", reclaimed);
            Ok(report)
        })
        .await
    }
}

/// `until`: a time, or a span like `24h` before now.
fn until_time(raw: &str) -> Result<Option<Timestamp>, Error> {
    match raw.parse::<jiff::SignedDuration>() {
        Ok(span) => Ok(Timestamp::now().checked_sub(span).ok()),
        Err(_) => Ok(timestamp::parse("until", raw)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_times() {
        let hour_ago = until_time("1h").unwrap().unwrap();
        let age = Timestamp::now().duration_since(hour_ago).as_secs();
        assert!((3599..=3601).contains(&age));
        assert!(until_time("1h30m").unwrap().is_some());
        assert_eq!(until_time("1700000000").unwrap().unwrap().as_second(), 1_700_000_000);
        assert!(until_time("soon").is_err());
    }
}
