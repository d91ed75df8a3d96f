//! `examples/`: real projects, used as their READMEs say, packages over the network.

mod ml_inference;
mod node_express;
mod static_services;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dray_harness::{Client, Daemon, Finished, client};
use serde_json::Value;

/// A copy of an example, that can be changed, and the daemon that builds it.
struct Project {
    daemon: Daemon,
    folder: PathBuf,
    /// This machine's own settings of package managers, as the README says to pass them.
    settings: Vec<String>,
}

impl Project {
    fn new(name: &str, images: &[PathBuf], settings: Vec<String>) -> Self {
        let daemon = Daemon::with_flags(&["--trust-host-ca"]);
        images.iter().for_each(|image| daemon.load(image));
        let folder = daemon.scratch(name);
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name);
        let copied = Command::new("cp").arg("-r").arg(example.join(".")).arg(&folder).status();
        assert!(copied.expect("cp").success());
        Self { daemon, folder, settings }
    }

    fn arguments<'a>(&'a self, flags: &[&'a str]) -> Vec<&'a str> {
        let settings = self.settings.iter().map(String::as_str);
        let mut words: Vec<&str> = vec!["build"];
        words.extend(flags);
        words.extend(settings);
        words.extend(self.folder.to_str());
        words
    }

    /// Builds for the first time: packages are fetched, and what stands still is begun anew.
    fn fetch(&self, tag: &str, version: &str) {
        let version = format!("VERSION={version}");
        let words = self.arguments(&["--quiet", "--build-arg", &version, "-t", tag]);
        client::fetch(|| self.daemon.dray().command(&words)).expect_success();
    }

    fn build(&self, client: &Client, tag: &str, version: &str) -> Finished {
        let version = format!("VERSION={version}");
        let words = self.arguments(&["--progress=plain", "--build-arg", &version, "-t", tag]);
        client.run(words).expect_success()
    }

    /// Changes the text of a file.
    fn change(&self, file: &str, from: &str, to: &str) {
        let path = self.folder.join(file);
        let text = fs::read_to_string(&path).expect("a file of the project");
        assert!(text.contains(from), "{from:?} is not in {file}");
        fs::write(path, text.replace(from, to)).expect("a file of the project");
    }

    fn layers(&self, image: &str) -> Vec<String> {
        let words = ["image", "inspect", "-f", "{{json .RootFS.Layers}}", image];
        serde_json::from_str(&self.daemon.dray().run(words).expect_success().stdout).expect("layers")
    }

    /// Runs a service with the port published, waits until HEALTHCHECK says that it is well; gives its address.
    fn start(&self, client: &Client, name: &str, image: &str, port: u16) -> String {
        let publish = port.to_string();
        client.run(["run", "-d", "--name", name, "-p", publish.as_str(), image]).expect_success();
        self.health(name, "healthy");
        let published = client.ok(&format!("port {name} {port}/tcp"));
        let line = published.lines().next().unwrap_or_default();
        format!("http://127.0.0.1:{}", line.rsplit(':').next().unwrap_or_default())
    }

    /// Waits for what HEALTHCHECK says of a container.
    fn health(&self, name: &str, wanted: &str) {
        let ask = || self.daemon.dray().ok(&format!("inspect -f {{{{.State.Health.Status}}}} {name}"));
        client::eventually(&format!("{name} is {wanted}"), || ask() == wanted);
    }
}

/// `--secret id=…,src=…` for the first of these files that this machine has.
fn secret(id: &str, files: &[&str]) -> Option<String> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let found = files.iter().map(|file| home.join(file)).find(|path| path.exists())?;
    Some(format!("--secret=id={id},src={}", found.display()))
}

/// `--build-arg NAME`, if the environment has it.
fn argument(name: &str) -> Option<String> {
    std::env::var_os(name).map(|_| format!("--build-arg={name}"))
}

/// Asks with curl; gives status and body.
fn curl(arguments: &[&str]) -> (u16, Value) {
    let output = Command::new("curl")
        .args(["-sS", "-m", "20", "-w", "\n%{http_code}"])
        .args(arguments)
        .output()
        .expect("curl");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    let (body, status) = text.rsplit_once('\n').expect("body and status");
    (status.parse().expect("a status"), serde_json::from_str(body).unwrap_or(Value::Null))
}

/// Posts JSON with curl.
fn post(address: &str, json: &str) -> (u16, Value) {
    curl(&["-H", "Content-Type: application/json", "-d", json, address])
}

/// Whether the step whose title holds `step` came from the cache, by a plain progress.
fn is_cached(progress: &str, step: &str) -> bool {
    let titled = |line: &&str| line.starts_with('#') && line.contains(step);
    let title = progress.lines().find(titled).unwrap_or_else(|| panic!("no step {step:?} in\n{progress}"));
    let number = title.split_whitespace().next().unwrap_or_default();
    progress.lines().any(|line| line == format!("{number} CACHED"))
}
