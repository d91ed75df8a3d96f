//! `cargo xtask quickstart`: Dray's main job before the user's eyes, on real input. A private daemon, a base
//! image, a build with packages from the network, a published container, its logs, its end. Only the data
//! folder stays.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use dray_harness::fixture;

use crate::command::{build_dray, run as run_to_end, workspace};
use crate::packages;

const BASE: &str = "debian:bookworm-slim";
const IMAGE: &str = "myapp:v1";
const NAME: &str = "webapp";

/// What may be given to `cargo xtask quickstart`.
#[derive(Args)]
pub struct Options {
    /// Pull the base image from this registry instead of making it from Debian's packages
    #[arg(long, env = "DRAY_QUICKSTART_REGISTRY")]
    registry: Option<String>,
    /// Use the debug build
    #[arg(long)]
    debug: bool,
}

/// Builds Dray and shows it.
pub fn run(options: &Options) -> Result<()> {
    packages::ensure_installed(packages::QUICKSTART)?;
    say("Building Dray");
    let dray = build_dray(!options.debug)?;
    let started = Instant::now();
    let mut place = Place::start(&dray)?;
    let shown = show(&place, options.registry.as_deref());
    let removed = place.take_down();
    shown.and(removed)?;
    say(&format!("Done in {:.0} s. What to try next", started.elapsed().as_secs_f64()));
    println!(
        "  sudo install {} /usr/local/bin/dray      # the one file that Dray is\n  \
           dray run --rm -it {BASE} bash            # starts a daemon by itself\n  \
           DOCKER_HOST=unix:///run/dray/dray.sock docker ps   # Docker's own client at Dray\n\
         The images of this show stay in {}; remove the folder when you like.",
        dray.display(),
        place.root.display()
    );
    Ok(())
}

fn show(place: &Place, registry: Option<&str>) -> Result<()> {
    say("A base image");
    base_image(place, registry)?;
    say("Building image examples/webapp: two stages, packages over the network");
    place.dray(&["build", "-t", IMAGE, &workspace().join("examples/webapp").to_string_lossy()])?;
    let port = free_port(8080)?;
    say("Running it, published");
    place.dray(&["run", "-d", "-p", &format!("{port}:80"), "--name", NAME, IMAGE])?;
    let answer = ask(port)?;
    place.dray(&["ps"])?;
    println!("\n$ curl http://localhost:{port}/\n{answer}");
    place.dray(&["logs", NAME])?;
    say("Stopping it");
    place.dray(&["stop", NAME])?;
    place.dray(&["rm", NAME])
}

fn base_image(place: &Place, registry: Option<&str>) -> Result<()> {
    if let Some(registry) = registry {
        let name = format!("{registry}/library/{BASE}");
        place.dray(&["pull", &name])?;
        return place.dray(&["tag", &name, BASE]);
    }
    println!(
        "No registry is configured: making {BASE} from Debian's packages (mmdebstrap, host's apt sources)"
    );
    let archive = fixture::debian();
    place.dray(&["load", "-i", &archive.to_string_lossy()])
}

/// The daemon of the show and its folder.
struct Place {
    root: PathBuf,
    dray: PathBuf,
    daemon: Option<Child>,
}

impl Place {
    fn start(dray: &Path) -> Result<Self> {
        let root = workspace().join("target/quickstart");
        fs::create_dir_all(&root).with_context(|| root.display().to_string())?;
        fs::write(root.join("daemon.json"), "{}")?;
        say("Starting a private daemon");
        let mut command = Command::new(dray);
        command
            .arg("daemon")
            .arg("--data-root")
            .arg(root.join("data"))
            .arg("--run-root")
            .arg(root.join("run"))
            .arg("--config-file")
            .arg(root.join("daemon.json"))
            .args(["-H", &host(&root), "--bridge", "drayqs0", "--bip", "10.215.0.1/24"])
            .args(["--default-address-pool", "base=10.215.4.0/22,size=26", "--trust-host-ca"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(root.join("daemon.log"))?);
        let child = command.spawn().context("starting the daemon")?;
        let mut place = Self { root, dray: dray.to_path_buf(), daemon: Some(child) };
        place.wait_ready()?;
        println!("data in {}, socket {}", place.root.join("data").display(), host(&place.root));
        // What an earlier show that was interrupted may have left.
        place.quietly(&["rm", "-f", NAME]);
        Ok(place)
    }

    fn wait_ready(&mut self) -> Result<()> {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(20) {
            if self.quietly(&["version"]) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let log = fs::read_to_string(self.root.join("daemon.log")).unwrap_or_default();
        let _ = self.take_down();
        bail!("the daemon did not come up:\n{log}")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.dray);
        command.args(arguments).env("DOCKER_HOST", host(&self.root));
        command
    }

    /// Shows the command line, then runs it.
    fn dray(&self, arguments: &[&str]) -> Result<()> {
        println!("\n$ dray {}", arguments.join(" "));
        run_to_end(&mut self.command(arguments))
    }

    fn quietly(&self, arguments: &[&str]) -> bool {
        let mut command = self.command(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    /// Removes the container, whatever state the show ended in, and ends the daemon.
    fn take_down(&mut self) -> Result<()> {
        let Some(mut daemon) = self.daemon.take() else { return Ok(()) };
        self.quietly(&["rm", "-f", NAME]);
        let pid = rustix::process::Pid::from_child(&daemon);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).context("ending the daemon")?;
        let status = daemon.wait().context("waiting for the daemon")?;
        ensure!(status.success(), "the daemon ended with {status}");
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = self.take_down() {
            eprintln!("{error:#}");
        }
    }
}

fn host(root: &Path) -> String {
    format!("unix://{}", root.join("dray.sock").display())
}

fn say(what: &str) {
    println!("\n==> {what}");
}

/// `wanted`, or any other when it is taken.
fn free_port(wanted: u16) -> Result<u16> {
    let listener = TcpListener::bind(("0.0.0.0", wanted)).or_else(|_| TcpListener::bind("0.0.0.0:0"))?;
    Ok(listener.local_addr()?.port())
}

/// The answer of the service, which may need a moment to listen.
fn ask(port: u16) -> Result<String> {
    let started = Instant::now();
    loop {
        match fetch(port) {
            Ok(answer) => return Ok(answer),
            Err(error) if started.elapsed() > Duration::from_secs(20) => {
                return Err(error).context(format!("http://localhost:{port}/ does not answer"));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn fetch(port: u16) -> Result<String> {
    let mut stream = TcpStream::connect(("localhost", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.contains(" 200 "), "{}", answer.lines().next().unwrap_or("no answer"));
    Ok(answer.split_once("\r\n\r\n").map_or(answer.clone(), |(_, body)| body.to_owned()))
}
