//! Starting containers, running programs in them, listing them.

use anyhow::{Result, ensure};
use dray_harness::fixture;

use super::side::Side;
use super::table::{Line, Table};

/// `run --rm` on the default bridge.
pub fn run_on_bridge(sides: &[Side], table: &Table) -> Result<()> {
    let line = Line::time("run --rm on bridge", 20.0);
    table.time(line, sides, table.rounds(), |side, _| side.sh("run --rm busybox true").map(drop))
}

/// `run --rm --network none`.
pub fn run_without_network(sides: &[Side], table: &Table) -> Result<()> {
    let line = Line::time("run --rm without network", 20.0);
    table.time(line, sides, table.rounds(), |side, _| {
        side.sh("run --rm --network none busybox true").map(drop)
    })
}

/// `exec` in a container that runs.
pub fn exec(sides: &[Side], table: &Table) -> Result<()> {
    for side in sides {
        side.sh("run -d --name bench busybox sleep 600")?;
    }
    table.time(Line::time("exec", 10.0), sides, table.rounds(), |side, _| {
        side.sh("exec bench true").map(drop)
    })?;
    sides.iter().try_for_each(Side::remove_containers)
}

/// Fifty clients that start a container each, at the same time.
pub fn start_fifty(sides: &[Side], table: &Table) -> Result<()> {
    let line = Line::time("50 containers started at once", 15.0);
    let start = |side: &Side, _| {
        let starting = (0..50).map(|_| side.spawn("run -d busybox sleep 600")).collect::<Result<Vec<_>>>()?;
        for mut child in starting {
            ensure!(child.wait()?.success(), "one of 50 did not start");
        }
        Ok(())
    };
    table.time_and_undo(line, sides, 3, start, Side::remove_containers)
}

/// `ps -a` with a hundred containers.
pub fn ps_hundred(sides: &[Side], table: &Table) -> Result<()> {
    for side in sides {
        for _ in 0..100 {
            side.sh("create busybox true")?;
        }
    }
    let line = Line::time("ps -a with 100 containers", 0.0);
    table.time(line, sides, table.rounds(), |side, _| side.sh("ps -a").map(drop))?;
    sides.iter().try_for_each(Side::remove_containers)
}

/// Where the time of a start goes, as Dray's daemon traces it.
pub fn steps(_: &[Side], _: &Table) -> Result<()> {
    let daemon = dray_harness::Daemon::with_environment(&[("DRAY_TRACE", "1")]);
    daemon.load(&fixture::busybox());
    for _ in 0..5 {
        daemon.dray().sh("run --rm busybox true").expect_success();
    }
    println!("\nsteps of the last of five starts (DRAY_TRACE=1):");
    let log = daemon.log();
    let start = log.rfind("start of ").unwrap_or(0);
    println!("{}", &log[start..]);
    Ok(())
}
