//! Registry servers side by side: Dray's, Debian's docker-registry, and distribution built from Go's module proxy.
//!
//! Each figure takes turns between them, round by round; everything that is sent is made before the clock runs, and is
//! new in each round, so that nobody finds a blob that is there already.

mod client;
mod nginx;
mod server;

use std::time::{Duration, Instant};

use anyhow::Result;

use super::memory::private_kib;
use super::table::{Line, Table, median};
use client::{Client, digest, manifest, noise};
pub use server::{Server, distribution};

/// A figure's scenario.
type Figure = fn(&[Server], &Table) -> Result<()>;

/// All figures by name, in the order in which they are measured.
pub const FIGURES: &[(&str, Figure)] = &[
    ("registry-large", large),
    ("registry-manifests", manifests),
    ("registry-blobs", blobs),
    ("registry-memory", memory),
    ("registry-nginx", nginx::pull),
];

/// An image's large layers.
const LAYERS: usize = 4;
const LAYER: usize = 64 * 1024 * 1024;
/// Clients that work at the same time.
const CLIENTS: usize = 64;
const MANIFESTS: usize = 25;
/// Small blobs of each client.
const BLOBS: usize = 25;
const BLOB: usize = 4 * 1024;

/// Times of single requests, of all rounds.
#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    /// The time within which so much of all was done, in milliseconds.
    fn percentile(&mut self, share: f64) -> Option<f64> {
        self.0.sort_unstable();
        let at = (self.0.len() as f64 * share) as usize;
        self.0.get(at.min(self.0.len().saturating_sub(1))).map(|time| time.as_secs_f64() * 1e3)
    }
}

/// What a side did: how much in a second, and how long each request took.
#[derive(Default)]
struct Work {
    rates: Vec<f64>,
    times: Times,
}

impl Work {
    fn add(&mut self, amount: f64, took: Duration, times: Vec<Vec<Duration>>) {
        self.rates.push(amount / took.as_secs_f64());
        self.times.0.extend(times.into_iter().flatten());
    }
}

fn fresh(servers: &[Server]) -> Vec<Work> {
    servers.iter().map(|_| Work::default()).collect()
}

fn print_rate(table: &Table, name: &str, unit: &str, all: &[Work]) {
    let line = Line { name, goal: 0.0, less_is_better: false, unit };
    table.line(line, &all.iter().map(|work| Some(median(work.rates.clone()))).collect::<Vec<_>>());
}

fn print_times(table: &Table, name: &str, all: &mut [Work]) {
    for (label, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
        let name = format!("  {label} of {name}");
        let numbers: Vec<_> = all.iter_mut().map(|work| work.times.percentile(share)).collect();
        table.line(Line::time(&name, 0.0), &numbers);
    }
}

fn timed<T>(times: &mut Vec<Duration>, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let done = work()?;
    times.push(start.elapsed());
    Ok(done)
}

/// An image of four layers of 64 MiB, pushed and pulled with a connection for each.
fn large(servers: &[Server], table: &Table) -> Result<()> {
    let (mut pushed, mut pulled) = (fresh(servers), fresh(servers));
    let megabytes = (LAYERS * LAYER) as f64 / 1e6;
    for round in 0..=table.few() {
        let layers: Vec<Vec<u8>> =
            (0..LAYERS).map(|n| noise((round * LAYERS + n) as u64 + 1, LAYER)).collect();
        let digests: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
        for (at, server) in servers.iter().enumerate() {
            let start = Instant::now();
            server.with_clients(LAYERS, |client, n| client.push_blob("large", &digests[n], &layers[n]))?;
            let push = start.elapsed();
            let start = Instant::now();
            server.with_clients(LAYERS, |client, n| {
                let length = client.pull(&format!("/v2/large/blobs/{}", digests[n]))?;
                anyhow::ensure!(length == LAYER, "{length} bytes instead of {LAYER}");
                Ok(())
            })?;
            let pull = start.elapsed();
            // The first round warms caches on all sides and is not counted.
            if round > 0 {
                pushed[at].add(megabytes, push, Vec::new());
                pulled[at].add(megabytes, pull, Vec::new());
            }
        }
    }
    print_rate(table, "push of 4 layers of 64 MiB", "MB/s", &pushed);
    print_rate(table, "pull of them", "MB/s", &pulled);
    Ok(())
}

