//! The figures. Each is a scenario on both sides and a line in the table.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dray_harness::fixture;
use dray_harness::registry::Registry;

use super::memory::private_kib;
use super::side::Side;
use super::table::{Table, median};

/// A figure's scenario.
pub type Figure = fn(&[Side; 2], &mut Table) -> Result<()>;

/// All figures by name, in the order in which they are measured.
pub const ALL: &[(&str, Figure)] = &[
    ("memory-idle", memory_idle),
    ("run-bridge", run_bridge),
    ("run-none", run_none),
    ("exec", exec),
    ("start-50", start_fifty),
    ("memory-container", memory_container),
    ("ps-100", ps_hundred),
    ("build-20", build_uncached),
    ("build-cached", build_cached),
    ("push-pull", push_pull),
    ("port", port_throughput),
    ("steps", step_table),
];

fn memory_idle(sides: &[Side; 2], table: &mut Table) -> Result<()> {
    std::thread::sleep(Duration::from_secs(2));
    let [dray, docker] = [0, 1].map(|n| private_kib(&sides[n].engine_pids()) / 1024.0);
    table.line("memory of the idle daemon (private)", "MB", dray, docker, docker / dray, 5.0);
    Ok(())
}

fn run_bridge(sides: &[Side; 2], table: &mut Table) -> Result<()> {
    let rounds = table.rounds();
    table
        .time("run --rm on bridge", 20.0, sides, rounds, |side, _| side.sh("run --rm busybox true").map(drop))
}

fn run_none(sides: &[Side; 2], table: &mut Table) -> Result<()> {
    let rounds = table.rounds();
    table.time("run --rm without network", 20.0, sides, rounds, |side, _| {
        side.sh("run --rm --network none busybox true").map(drop)
    })
}

fn exec(sides: &[Side; 2], table: &mut Table) -> Result<()> {
    for side in sides {
        side.sh("run -d --name bench busybox sleep 600")?;
    }
    let rounds = table.rounds();
    table.time("exec", 10.0, sides, rounds, |side, _| side.sh("exec bench true").map(drop))?;
    remove_all(sides)
}

fn start_fifty(sides: &[Side; 2], table: &mut Table) -> Result<()> {
    table.time("50 containers started at once", 15.0, sides, 3, |side, _| {
        let starting = (0..50).map(|_| side.spawn("run -d busybox sleep 600")).collect::<Result<Vec<_>>>()?;
        for mut child in starting {
            ensure!(child.wait()?.success(), "one of 50 did not start");
        }
        // Their removal is in both sides' time; it is much of what "at once" costs in CI.
        side.remove_containers()
    })
}

fn memory_container(sides: &[Side; 2], table: &mut Table) -> Result<()> {
    for side in sides {
        for _ in 0..10 {
            side.sh("run -d busybox sleep 600")?;
        }
    }
    let [dray, docker] = [0, 1].map(|n| {
        let each = sides[n].shim_pids().into_iter().map(|pid| private_kib(&[pid])).collect();
        median(each) / 1024.0
    });
    table.line("memory per running container (private)", "MB", dray, docker, docker / dray, 10.0);
    remove_all(sides)
}

fn ps_hundred(sides: &[Side; 2], table: &mut Table) -> Result<()> {
    for side in sides {
        for _ in 0..100 {
            side.sh("create busybox true")?;
        }
    }
    let rounds = table.rounds();
    table.time("ps -a with 100 containers", 0.0, sides, rounds, |side, _| side.sh("ps -a").map(drop))?;
    remove_all(sides)
}

fn dockerfile(steps: usize) -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    let mut text = String::from("FROM busybox\nCOPY data /data\n");
    for step in 0..steps {
        text.push_str(&format!("RUN echo {step} > /step{step}\n"));
    }
    fs::write(folder.path().join("Dockerfile"), text)?;
    fs::write(folder.path().join("data"), vec![7u8; 1 << 20])?;
    Ok(folder)
}

fn build_uncached(sides: &[Side; 2], table: &mut Table) -> Result<()> {
    let folder = dockerfile(20)?;
    let path = folder.path().to_string_lossy().into_owned();
    table.time("build of 20 RUN steps, no cache", 5.0, sides, table.few(), |side, _| {
        side.run(["build", "-q", "--no-cache", "-t", "bench", &path]).map(drop)
    })
}

fn build_cached(sides: &[Side; 2], table: &mut Table) -> Result<()> {
    let folder = dockerfile(20)?;
    let path = folder.path().to_string_lossy().into_owned();
    let rounds = table.rounds();
    table.time("build of 20 RUN steps, all cached", 10.0, sides, rounds, |side, _| {
        side.run(["build", "-q", "-t", "bench", &path]).map(drop)
    })
}

