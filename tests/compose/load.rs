//! Requests that come in all the time, each by a connection of its own: not one may fail while what answers them
//! changes.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use dray_harness::http;

/// Clients that ask until they are told to stop.
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<(usize, Vec<String>)>>,
}

impl Load {
    /// One client for each of these hosts.
    pub fn start(hosts: &[&'static str], port: u16, path: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let began = Instant::now();
        let client = |host: &&'static str| {
            let (stop, host) = (Arc::clone(&stop), *host);
            std::thread::spawn(move || {
                let (mut good, mut failures) = (0, Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    let asked = began.elapsed();
                    let failure = match http::get((host, port), path) {
                        Ok(answer) if answer.status == 200 => {
                            good += 1;
                            continue;
                        }
                        Ok(answer) => format!("{}: {}", answer.status, answer.text()),
                        Err(error) => format!("{error}\n{}", on_the_way(port)),
                    };
                    failures.push(format!("{host} at {asked:.1?}, {:.1?}: {failure}", began.elapsed()));
                }
                (good, failures)
            })
        };
        let clients = hosts.iter().map(client).collect();
        Load { stop, clients }
    }

    /// Ends all, none of which may have seen a failure.
    pub fn expect_no_failure(self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            let (good, failures) = client.join().expect("a client");
            assert!(good > 0 && failures.is_empty(), "{good} good, failed:\n{}", failures.join("\n"));
        }
    }
}

/// Where connections to a port are held up: what the kernel has of those without an answer, of neighbours and bridges.
fn on_the_way(port: u16) -> String {
    let tracked = std::fs::read_to_string("/proc/net/nf_conntrack").unwrap_or_default();
    let asked = format!("dport={port} ");
    let waiting = tracked.lines().filter(|line| line.contains(&asked) && !line.contains("TIME_WAIT"));
    let shown = |words: &[&str]| {
        let output = Command::new(words[0]).args(&words[1..]).output();
        output.map_or_else(|e| e.to_string(), |o| String::from_utf8_lossy(&o.stdout).into_owned())
    };
    let rules = shown(&["nft", "list", "ruleset"]);
    let slots = rules.lines().filter(|line| line.contains(&format!(" {port} ")));
    [
        waiting.map(str::trim).collect::<Vec<_>>().join("\n"),
        shown(&["ip", "-4", "neigh"]),
        shown(&["bridge", "fdb", "show"]),
        shown(&["bridge", "link"]),
        slots.map(str::trim).collect::<Vec<_>>().join("\n"),
    ]
    .join("\n")
}
