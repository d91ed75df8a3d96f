//! `docker ps`: which containers, in what order, in what words.

use std::collections::BTreeSet;
use std::sync::Arc;

use dray_api::Filters;
use dray_api::container::{
    ContainerSummary, HealthSummary, Port, PortMap, SummaryHostConfig, SummaryNetworkSettings,
};
use dray_api::filters::FilterError;
use jiff::Timestamp;

use super::Error;
use super::record::Record;
use super::service::Service;

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// Stopped ones as well.
    pub all: bool,
    /// So many of the newest, stopped ones as well; none is no limit.
    pub limit: Option<usize>,
    /// With sizes.
    pub size: bool,
    /// Only those that match.
    pub filters: Filters,
}

const ACCEPTED: &[&str] = &[
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];
const STATES: &[&str] = &["created", "running", "paused", "restarting", "removing", "exited", "dead"];

impl Service {
    /// Lists containers, the newest first.
    ///
    /// # Errors
    /// For filters that are none, or that name containers or images that are not there.
    pub async fn list(self: &Arc<Self>, options: ListOptions) -> Result<Vec<ContainerSummary>, Error> {
        let query = Query::new(self, &options)?;
        let mut records: Vec<Record> =
            self.registry.all().iter().map(|c| c.record()).filter(|record| query.matches(record)).collect();
        records.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
        records.truncate(options.limit.unwrap_or(usize::MAX));
        let now = Timestamp::now();
        if !options.size {
            return Ok(records.iter().map(|record| summary(record, now)).collect());
        }
        self.blocking(move |service| {
            let sized = |record: &Record| {
                let (size_rw, size_root_fs) = service.sizes(record);
                ContainerSummary { size_rw, size_root_fs, ..summary(record, now) }
            };
            Ok(records.iter().map(sized).collect())
        })
        .await
    }

    /// All containers with what their folders take on the disk (what they have written, logs, all that is their
    /// own), for `system df`. Blocks.
    pub(crate) fn summaries_with_usage(&self) -> Vec<ContainerSummary> {
        let now = Timestamp::now();
        let sized = |container: Arc<super::live::Container>| {
            let record = container.record();
            let of = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
            let layers = self.store.layers();
            let allocated = |layer: dray_store::LayerId| layers.allocated(layer).unwrap_or(0);
            let size_rw = dray_store::usage(&self.folder(&record.id)).map_or(0, |usage| of(usage.allocated));
            let all = record.layers.iter().flat_map(|layer| [*layer].into_iter().chain(layers.base(*layer)));
            let size_root_fs = size_rw.saturating_add(of(all.map(allocated).sum()));
            ContainerSummary { size_rw, size_root_fs, ..summary(&record, now) }
        };
        self.registry.all().into_iter().map(sized).collect()
    }

    /// What a container has written, and that with its image, in bytes.
    pub(super) fn sizes(&self, record: &Record) -> (i64, i64) {
        let layers = self.layers(record);
        let of = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let written = dray_store::usage(&layers.upper).map_or(0, |usage| of(usage.bytes));
        let image: i64 = record
            .layers
            .iter()
            .filter_map(|layer| self.store.layers().get(*layer).ok())
            .map(|layer| of(layer.size))
            .sum();
        (written, written + image)
    }
}

/// The filters, with the containers and images that they name looked up.
struct Query<'a> {
    filters: &'a Filters,
    all: bool,
    before: Option<Timestamp>,
    since: Option<Timestamp>,
    exited: BTreeSet<i32>,
    ancestors: Option<BTreeSet<String>>,
    names: Vec<regex_lite::Regex>,
    published: Vec<(u16, u16, String)>,
    exposed: Vec<(u16, u16, String)>,
}

