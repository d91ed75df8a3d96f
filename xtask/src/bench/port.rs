//! Throughput of a published port, from this host and from another one.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use dray_harness::{client, fixture};

use super::side::Side;
use super::table::{Line, Table, median};

const HERE: &str = "10.216.0.1";
const THERE: &str = "10.216.0.2";

/// Gbit/s by iperf3 with one stream and with sixteen, from localhost and from a neighbour.
pub fn throughput(sides: &[Side], table: &Table) -> Result<()> {
    published(sides, table, &["1", "16"])
}

/// The same with these numbers of streams.
pub fn published(sides: &[Side], table: &Table, streams: &[&str]) -> Result<()> {
    let neighbour = Neighbour::start()?;
    let mut ports = Vec::new();
    for side in sides {
        ports.push(serve(side)?);
    }
    for (place, from) in [("localhost", None), ("outside", Some(&neighbour))] {
        for streams in streams {
            let many = if *streams == "1" { "stream" } else { "streams" };
            let name = format!("published port, {streams} {many}, from {place}");
            let mut rates = vec![Vec::new(); sides.len()];
            for _ in 0..3 {
                for (port, rates) in ports.iter().zip(&mut rates) {
                    rates.push(iperf(*port, streams, from)?);
                }
            }
            let medians: Vec<_> = rates.into_iter().map(|rates| Some(median(rates))).collect();
            table.line(Line::rate(&name), &medians);
        }
    }
    sides.iter().try_for_each(Side::remove_containers)
}

/// An iperf3 server in a container; gives the port at which it is published.
fn serve(side: &Side) -> Result<u16> {
    side.load(&fixture::debian())?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let publish = format!("{port}:5201");
    // The host's own iperf3: container and host are the same Debian.
    side.run([
        "run",
        "-d",
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
    client::eventually("iperf3 listens", || iperf_once(port, "1", None, "1").is_ok());
    Ok(port)
}

fn iperf(port: u16, streams: &str, from: Option<&Neighbour>) -> Result<f64> {
    iperf_once(port, streams, from, "3")
}

fn iperf_once(port: u16, streams: &str, from: Option<&Neighbour>, seconds: &str) -> Result<f64> {
    let (mut command, address) = match from {
        Some(neighbour) => (neighbour.command("iperf3"), HERE),
        None => (Command::new("iperf3"), "127.0.0.1"),
    };
    let output = command
        .args(["-J", "-t", seconds, "-c", address, "-P", streams, "-p", &port.to_string()])
        .stderr(Stdio::null())
        .output()
        .context("iperf3")?;
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).context("iperf3's answer")?;
    let rate = json["end"]["sum_received"]["bits_per_second"].as_f64();
    Ok(rate.with_context(|| json["error"].to_string())? / 1e9)
}

/// Another host: a network namespace at the other end of a cable.
struct Neighbour {
    holder: Child,
}

impl Neighbour {
    fn start() -> Result<Self> {
        let holder = Command::new("unshare").args(["--net", "sleep", "3600"]).spawn().context("unshare")?;
        let neighbour = Self { holder };
        let pid = neighbour.holder.id().to_string();
        let own = std::fs::read_link("/proc/self/ns/net")?;
        let theirs = format!("/proc/{pid}/ns/net");
        client::eventually("the neighbour's namespace", || {
            std::fs::read_link(&theirs).is_ok_and(|link| link != own)
        });
        ip(&mut Command::new("ip"), &format!("link add bench0 type veth peer name eth0 netns {pid}"))?;
        ip(&mut Command::new("ip"), &format!("address add {HERE}/30 dev bench0"))?;
        ip(&mut Command::new("ip"), "link set bench0 up")?;
        ip(&mut neighbour.command("ip"), &format!("address add {THERE}/30 dev eth0"))?;
        ip(&mut neighbour.command("ip"), "link set eth0 up")?;
        Ok(neighbour)
    }

    /// A program on the neighbour.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &self.holder.id().to_string(), program]);
        command
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn ip(command: &mut Command, line: &str) -> Result<()> {
    let status = command.args(line.split_whitespace()).status().context("ip")?;
    ensure!(status.success(), "ip {line} ended with {status}");
    Ok(())
}
