//! Packets between containers and through published ports, names, and how long networks take to change.

use std::net::TcpListener;
use std::process::Command;

use anyhow::{Context, Result};
use dray_harness::{client, fixture};

use super::port;
use super::side::Side;
use super::table::{Line, Table, median};

const SERVER: &str = "bench-server";
const NETWORK: &str = "bench-net";
const PORT: u16 = 7000;

/// Gbit/s by iperf3 between two containers of one network, and through a published port with 64 connections.
pub fn throughput(sides: &[Side], table: &Table) -> Result<()> {
    port::published(sides, table, &["1", "64"])?;
    for side in sides {
        side.load(&fixture::debian())?;
        side.sh(&format!("network create {NETWORK}"))?;
        inside(side, &["-d", "--name", SERVER, "--network", NETWORK], &["iperf3", "-s"])?;
    }
    let client = |side: &Side, streams: &str| {
        let words = ["iperf3", "-J", "-t", "3", "-c", SERVER, "-P", streams];
        let answer = inside(side, &["--rm", "--network", NETWORK], &words)?;
        let json: serde_json::Value = serde_json::from_str(&answer).context("iperf3's answer")?;
        let rate = json["end"]["sum_received"]["bits_per_second"].as_f64();
        Ok(rate.with_context(|| json["error"].to_string())? / 1e9)
    };
    for side in sides {
        client::eventually("iperf3 listens", || client(side, "1").is_ok());
    }
    for (name, streams) in
        [("container to container, 1 stream", "1"), ("container to container, 64 streams", "64")]
    {
        numbers(sides, table, Line::rate(name), 3, |side| client(side, streams))?;
    }
    clear(sides)
}

/// Microseconds of a round trip of one byte: between containers, and from this host through a published port.
pub fn latency(sides: &[Side], table: &Table) -> Result<()> {
    let ports = serve(sides)?;
    let line = Line::micros("round trip, container to container");
    numbers(sides, table, line, table.few(), |side| {
        let address = format!("{}:{PORT}", address(side)?);
        number(&probe_inside(side, &["round-trips", &address, "20000"])?)
    })?;
    let line = Line::micros("round trip, through a published port");
    numbers(sides, table, line, table.few(), |side| {
        number(&probe_here(&["round-trips", &published(sides, &ports, side), "20000"])?)
    })?;
    clear(sides)
}

/// New connections in a second, by four clients.
pub fn rate(sides: &[Side], table: &Table) -> Result<()> {
    let ports = serve(sides)?;
    numbers(sides, table, Line::each_second("connections, container to container"), 3, |side| {
        let address = format!("{}:{PORT}", address(side)?);
        number(&probe_inside(side, &["connections", &address, "2"])?)
    })?;
    numbers(sides, table, Line::each_second("connections, through a published port"), 3, |side| {
        number(&probe_here(&["connections", &published(sides, &ports, side), "2"])?)
    })?;
    clear(sides)
}

/// Questions for a container's name that are answered in a second, by four clients in one container.
pub fn dns(sides: &[Side], table: &Table) -> Result<()> {
    serve(sides)?;
    numbers(sides, table, Line::each_second("DNS questions for a container"), 3, |side| {
        number(&probe_inside(side, &["questions", "127.0.0.11:53", SERVER, "2"])?)
    })?;
    clear(sides)
}

/// A running container joins one more network and leaves it.
pub fn connect(sides: &[Side], table: &Table) -> Result<()> {
    for side in sides {
        side.sh(&format!("network create {NETWORK}"))?;
        side.sh(&format!("run -d --name {SERVER} busybox sleep 600"))?;
    }
    let line = Line::time("network connect and disconnect", 1.0);
    table.time(line, sides, table.rounds(), |side, _| {
        side.sh(&format!("network connect {NETWORK} {SERVER}"))?;
        side.sh(&format!("network disconnect {NETWORK} {SERVER}")).map(drop)
    })?;
    clear(sides)
}