impl<'a> Query<'a> {
    fn new(service: &Service, options: &'a ListOptions) -> Result<Self, Error> {
        let filters = &options.filters;
        filters.validate(ACCEPTED)?;
        let wrong =
            |name: &str, value: &str| FilterError::Value { name: name.into(), values: vec![value.into()] };
        if let Some(state) = filters.get("status").find(|state| !STATES.contains(state)) {
            return Err(wrong("status", state).into());
        }
        let healths = ["starting", "healthy", "unhealthy", "none"];
        if let Some(health) = filters.get("health").find(|health| !healths.contains(health)) {
            return Err(wrong("health", health).into());
        }
        let created = |name: &str| -> Result<Option<Timestamp>, Error> {
            filters
                .get(name)
                .map(|called| Ok(service.registry.find(called)?.with(|r| r.created)))
                .last()
                .transpose()
        };
        let code = |value: &str| value.parse().map_err(|_| wrong("exited", value));
        let exited = filters.get("exited").map(code).collect::<Result<BTreeSet<i32>, _>>()?;
        let ancestors = filters.contains("ancestor").then(|| {
            let ids = filters.get("ancestor").filter_map(|called| service.images.resolve(called, None).ok());
            ids.map(|image| image.id).collect()
        });
        let pattern = |value: &str| regex_lite::Regex::new(value).map_err(|_| wrong("name", value));
        let ports = |name: &str| {
            filters
                .get(name)
                .map(|value| port_range(value).ok_or_else(|| wrong(name, value)))
                .collect::<Result<Vec<_>, _>>()
        };
        // A limit, and a filter on states, ask for stopped ones as well.
        let all = options.all
            || options.limit.is_some()
            || ["status", "exited", "before", "since"].iter().any(|name| filters.contains(name));
        Ok(Self {
            before: created("before")?,
            since: created("since")?,
            exited,
            ancestors,
            names: filters.get("name").map(pattern).collect::<Result<_, _>>()?,
            published: ports("publish")?,
            exposed: ports("expose")?,
            filters,
            all,
        })
    }

    fn matches(&self, record: &Record) -> bool {
        let state = &record.state;
        let slashed = format!("/{}", record.name);
        let health = state.health.as_ref().map_or("none", |health| health.status.as_str());
        let labels = record.config.labels.clone().unwrap_or_default();
        (self.all || state.running)
            && self.before.is_none_or(|before| record.created < before)
            && self.since.is_none_or(|since| record.created > since)
            && self.filters.prefix("id", &record.id)
            && (self.names.is_empty()
                || self.names.iter().any(|name| name.is_match(&record.name) || name.is_match(&slashed)))
            && self.filters.exact("status", state.status())
            && self.filters.exact("health", health)
            && self.filters.labels("label", &labels)
            && (self.exited.is_empty()
                || (self.exited.contains(&state.exit_code) && !state.running && state.started_at.is_some()))
            && self.ancestors.as_ref().is_none_or(|ids| ids.contains(&record.image))
            && self.volume(record)
            && self.network(record)
            && self.ports(record)
            && !self.filters.get("is-task").any(|value| value == "true")
    }

    fn volume(&self, record: &Record) -> bool {
        !self.filters.contains("volume")
            || record.mounts.iter().any(|point| {
                [&point.name, &point.source, &point.destination]
                    .iter()
                    .any(|text| !text.is_empty() && self.filters.exact("volume", text))
            })
    }

    fn network(&self, record: &Record) -> bool {
        !self.filters.contains("network")
            || record.endpoints.iter().any(|(name, endpoint)| {
                self.filters.exact("network", name)
                    || (!endpoint.network_id.is_empty()
                        && self.filters.prefix("network", &endpoint.network_id))
            })
    }

    fn ports(&self, record: &Record) -> bool {
        let within = |ranges: &[(u16, u16, String)], port: u16, protocol: &str| {
            ranges.iter().any(|(from, to, want)| (*from..=*to).contains(&port) && want == protocol)
        };
        let exposed = record.config.exposed_ports.iter().flat_map(|ports| ports.keys());
        (self.published.is_empty()
            || ports(&record.ports)
                .iter()
                .any(|port| within(&self.published, port.public_port, &port.protocol)))
            && (self.exposed.is_empty()
                || exposed
                    .filter_map(|port| port_range(port))
                    .any(|(port, _, proto)| within(&self.exposed, port, &proto)))
    }
}

