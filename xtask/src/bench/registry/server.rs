//! A side of the comparison: a registry server with a folder of its own.

use std::path::PathBuf;

use anyhow::Result;
use dray_harness::golang;
use dray_harness::registry::{DrayRegistry, Registry};

/// distribution, of which Debian's docker-registry is an older release.
const DISTRIBUTION: &str = "github.com/distribution/distribution/v3/cmd/registry@v3.0.0";

/// Who is measured.
pub struct Server {
    /// `dray`, `debian` or `distribution`.
    pub name: &'static str,
    process: Process,
}

enum Process {
    Dray(DrayRegistry),
    Distribution(Registry),
}

/// Builds what has to be built, while the network is still there; gives its path if that succeeds.
pub fn distribution() -> Option<PathBuf> {
    let built = std::panic::catch_unwind(|| golang::program(DISTRIBUTION)).ok();
    if built.is_none() {
        println!("{DISTRIBUTION} cannot be built here");
    }
    built
}

impl Server {
    /// All of them, Dray's first. One that cannot be built here is told and left out.
    pub fn all() -> Vec<Self> {
        let mut servers = vec![
            Self { name: "dray", process: Process::Dray(DrayRegistry::start(&[])) },
            Self { name: "debian", process: Process::Distribution(Registry::start()) },
        ];
        if let Some(program) = distribution() {
            let process = Process::Distribution(Registry::of(&program));
            servers.push(Self { name: "distribution", process });
        }
        servers
    }

    /// Its port on this machine.
    pub fn port(&self) -> u16 {
        match &self.process {
            Process::Dray(registry) => registry.port(),
            Process::Distribution(registry) => registry.port(),
        }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        match &self.process {
            Process::Dray(registry) => registry.pid(),
            Process::Distribution(registry) => registry.pid(),
        }
    }

    /// Works with many clients at once, each on a thread and a connection of its own; gives what each has to tell.
    pub fn with_clients<T: Send>(
        &self,
        clients: usize,
        work: impl Fn(&mut super::client::Client, usize) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        with_clients(self.port(), clients, work)
    }
}

/// Works with many clients of a server at once, as [`Server::with_clients`] does.
pub fn with_clients<T: Send>(
    port: u16,
    clients: usize,
    work: impl Fn(&mut super::client::Client, usize) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients)
            .map(|n| {
                let work = &work;
                scope.spawn(move || work(&mut super::client::Client::connect(port)?, n))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| anyhow::bail!("a client has panicked")))
            .collect()
    })
}
