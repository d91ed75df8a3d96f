//! Figures in Prometheus' text format.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};

use crate::metadata::{Collected, Usage};

/// Upper ends of the classes of answer times, in microseconds.
const CLASSES: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 250_000, 1_000_000, 10_000_000];
const ROUTES: [&str; 10] =
    ["root", "catalog", "tags", "manifest", "blob", "upload", "referrers", "token", "operation", "none"];
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "other"];
/// What a client asked a copy of another registry for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CacheThing {
    /// A manifest.
    Manifest,
    /// A blob.
    Blob,
}

/// Where it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CacheOutcome {
    /// From here.
    Hit,
    /// From here, after a look at the upstream.
    Revalidated,
    /// From here, though the upstream could not be asked.
    Stale,
    /// From the upstream.
    Miss,
    /// From the upstream, by a fetch that somebody else had begun.
    Shared,
}

const THINGS: [&str; 2] = ["manifest", "blob"];
const OUTCOMES: [&str; 5] = ["hit", "revalidated", "stale", "miss", "shared"];
/// 1xx to 5xx.
const STATUSES: usize = 5;

/// Counters.
pub(super) struct Metrics {
    requests: Vec<AtomicU64>,
    times: Vec<Histogram>,
    sent: AtomicU64,
    received: AtomicU64,
    collected_blobs: AtomicU64,
    collected_bytes: AtomicU64,
    cache: [[AtomicU64; OUTCOMES.len()]; THINGS.len()],
    fetched: AtomicU64,
    evicted: AtomicU64,
    replicated_manifests: AtomicU64,
    replicated: AtomicU64,
    replications_failed: AtomicU64,
}