/// Sixty-four clients that push manifests, and pull them by their tags.
fn manifests(servers: &[Server], table: &Table) -> Result<()> {
    let config = b"{\"architecture\":\"amd64\",\"os\":\"linux\"}";
    let layer = noise(7, BLOB);
    let (mut pushed, mut pulled) = (fresh(servers), fresh(servers));
    for server in servers {
        let mut client = Client::connect(server.port())?;
        for n in 0..CLIENTS {
            client.push_blob(&format!("manifests/{n}"), &digest(config), config)?;
            client.push_blob(&format!("manifests/{n}"), &digest(&layer), &layer)?;
        }
    }
    let of_layer = digest(&layer);
    for round in 0..=table.few() {
        for (at, server) in servers.iter().enumerate() {
            let start = Instant::now();
            let push = server.with_clients(CLIENTS, |client, n| {
                let mut times = Vec::new();
                for m in 0..MANIFESTS {
                    let text = manifest(&format!("{round} {n} {m}"), config, &[(&of_layer, BLOB)]);
                    let repository = format!("manifests/{n}");
                    timed(&mut times, || client.push_manifest(&repository, &format!("r{round}-{m}"), &text))?;
                }
                Ok(times)
            })?;
            let push_took = start.elapsed();
            let start = Instant::now();
            let pull = server.with_clients(CLIENTS, |client, n| {
                let mut times = Vec::new();
                for m in 0..MANIFESTS * 4 {
                    let path = format!("/v2/manifests/{n}/manifests/r{round}-{}", m % MANIFESTS);
                    timed(&mut times, || client.pull(&path))?;
                }
                Ok(times)
            })?;
            let pull_took = start.elapsed();
            if round > 0 {
                pushed[at].add((CLIENTS * MANIFESTS) as f64, push_took, push);
                pulled[at].add((CLIENTS * MANIFESTS * 4) as f64, pull_took, pull);
            }
        }
    }
    print_rate(table, "manifests pushed, 64 clients", "/s", &pushed);
    print_times(table, "a push", &mut pushed);
    print_rate(table, "manifests pulled by tag, 64 clients", "/s", &pulled);
    print_times(table, "a pull", &mut pulled);
    Ok(())
}

/// Sixty-four clients that push many small blobs into one repository, and pull them.
fn blobs(servers: &[Server], table: &Table) -> Result<()> {
    let (mut pushed, mut pulled) = (fresh(servers), fresh(servers));
    for round in 0..=table.few() {
        let blobs: Vec<Vec<(String, Vec<u8>)>> = (0..CLIENTS)
            .map(|n| {
                let seed = |b: usize| ((round * CLIENTS + n) * BLOBS + b) as u64 + 1_000_000;
                (0..BLOBS).map(|b| noise(seed(b), BLOB)).map(|bytes| (digest(&bytes), bytes)).collect()
            })
            .collect();
        for (at, server) in servers.iter().enumerate() {
            let start = Instant::now();
            let push = server.with_clients(CLIENTS, |client, n| {
                let mut times = Vec::new();
                for (digest, bytes) in &blobs[n] {
                    timed(&mut times, || client.push_blob("small", digest, bytes))?;
                }
                Ok(times)
            })?;
            let push_took = start.elapsed();
            let start = Instant::now();
            let pull = server.with_clients(CLIENTS, |client, n| {
                let mut times = Vec::new();
                for (digest, _) in &blobs[n] {
                    timed(&mut times, || client.pull(&format!("/v2/small/blobs/{digest}")))?;
                }
                Ok(times)
            })?;
            let pull_took = start.elapsed();
            if round > 0 {
                pushed[at].add((CLIENTS * BLOBS) as f64, push_took, push);
                pulled[at].add((CLIENTS * BLOBS) as f64, pull_took, pull);
            }
        }
    }
    print_rate(table, "blobs of 4 KiB pushed, 64 clients", "/s", &pushed);
    print_times(table, "a push", &mut pushed);
    print_rate(table, "blobs of 4 KiB pulled, 64 clients", "/s", &pulled);
    print_times(table, "a pull", &mut pulled);
    Ok(())
}

/// Private memory of the servers, after whatever was measured before.
fn memory(servers: &[Server], table: &Table) -> Result<()> {
    std::thread::sleep(Duration::from_secs(2));
    let numbers: Vec<_> = servers.iter().map(|server| Some(private_kib(&[server.pid()]) / 1024.0)).collect();
    table.line(Line::memory("memory of the registry (private)", 0.0), &numbers);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_all_times() {
        let mut times = Times((1..=1000).rev().map(Duration::from_millis).collect());
        assert_eq!(times.percentile(0.5), Some(501.0));
        assert_eq!(times.percentile(0.999), Some(1000.0));
        assert_eq!(Times::default().percentile(0.5), None);
    }

    #[test]
    fn noise_differs_by_its_seed() {
        assert_eq!(noise(1, 1001).len(), 1001);
        assert_ne!(noise(1, 64), noise(3, 64));
    }
}