/// An archive of about 300 MB: one layer of big files that hardly compress, three of many small ones.
fn big_image(folder: &Path) -> Result<PathBuf> {
    let mut random = fs::File::open("/dev/urandom")?;
    for layer in 0..4 {
        let root = folder.join(format!("layer{layer}"));
        fs::create_dir_all(&root)?;
        if layer == 0 {
            for n in 0..10 {
                let mut file = fs::File::create(root.join(format!("big{n}")))?;
                std::io::copy(&mut std::io::Read::take(&mut random, 20 << 20), &mut file)?;
            }
        } else {
            for n in 0..5000 {
                let sub = root.join(format!("{}", n / 100));
                fs::create_dir_all(&sub)?;
                let text = format!("file {n} of layer {layer}\n").repeat(300);
                fs::write(sub.join(format!("{n}")), text)?;
            }
        }
    }
    let text = "FROM busybox\nCOPY layer0 /l0\nCOPY layer1 /l1\nCOPY layer2 /l2\nCOPY layer3 /l3\n";
    fs::write(folder.join("Dockerfile"), text)?;
    Ok(folder.to_path_buf())
}

fn push_pull(sides: &[Side; 2], table: &mut Table) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let context = big_image(folder.path())?.to_string_lossy().into_owned();
    let registries = [Registry::start(), Registry::start()];
    let name = |side: &Side, round: usize| {
        let registry = if side.name == "dray" { &registries[0] } else { &registries[1] };
        format!("{}/bench{round}/big:latest", registry.host())
    };
    for side in sides {
        side.run(["build", "-q", "-t", "big", &context])?;
    }
    let few = table.few();
    table.time("push of 300 MB and 15,000 files", 0.0, sides, few, |side, round| {
        side.run(["tag", "big", &name(side, round)])?;
        side.run(["push", "-q", &name(side, round)]).map(drop)
    })?;
    let pulled =
        |side: &Side, round: usize| -> Result<()> { side.run(["pull", "-q", &name(side, round)]).map(drop) };
    for side in sides {
        let ids = side.sh("images -q big")?;
        side.run(["rmi", "-f", ids.lines().next().context("no image")?])?;
    }
    table.time("pull and unpack of it (and rmi)", 2.0, sides, few, |side, _| {
        pulled(side, 0)?;
        side.run(["rmi", "-f", &name(side, 0)]).map(drop)
    })
}

fn port_throughput(sides: &[Side; 2], table: &mut Table) -> Result<()> {
    let mut rates = [[0.0; 2]; 2];
    for (n, side) in sides.iter().enumerate() {
        side.load(&fixture::debian())?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let publish = format!("{port}:5201");
        side.run([
            "run",
            "-d",
            "--name",
            "iperf",
            "-v",
            "/usr:/usr:ro",
            "-v",
            "/etc/alternatives:/etc/alternatives:ro",
            "-p",
            &publish,
            "debian:bookworm-slim",
            "iperf3",
            "-s",
        ])?;
        std::thread::sleep(Duration::from_millis(500));
        for (k, streams) in ["1", "16"].into_iter().enumerate() {
            let each = (0..3).map(|_| iperf(port, streams)).collect::<Result<Vec<_>>>()?;
            rates[k][n] = median(each);
        }
    }
    table.line(
        "published port, 1 stream (localhost)",
        "Gb",
        rates[0][0],
        rates[0][1],
        rates[0][0] / rates[0][1],
        0.0,
    );
    table.line(
        "published port, 16 streams (localhost)",
        "Gb",
        rates[1][0],
        rates[1][1],
        rates[1][0] / rates[1][1],
        0.0,
    );
    remove_all(sides)
}

fn iperf(port: u16, streams: &str) -> Result<f64> {
    let output = Command::new("iperf3")
        .args(["-J", "-t", "3", "-c", "127.0.0.1", "-P", streams, "-p", &port.to_string()])
        .stderr(Stdio::null())
        .output()
        .context("iperf3")?;
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).context("iperf3's answer")?;
    let rate = json["end"]["sum_received"]["bits_per_second"].as_f64();
    Ok(rate.with_context(|| json["error"].to_string())? / 1e9)
}

/// Where the time of a start goes, as the daemon traces it.
fn step_table(_: &[Side; 2], _: &mut Table) -> Result<()> {
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

fn remove_all(sides: &[Side; 2]) -> Result<()> {
    sides.iter().try_for_each(Side::remove_containers)
}