/// Reads `80`, `80/udp` or `80-90/tcp`.
fn port_range(raw: &str) -> Option<(u16, u16, String)> {
    let (numbers, protocol) = raw.split_once('/').unwrap_or((raw, "tcp"));
    let (from, to) = numbers.split_once('-').unwrap_or((numbers, numbers));
    let (from, to) = (from.parse().ok()?, to.parse().ok()?);
    (from <= to && matches!(protocol, "tcp" | "udp" | "sctp")).then(|| (from, to, protocol.to_owned()))
}

/// Published ports with what they are bound to, exposed ones bare.
pub(super) fn ports(map: &PortMap) -> Vec<Port> {
    let mut all = Vec::new();
    for (port, bindings) in map {
        let Some((private_port, _, protocol)) = port_range(port) else { continue };
        let bare = Port { private_port, protocol, ..Port::default() };
        match bindings {
            None => all.push(bare),
            Some(bindings) => all.extend(bindings.iter().map(|binding| Port {
                ip: binding.host_ip.clone(),
                public_port: binding.host_port.parse().unwrap_or(0),
                ..bare.clone()
            })),
        }
    }
    all
}

fn summary(record: &Record, now: Timestamp) -> ContainerSummary {
    let health = record.state.health.as_ref();
    let command = std::iter::once(&record.path).chain(&record.args);
    ContainerSummary {
        id: record.id.clone(),
        names: vec![format!("/{}", record.name)],
        image: if record.config.image.is_empty() {
            record.image.clone()
        } else {
            record.config.image.clone()
        },
        image_id: record.image.clone(),
        command: command.map(|word| quoted(word)).collect::<Vec<_>>().join(" "),
        created: record.created.as_second(),
        ports: ports(&record.ports),
        labels: record.config.labels.clone().unwrap_or_default(),
        state: record.state.status().to_owned(),
        status: record.state.sentence(now),
        host_config: SummaryHostConfig {
            network_mode: record.host.network_mode.clone(),
            annotations: record.host.annotations.clone(),
        },
        health: health.map(|health| HealthSummary {
            status: health.status.clone(),
            failing_streak: health.failing_streak,
        }),
        network_settings: SummaryNetworkSettings { networks: Some(record.endpoints.clone()) },
        mounts: record.mounts.iter().map(super::inspect::mount_point).collect(),
        ..ContainerSummary::default()
    }
}

/// A word of the command as Docker shows it: in single quotes when it holds a space.
fn quoted(word: &str) -> String {
    if word.contains(' ') { format!("'{word}'") } else { word.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dray_api::container::PortBinding;

    #[test]
    fn ports_are_flattened() {
        let binding = |ip: &str| PortBinding { host_ip: ip.into(), host_port: "8080".into() };
        let map = PortMap::from([
            ("80/tcp".into(), Some(vec![binding("0.0.0.0"), binding("::")])),
            ("443/udp".into(), None),
        ]);
        let all = ports(&map);
        assert_eq!(all.len(), 3);
        assert_eq!((all[0].private_port, all[0].protocol.as_str(), all[0].public_port), (443, "udp", 0));
        assert_eq!((all[1].ip.as_str(), all[1].public_port), ("0.0.0.0", 8080));
    }

    #[test]
    fn ranges() {
        assert_eq!(port_range("80"), Some((80, 80, "tcp".into())));
        assert_eq!(port_range("80-90/udp"), Some((80, 90, "udp".into())));
        assert_eq!(port_range("90-80"), None);
        assert_eq!(port_range("x"), None);
    }

    #[test]
    fn commands_with_spaces_are_quoted() {
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("ab"), "ab");
    }
}
