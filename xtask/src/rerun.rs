//! Tests that failed beside others, run once more alone.
//!
//! End-to-end tests share a machine, its kernel and its network with many others. One that fails beside them and
//! passes alone says something all the same: of a race in Dray, in the test, or of a machine that stood still. So it is
//! named at the end of the run, with what it printed above; but it alone does not throw the whole run away.

use std::io::{BufRead, BufReader};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::command::{self, cargo};

/// More failures than this are no accident: nothing is run again.
const MOST: usize = 3;
/// How long the last lines of tests that have ended are waited for.
const QUIET: Duration = Duration::from_secs(5);

/// A test that failed, and what tells cargo its suite.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Failure {
    suite: Vec<String>,
    name: String,
}

/// Runs `cargo test …`; of what fails a few tests are run again, alone, with `prepare` done to their commands too.
///
/// # Errors
/// If the tests cannot be run, too many fail, or one fails twice.
pub fn run(mut command: Command, prepare: impl Fn(&mut Command)) -> Result<()> {
    prepare(&mut command);
    let line = format!("{command:?}");
    let (reader, writer) = std::io::pipe().context("a pipe for what the tests print")?;
    command.stdout(writer.try_clone().context("a pipe for what the tests print")?).stderr(writer);
    let mut child = command.spawn().with_context(|| line.clone())?;
    // Its ends of the pipe go, so that reading ends with the tests.
    drop(command);
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for printed in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
            let printed = String::from_utf8_lossy(&printed).into_owned();
            println!("{printed}");
            if tell.send(printed).is_err() {
                return;
            }
        }
    });
    let status = child.wait().with_context(|| line.clone())?;
    let mut seen = Seen::default();
    // A process that a test has left may hold the pipe open: it is found afterwards, and not waited for.
    while let Ok(printed) = told.recv_timeout(QUIET) {
        seen.line(&printed);
    }
    if status.success() {
        return Ok(());
    }
    let failures = seen.failures();
    if failures.is_empty() || failures.len() > MOST || !seen.unnamed.is_empty() {
        bail!("{line} ended with {status}");
    }
    again(&failures, prepare)
}

fn again(failures: &[Failure], prepare: impl Fn(&mut Command)) -> Result<()> {
    for failure in failures {
        println!("\n{} failed beside other tests; it is run again, alone", failure.name);
        let mut command = cargo(&["test"]);
        command.args(&failure.suite).args(["--", "--exact", &failure.name]);
        prepare(&mut command);
        command::run(&mut command).with_context(|| format!("{} failed twice", failure.name))?;
    }
    println!();
    for Failure { name, .. } in failures {
        println!(
            "UNSTABLE: {name} failed beside other tests (its output is above) and passed alone: look at it"
        );
    }
    Ok(())
}

/// What has been read of the tests' output.
#[derive(Debug, Default)]
struct Seen {
    /// Of the suite that runs.
    failed: Vec<String>,
    /// Of suites that have ended.
    failures: Vec<Failure>,
    /// Suites that failed without a test's failing: they were not compiled, or were killed.
    unnamed: Vec<String>,
}

impl Seen {
    fn line(&mut self, line: &str) {
        let test = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"));
        if let Some(name) = test {
            self.failed.push(name.to_owned());
        }
        let hint = line.strip_prefix("error: test failed, to rerun pass `");
        if let Some(hint) = hint.and_then(|hint| hint.strip_suffix('`')) {
            let suite: Vec<String> = hint.split_whitespace().map(str::to_owned).collect();
            if self.failed.is_empty() {
                self.unnamed.push(hint.to_owned());
            }
            let failed = self.failed.drain(..);
            self.failures.extend(failed.map(|name| Failure { suite: suite.clone(), name }));
        } else if line.starts_with("error: doctest failed") || line.starts_with("error: could not compile") {
            self.unnamed.push(line.to_owned());
        }
    }

    fn failures(&self) -> Vec<Failure> {
        self.failures.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &str) -> Seen {
        let mut seen = Seen::default();
        text.lines().for_each(|line| seen.line(line));
        seen
    }

    #[test]
    fn each_failure_has_its_suite() {
        let seen = seen(
            "     Running e2e/main.rs (target/debug/deps/e2e-1)\n\
             test volume::clone::a ... FAILED\n\
             test volume::clone::b ... ok\n\
             test result: FAILED. 1 passed; 1 failed;\n\
             error: test failed, to rerun pass `-p dray-harness --test e2e`\n\
             test exec ... FAILED\n\
             error: test failed, to rerun pass `-p dray-image --lib`\n\
             error: 2 targets failed:\n",
        );
        let failures: Vec<(String, String)> =
            seen.failures().into_iter().map(|failure| (failure.suite.join(" "), failure.name)).collect();
        assert_eq!(
            failures,
            [
                ("-p dray-harness --test e2e".into(), "volume::clone::a".into()),
                ("-p dray-image --lib".into(), "exec".into()),
            ]
        );
        assert!(seen.unnamed.is_empty());
    }

    #[test]
    fn a_suite_that_was_killed_names_no_test() {
        let killed = seen("test a ... ok\nerror: test failed, to rerun pass `-p dray-harness --test e2e`\n");
        assert_eq!(killed.unnamed, ["-p dray-harness --test e2e"]);
        assert_eq!(seen("error: could not compile `dray-image` (lib test)").unnamed.len(), 1);
    }

    #[test]
    fn a_test_that_fails_twice_fails_the_run() {
        let script = "echo 'test no::such::test ... FAILED'; \
                      echo 'error: test failed, to rerun pass `--no-such-flag`' >&2; exit 101";
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let error = run(command, |_| {}).unwrap_err();
        assert_eq!(error.to_string(), "no::such::test failed twice");
        run(Command::new("true"), |_| {}).unwrap();
        let many = "for n in 1 2 3 4; do echo \"test t$n ... FAILED\"; done; \
                    echo 'error: test failed, to rerun pass `-p x`'; exit 101";
        let mut command = Command::new("sh");
        command.args(["-c", many]);
        let error = run(command, |_| {}).unwrap_err();
        assert!(error.to_string().contains("exit status: 101"), "{error}");
    }
}