#[derive(Default)]
struct Histogram {
    classes: [AtomicU64; CLASSES.len() + 1],
    micros: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Self {
        let zeros = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect();
        Self {
            requests: zeros(ROUTES.len() * METHODS.len() * STATUSES),
            times: (0..ROUTES.len()).map(|_| Histogram::default()).collect(),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            collected_blobs: AtomicU64::new(0),
            collected_bytes: AtomicU64::new(0),
            cache: Default::default(),
            fetched: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            replicated_manifests: AtomicU64::new(0),
            replicated: AtomicU64::new(0),
            replications_failed: AtomicU64::new(0),
        }
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

fn index(names: &[&str], name: &str) -> usize {
    names.iter().position(|one| *one == name).unwrap_or(names.len() - 1)
}

impl Metrics {
    pub(super) fn request(&self, route: &str, method: &Method, status: StatusCode, took: Duration) {
        let (route, method) = (index(&ROUTES, route), index(&METHODS, method.as_str()));
        let class = usize::from(status.as_u16() / 100).clamp(1, STATUSES) - 1;
        add(&self.requests[(route * METHODS.len() + method) * STATUSES + class], 1);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let slot = CLASSES.iter().position(|end| micros <= *end).unwrap_or(CLASSES.len());
        add(&self.times[route].classes[slot], 1);
        add(&self.times[route].micros, micros);
    }

    pub(super) fn sent(&self, bytes: u64) {
        add(&self.sent, bytes);
    }

    pub(super) fn received(&self, bytes: u64) {
        add(&self.received, bytes);
    }

    pub(super) fn collected(&self, collected: &Collected) {
        add(&self.collected_blobs, collected.blobs);
        add(&self.collected_bytes, collected.bytes);
    }

    pub(super) fn cache(&self, thing: CacheThing, outcome: CacheOutcome) {
        add(&self.cache[thing as usize][outcome as usize], 1);
    }

    pub(super) fn fetched(&self, bytes: u64) {
        add(&self.fetched, bytes);
    }

    pub(super) fn evicted(&self, manifests: u64) {
        add(&self.evicted, manifests);
    }

    pub(super) fn replicated_manifest(&self) {
        add(&self.replicated_manifests, 1);
    }

    pub(super) fn replicated(&self, bytes: u64) {
        add(&self.replicated, bytes);
    }

    pub(super) fn replication_failed(&self) {
        add(&self.replications_failed, 1);
    }

    /// The figures as text, beside how many lines of the audit log are lost and how many requests wait for it.
    pub(super) fn text(&self, usage: &Usage, (lost, waiting): (u64, u64)) -> String {
        let mut text = String::new();
        self.write_requests(&mut text);
        self.write_times(&mut text);
        self.write_cache(&mut text);
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        for (name, kind, help, value) in [
            ("sent_bytes_total", "counter", "Bytes of bodies sent.", read(&self.sent)),
            ("received_blob_bytes_total", "counter", "Bytes of blobs received.", read(&self.received)),
            ("collected_blobs_total", "counter", "Blobs collected as garbage.", read(&self.collected_blobs)),
            ("collected_bytes_total", "counter", "Bytes collected as garbage.", read(&self.collected_bytes)),
            (
                "cache_fetched_bytes_total",
                "counter",
                "Bytes of blobs from other registries.",
                read(&self.fetched),
            ),
            (
                "cache_evicted_manifests_total",
                "counter",
                "Manifests evicted from copies.",
                read(&self.evicted),
            ),
            (
                "replicated_manifests_total",
                "counter",
                "Manifests sent to other registries.",
                read(&self.replicated_manifests),
            ),
            (
                "replicated_bytes_total",
                "counter",
                "Bytes of blobs sent to other registries.",
                read(&self.replicated),
            ),
            (
                "replication_failures_total",
                "counter",
                "Attempts at a copy that failed.",
                read(&self.replications_failed),
            ),
            ("audit_lost_total", "counter", "Lines that the audit log had no room for.", lost),
            ("audit_waiting", "gauge", "Requests that wait for room in the audit log.", waiting),
            ("repositories", "gauge", "Repositories.", usage.repositories),
            ("manifests", "gauge", "Manifests.", usage.manifests),
            ("tags", "gauge", "Tags.", usage.tags),
            (
                "blob_bytes",
                "gauge",
                "Bytes of blobs, counted for each repository that has them.",
                usage.bytes,
            ),
        ] {
            let _ = writeln!(
                text,
                "# HELP dray_registry_{name} {help}\n# TYPE dray_registry_{name} {kind}\ndray_registry_{name} {value}"
            );
        }
        text
    }

    fn write_requests(&self, text: &mut String) {
        text.push_str("# HELP dray_registry_requests_total Requests answered.\n# TYPE dray_registry_requests_total counter\n");
        for (at, counter) in self.requests.iter().enumerate() {
            let count = counter.load(Ordering::Relaxed);
            if count > 0 {
                let (route, method) =
                    (ROUTES[at / STATUSES / METHODS.len()], METHODS[at / STATUSES % METHODS.len()]);
                let status = at % STATUSES + 1;
                let _ = writeln!(
                    text,
                    "dray_registry_requests_total{{route=\"{route}\",method=\"{method}\",status=\"{status}xx\"}} {count}"
                );
            }
        }
    }

    fn write_cache(&self, text: &mut String) {
        let name = "dray_registry_cache_requests_total";
        let _ = writeln!(
            text,
            "# HELP {name} What copies of other registries were asked for.\n# TYPE {name} counter"
        );
        for (thing, outcomes) in THINGS.iter().zip(&self.cache) {
            for (outcome, counter) in OUTCOMES.iter().zip(outcomes) {
                let count = counter.load(Ordering::Relaxed);
                let _ = writeln!(text, "{name}{{kind=\"{thing}\",result=\"{outcome}\"}} {count}");
            }
        }
    }

    fn write_times(&self, text: &mut String) {
        let name = "dray_registry_request_seconds";
        let _ = writeln!(text, "# HELP {name} Time until the head of the answer.\n# TYPE {name} histogram");
        for (route, histogram) in ROUTES.iter().zip(&self.times) {
            let counts: Vec<u64> =
                histogram.classes.iter().map(|class| class.load(Ordering::Relaxed)).collect();
            let total: u64 = counts.iter().sum();
            if total == 0 {
                continue;
            }
            let mut sum = 0;
            for (end, count) in CLASSES.iter().zip(&counts) {
                sum += count;
                let seconds = *end as f64 / 1e6;
                let _ = writeln!(text, "{name}_bucket{{route=\"{route}\",le=\"{seconds}\"}} {sum}");
            }
            let seconds = histogram.micros.load(Ordering::Relaxed) as f64 / 1e6;
            let _ = writeln!(
                text,
                "{name}_bucket{{route=\"{route}\",le=\"+Inf\"}} {total}\n{name}_sum{{route=\"{route}\"}} {seconds}\n{name}_count{{route=\"{route}\"}} {total}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_add_up() {
        let metrics = Metrics::default();
        metrics.request("blob", &Method::GET, StatusCode::OK, Duration::from_micros(200));
        metrics.request("blob", &Method::GET, StatusCode::OK, Duration::from_secs(100));
        metrics.request("nonsense", &Method::TRACE, StatusCode::NOT_FOUND, Duration::ZERO);
        metrics.sent(7);
        let text = metrics.text(&Usage { tags: 3, ..Usage::default() }, (0, 0));
        for line in [
            "dray_registry_requests_total{route=\"blob\",method=\"GET\",status=\"2xx\"} 2",
            "dray_registry_requests_total{route=\"none\",method=\"other\",status=\"4xx\"} 1",
            "dray_registry_request_seconds_bucket{route=\"blob\",le=\"0.00025\"} 1",
            "dray_registry_request_seconds_bucket{route=\"blob\",le=\"+Inf\"} 2",
            "dray_registry_request_seconds_count{route=\"blob\"} 2",
            "dray_registry_sent_bytes_total 7",
            "dray_registry_tags 3",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line}\n{text}");
        }
    }
}
