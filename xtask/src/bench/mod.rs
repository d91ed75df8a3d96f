//! `cargo xtask bench`: Dray and its peers in one run, one line per figure, as ratios.
//!
//! Everything runs in a network and mount namespace made for the bench, so that the host's firewall is neither
//! changed nor measured. Each figure alternates between the sides and takes the median of many rounds: these
//! machines are noisy, and noise then meets all sides alike.
//!
//! ```text
//! side     who is measured: Dray, Debian's dockerd, Debian's Podman
//! table    rounds, medians, printed lines
//! container, build, image, archive, memory, port, network, compose    the figures, by noun
//! probe    what the figures of networks run in containers
//! registry the same of registry servers: Dray's, Debian's docker-registry, distribution
//! ```

mod archive;
mod build;
mod compose;
mod container;
mod content;
mod image;
mod memory;
mod network;
mod port;
pub mod probe;
mod registry;
mod side;
mod table;

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;
use dray_harness::fixture;

use crate::command::build_dray;
use crate::packages;
use side::Side;
use table::Table;

const INSIDE: &str = "DRAY_BENCH_INSIDE";

/// What may be given to `cargo xtask bench`.
#[derive(Args)]
pub struct Options {
    /// Only figures whose name holds one of these
    filters: Vec<String>,
    /// Rounds of each figure
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Only against Docker
    #[arg(long)]
    no_podman: bool,
    /// The names of all figures
    #[arg(long)]
    list: bool,
}

/// A figure's scenario.
type Figure = fn(&[Side], &Table) -> Result<()>;

/// All figures by name, in the order in which they are measured.
const FIGURES: &[(&str, Figure)] = &[
    ("memory-idle", memory::idle),
    ("run-bridge", container::run_on_bridge),
    ("run-none", container::run_without_network),
    ("exec", container::exec),
    ("start-50", container::start_fifty),
    ("ps-100", container::ps_hundred),
    ("memory-container", memory::per_container),
    ("build-20", build::uncached),
    ("build-cached", build::cached),
    ("build-changed", build::changed),
    ("build-parallel", build::parallel),
    ("build-1gb", build::large),
    ("push", |sides, table| image::push(sides, table, &content::MIXED)),
    ("pull", |sides, table| image::pull(sides, table, &content::MIXED)),
    ("save", |sides, table| archive::save(sides, table, &content::MIXED)),
    ("load", |sides, table| archive::load(sides, table, &content::MIXED)),
    ("push-large", |sides, table| image::push(sides, table, &content::LARGE)),
    ("pull-large", |sides, table| image::pull(sides, table, &content::LARGE)),
    ("save-large", |sides, table| archive::save(sides, table, &content::LARGE)),
    ("load-large", |sides, table| archive::load(sides, table, &content::LARGE)),
    ("push-small", |sides, table| image::push(sides, table, &content::SMALL)),
    ("pull-small", |sides, table| image::pull(sides, table, &content::SMALL)),
    ("save-small", |sides, table| archive::save(sides, table, &content::SMALL)),
    ("load-small", |sides, table| archive::load(sides, table, &content::SMALL)),
    ("images-1000", archive::list),
    ("port", port::throughput),
    ("network-throughput", network::throughput),
    ("network-latency", network::latency),
    ("network-rate", network::rate),
    ("network-dns", network::dns),
    ("network-connect", network::connect),
    ("network-next-publish", network::next_port),
    ("compose-up", compose::up),
    ("compose-config", compose::config),
    ("compose-settled", compose::settled),
    ("steps", container::steps),
];

/// Builds, moves into a namespace of its own and measures.
pub fn run(options: &Options) -> Result<()> {
    if options.list {
        let names =
            FIGURES.iter().map(|(name, _)| name).chain(registry::FIGURES.iter().map(|(name, _)| name));
        names.for_each(|name| println!("{name}"));
        return Ok(());
    }
    if std::env::var_os(INSIDE).is_some() {
        return measure(options);
    }
    packages::ensure_installed(packages::TEST)?;
    packages::ensure_installed(packages::BENCH)?;
    packages::ensure_go()?;
    fixture::busybox();
    fixture::debian();
    fixture::buildx();
    if wants_registries(options) {
        registry::distribution();
    }
    if FIGURES.iter().any(|(name, _)| name.starts_with("compose") && is_wanted(options, name)) {
        dray_harness::compose::reference();
    }
    let dray = build_dray(true)?;
    let error = Command::new("unshare")
        .args(["--net", "--mount", "--propagation", "private"])
        .arg(std::env::current_exe().context("own path")?)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .env("DRAY_BIN", dray)
        .exec();
    Err(error).context("unshare")
}

/// Whether a figure is wanted.
fn is_wanted(options: &Options, name: &str) -> bool {
    options.filters.is_empty() || options.filters.iter().any(|filter| name.contains(filter.as_str()))
}

fn wants_registries(options: &Options) -> bool {
    registry::FIGURES.iter().any(|(name, _)| is_wanted(options, name))
}

fn measure(options: &Options) -> Result<()> {
    side::loopback_up()?;
    if FIGURES.iter().any(|(name, _)| is_wanted(options, name)) {
        measure_engines(options)?;
    }
    if wants_registries(options) {
        measure_registries(options)?;
    }
    Ok(())
}

fn measure_engines(options: &Options) -> Result<()> {
    let mut sides = vec![Side::dray(), Side::docker()];
    if !options.no_podman {
        sides.push(Side::podman()?);
    }
    // A peer that does not run here is told and left out; Dray and Docker have to.
    sides.retain(|side| {
        match side.load(&fixture::busybox()).and_then(|()| side.sh("run --rm busybox true")) {
            Err(error) if side.is_optional() => {
                println!("{} does not run here: {error:#}", side.name);
                false
            }
            _ => true,
        }
    });
    let table = Table::new(options.rounds, &sides.iter().map(|side| side.name).collect::<Vec<_>>());
    for (name, figure) in FIGURES.iter().filter(|(name, _)| is_wanted(options, name)) {
        // Podman has no Compose of its own.
        let sides = if name.starts_with("compose") { &sides[..2] } else { &sides[..] };
        figure(sides, &table).with_context(|| (*name).to_owned())?;
    }
    println!("\n{}", table.machine_line());
    Ok(())
}

fn measure_registries(options: &Options) -> Result<()> {
    let servers = registry::Server::all();
    let table = Table::new(options.rounds, &servers.iter().map(|server| server.name).collect::<Vec<_>>());
    for (name, figure) in registry::FIGURES.iter().filter(|(name, _)| is_wanted(options, name)) {
        figure(&servers, &table).with_context(|| (*name).to_owned())?;
    }
    println!("\n{}", table.machine_line());
    Ok(())
}
