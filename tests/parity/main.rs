//! The same scenario with Docker's CLI against Debian's dockerd and against Dray: outputs, error texts and exit
//! codes are compared after ids, times and addresses are replaced by what they stand for.
//!
//! The reference proves the scenario: it runs there first, and a line that dockerd does not answer as the
//! scenario expects fails before Dray is asked.

mod normalise;
mod scenarios;

use dray_harness::peer::Dockerd;
use dray_harness::{Client, Daemon, fixture};
use normalise::normalise;

/// What one line of a scenario gave.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    line: String,
    code: i32,
    stdout: String,
    stderr: String,
}

fn play(client: &Client, lines: &[&str]) -> Vec<Outcome> {
    lines
        .iter()
        .map(|line| {
            let done = client.run(split(line));
            Outcome {
                line: (*line).to_owned(),
                code: done.code,
                stdout: normalise(&done.stdout),
                stderr: normalise(&done.stderr),
            }
        })
        .collect()
}

/// Splits at blanks outside single quotes.
fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (n, part) in line.split('\'').enumerate() {
        if n % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

#[test]
fn dray_answers_as_docker_does() {
    let peer = Dockerd::start();
    peer.load(&fixture::busybox());
    let mut differences = Vec::new();
    for (name, lines) in scenarios::ALL {
        let expected = play(&peer.client(), lines);
        let daemon = Daemon::start();
        let got = play(&daemon.docker(), lines);
        for (expected, got) in expected.iter().zip(&got) {
            if expected != got {
                differences.push(format!(
                    "{name}: docker {}\n  Docker: {expected:?}\n  Dray:   {got:?}",
                    expected.line
                ));
            }
        }
    }
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n"));
}