/// A container that publishes a port, alone and after a thousand others were published.
pub fn next_port(sides: &[Side], table: &Table) -> Result<()> {
    let publish = |side: &Side, _| side.sh("run --rm -p 127.0.0.1::80 busybox true").map(drop);
    table.time(Line::time("run -p, the first", 1.0), sides, table.few(), publish)?;
    for (n, side) in sides.iter().enumerate() {
        let first = 20_000 + n * 1_000;
        let range = format!("127.0.0.1:{first}-{}:1-1000", first + 999);
        side.sh(&format!("run -d -p {range} busybox sleep 3600"))?;
    }
    table.time(Line::time("run -p, after 1,000", 1.0), sides, table.few(), publish)?;
    clear(sides)
}

/// The server of the probe on a network of its own, published; gives the host's ports.
fn serve(sides: &[Side]) -> Result<Vec<u16>> {
    let mut ports = Vec::new();
    for side in sides {
        side.load(&fixture::debian())?;
        side.sh(&format!("network create {NETWORK}"))?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let publish = format!("127.0.0.1:{port}:{PORT}");
        let flags = ["-d", "--name", SERVER, "--network", NETWORK, "-p", &publish];
        inside(side, &flags, &["/probe", "probe", "serve", &PORT.to_string()])?;
        let address = format!("127.0.0.1:{port}");
        client::eventually("the probe listens", || probe_here(&["round-trips", &address, "1"]).is_ok());
        ports.push(port);
    }
    Ok(ports)
}

fn published(sides: &[Side], ports: &[u16], side: &Side) -> String {
    let at = sides.iter().position(|other| other.name == side.name).unwrap_or(0);
    format!("127.0.0.1:{}", ports.get(at).copied().unwrap_or_default())
}

/// The server's address on its network.
fn address(side: &Side) -> Result<String> {
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    side.run(["inspect", "-f", format, SERVER])
}

/// Runs a program of this host in a container: both are the same Debian.
fn inside(side: &Side, flags: &[&str], program: &[&str]) -> Result<String> {
    let probe = std::env::current_exe().context("own path")?;
    let mounts = [
        "/usr:/usr:ro".to_owned(),
        "/etc/alternatives:/etc/alternatives:ro".to_owned(),
        format!("{}:/probe:ro", probe.display()),
    ];
    let mut words = vec!["run"];
    words.extend(flags);
    for mount in &mounts {
        words.extend(["-v", mount]);
    }
    words.push("debian:bookworm-slim");
    words.extend(program);
    side.run(words)
}

/// The probe in a container beside the server.
fn probe_inside(side: &Side, words: &[&str]) -> Result<String> {
    inside(side, &["--rm", "--network", NETWORK], &[&["/probe", "probe"], words].concat())
}

/// The probe on this host.
fn probe_here(words: &[&str]) -> Result<String> {
    let output = Command::new(std::env::current_exe().context("own path")?)
        .arg("probe")
        .args(words)
        .output()
        .context("the probe")?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn number(text: &str) -> Result<f64> {
    text.trim().parse().with_context(|| format!("not a number: {text:?}"))
}

/// Asks all sides in turn for a number, and prints the medians.
fn numbers(
    sides: &[Side],
    table: &Table,
    line: Line<'_>,
    rounds: usize,
    measure: impl Fn(&Side) -> Result<f64>,
) -> Result<()> {
    let mut all: Vec<Option<Vec<f64>>> = sides.iter().map(|_| Some(Vec::new())).collect();
    for round in 0..=rounds {
        for (side, slot) in sides.iter().zip(&mut all) {
            let Some(numbers) = slot else { continue };
            match measure(side) {
                // The first round warms caches on all sides and is not counted.
                Ok(number) if round > 0 => numbers.push(number),
                Ok(_) => {}
                Err(error) if side.is_optional() => {
                    println!("{}: {} cannot: {error:#}", line.name, side.name);
                    *slot = None;
                }
                Err(error) => return Err(error),
            }
        }
    }
    let medians: Vec<_> = all.into_iter().map(|numbers| numbers.map(median)).collect();
    table.line(line, &medians);
    Ok(())
}

fn clear(sides: &[Side]) -> Result<()> {
    for side in sides {
        side.remove_containers()?;
        // Where no figure has made it there is none.
        let _ = side.sh(&format!("network rm {NETWORK}"));
    }
    Ok(())
}
