//! A project in a folder of its own, at a daemon.

use std::fs;
use std::process::Command;

use dray_harness::Daemon;
use dray_harness::client::{Client, Finished, finish};
use tempfile::TempDir;

/// A project whose Compose file the test writes.
pub struct Project {
    pub folder: TempDir,
    pub client: Client,
    /// Beside the client's.
    variables: &'static [(&'static str, &'static str)],
}

impl Project {
    pub fn new(daemon: &Daemon) -> Self {
        Self::with_variables(daemon, &[])
    }

    pub fn with_variables(daemon: &Daemon, variables: &'static [(&'static str, &'static str)]) -> Self {
        let folder = TempDir::with_prefix("dray-project-").expect("a folder");
        Project { folder, client: daemon.dray(), variables }
    }

    pub fn write(&self, text: &str) {
        fs::write(self.folder.path().join("compose.yaml"), text).expect("compose.yaml");
    }

    /// `dray compose` with these arguments, in the project's folder.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.client.command([&["compose"], args].concat());
        command.current_dir(self.folder.path()).env("PWD", self.folder.path());
        command.envs(self.variables.iter().copied());
        command
    }

    pub fn run(&self, args: &[&str]) -> Finished {
        finish(self.command(args), b"")
    }

    pub fn ok(&self, args: &[&str]) -> String {
        self.run(args).expect_success().stdout
    }
}
