//! The order in which containers come back when the daemon starts: those of a Compose project wait for what their services
//! depend on, as `up` had them wait. Compose leaves that in a label, `service:condition:restart,…`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::live::Container;
use super::record::Record;
use super::service::Service;

const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";
const ONE_OFF: &str = "com.docker.compose.oneoff";
const DEPENDS_ON: &str = "com.docker.compose.depends_on";

/// After this a container starts though what it depends on is not there: its restart policy says that it is wanted.
const PATIENCE: Duration = Duration::from_secs(120);
const PACE: Duration = Duration::from_millis(50);

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Dependency {
    service: String,
    healthy: bool,
}

impl Service {
    /// Waits until what a container depends on has come back, as far as it is among those that do.
    pub(super) async fn await_dependencies(&self, container: &Arc<Container>, coming: &BTreeSet<String>) {
        let (project, dependencies) = container.with(|record| (label(record, PROJECT), dependencies(record)));
        let mut waiting: Vec<(Arc<Container>, bool)> = Vec::new();
        for other in self.registry.all() {
            let (of, service, one_off) =
                other.with(|record| (label(record, PROJECT), label(record, SERVICE), label(record, ONE_OFF)));
            let wanted = dependencies.iter().find(|dependency| dependency.service == service);
            if let Some(dependency) = wanted
                && of == project
                && one_off != "True"
                && (coming.contains(&other.id) || other.is_up())
            {
                waiting.push((other, dependency.healthy));
            }
        }
        let all_there = async {
            for (other, healthy) in &waiting {
                while !is_there(other, *healthy) {
                    tokio::time::sleep(PACE).await;
                }
            }
        };
        if tokio::time::timeout(PATIENCE, all_there).await.is_err() {
            tracing::warn!(container = container.id, "starts though what it depends on is not there");
        }
    }
}

fn label(record: &Record, name: &str) -> String {
    record.config.labels.as_ref().and_then(|labels| labels.get(name)).cloned().unwrap_or_default()
}

/// Services that end are not waited for: they have done their work before.
fn dependencies(record: &Record) -> Vec<Dependency> {
    let text = label(record, DEPENDS_ON);
    let one = |entry: &str| {
        let mut parts = entry.split(':');
        let service = parts.next().filter(|name| !name.is_empty())?.to_owned();
        match parts.next() {
            Some("service_completed_successfully") => None,
            condition => Some(Dependency { service, healthy: condition == Some("service_healthy") }),
        }
    };
    text.split(',').filter_map(one).collect()
}

fn is_there(container: &Container, healthy: bool) -> bool {
    container.is_up()
        && container.with(|record| {
            let health = record.state.health.as_ref();
            !healthy || health.is_none_or(|health| health.status == "healthy")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_compose_writes_is_read() {
        let mut record = Record::default();
        assert_eq!(dependencies(&record), []);
        let text =
            "db:service_healthy:false,init:service_completed_successfully:false,queue:service_started:true";
        record.config.labels = Some([(DEPENDS_ON.to_owned(), text.to_owned())].into());
        let one = |service: &str, healthy| Dependency { service: service.into(), healthy };
        assert_eq!(dependencies(&record), [one("db", true), one("queue", false)]);
    }
}
