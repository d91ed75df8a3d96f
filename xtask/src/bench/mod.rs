//! `cargo xtask bench`: Dray and its peers in one run, one line per figure, as ratios.
//!
//! Everything runs in a network and mount namespace made for the bench, so that the host's firewall is neither
//! changed nor measured. Each figure alternates between the sides and takes the median of many rounds: these
//! machines are noisy, and noise then meets both sides alike.

mod figures;
mod memory;
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
    /// Only figures whose name holds this
    filter: Option<String>,
    /// Rounds of each figure
    #[arg(long, default_value_t = 15)]
    rounds: usize,
}

/// Builds, moves into a namespace of its own and measures.
pub fn run(options: &Options) -> Result<()> {
    if std::env::var_os(INSIDE).is_none() {
        packages::ensure_installed(packages::TEST)?;
        packages::ensure_installed(packages::BENCH)?;
        fixture::busybox();
        fixture::debian();
        let dray = build_dray(true)?;
        let error = Command::new("unshare")
            .args(["--net", "--mount", "--propagation", "private"])
            .arg(std::env::current_exe().context("own path")?)
            .args(std::env::args_os().skip(1))
            .env(INSIDE, "1")
            .env("DRAY_BIN", dray)
            .exec();
        return Err(error).context("unshare");
    }
    measure(options)
}

fn measure(options: &Options) -> Result<()> {
    side::loopback_up()?;
    let sides = [Side::dray()?, Side::docker()?];
    for side in &sides {
        side.load(&fixture::busybox())?;
    }
    let mut table = Table::new(options.rounds);
    for (name, figure) in figures::ALL {
        if options.filter.as_deref().is_none_or(|filter| name.contains(filter)) {
            figure(&sides, &mut table).with_context(|| (*name).to_owned())?;
        }
    }
    println!("\n{}", table.machine_line());
    Ok(())
}
