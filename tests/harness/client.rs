//! A command line at a daemon's socket: Dray's or Docker's own, each run to its end with what it printed.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long any single command may take before the test is told that it hangs.
const COMMAND_LIMIT: Duration = Duration::from_secs(120);

/// One of the two clients, bound to a socket and to a configuration folder of its own.
#[derive(Clone, Debug)]
pub struct Client {
    program: PathBuf,
    host: String,
    config: PathBuf,
}

/// What a command did.
#[derive(Debug)]
pub struct Finished {
    /// The command line, for messages.
    pub line: String,
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output, lossily decoded.
    pub stdout: String,
    /// Standard error, lossily decoded.
    pub stderr: String,
}

impl Client {
    /// A client of `host` (a `unix://` or `tcp://` address).
    pub fn new(program: impl Into<PathBuf>, host: impl Into<String>, config: &Path) -> Self {
        Self { program: program.into(), host: host.into(), config: config.to_path_buf() }
    }

    /// The command, ready to be spawned by hand (interactive tests).
    pub fn command<I, S>(&self, args: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .env("DOCKER_HOST", &self.host)
            .env("DOCKER_CONFIG", &self.config)
            .env("DOCKER_BUILDKIT", "0")
            .env("DOCKER_CLI_HINTS", "false")
            .env_remove("DOCKER_CONTEXT")
            .env_remove("DOCKER_TLS_VERIFY")
            .env("NO_COLOR", "1");
        command
    }

    /// Runs a command line to its end with empty standard input.
    pub fn run<I, S>(&self, args: I) -> Finished
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.run_with_input(args, b"")
    }

    /// Runs a command line to its end, feeding `input` to it.
    pub fn run_with_input<I, S>(&self, args: I, input: &[u8]) -> Finished
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        finish(self.command(args), input)
    }

    /// Runs a line split at blanks: for arguments without blanks of their own.
    pub fn sh(&self, line: &str) -> Finished {
        self.run(line.split_whitespace())
    }

    /// As [`Client::sh`], failing the test unless the command succeeds; gives its trimmed standard output.
    #[track_caller]
    pub fn ok(&self, line: &str) -> String {
        self.sh(line).expect_success().stdout.trim_end().to_owned()
    }

    /// Starts a command whose end the test does not wait for at once.
    pub fn spawn<I, S>(&self, args: I) -> Child
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", self.program.display()))
    }

    /// The name of the program, for messages: `dray` or `docker`.
    pub fn name(&self) -> String {
        self.program.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

impl Finished {
    /// Both streams, for looking into either.
    pub fn output(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Fails the test unless the command ended with 0.
    #[track_caller]
    pub fn expect_success(self) -> Self {
        self.expect_code(0)
    }

    /// Fails the test unless the command ended with `code`.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert!(
            self.code == code,
            "`{}` ended with {} instead of {code}\n--- stdout\n{}\n--- stderr\n{}",
            self.line,
            self.code,
            self.stdout,
            self.stderr
        );
        self
    }

    /// Fails the test unless standard error holds `text`.
    #[track_caller]
    pub fn expect_error(self, text: &str) -> Self {
        assert!(
            self.stderr.contains(text),
            "`{}` did not say {text:?}\n--- stderr\n{}\n--- stdout\n{}",
            self.line,
            self.stderr,
            self.stdout
        );
        self
    }

    /// Fails the test unless standard output holds `text`.
    #[track_caller]
    pub fn expect_output(self, text: &str) -> Self {
        assert!(
            self.stdout.contains(text),
            "`{}` did not print {text:?}\n--- stdout\n{}\n--- stderr\n{}",
            self.line,
            self.stdout,
            self.stderr
        );
        self
    }
}

/// Runs a prepared command to its end within [`COMMAND_LIMIT`].
pub fn finish(command: Command, input: &[u8]) -> Finished {
    finish_within(command, input, COMMAND_LIMIT)
}

/// Runs a prepared command to its end, for as long as `limit`: what fetches packages may have to wait for them.
pub fn finish_within(command: Command, input: &[u8], limit: Duration) -> Finished {
    match ended_within(command, input, limit) {
        Ok(finished) => finished,
        Err(said) => panic!("still running after {limit:?}: {said}"),
    }
}

/// Runs a command that fetches packages. The network stands still now and then, and apt waits with it: what takes too
/// long is ended and begun again, four times at the most.
pub fn fetch(command: impl Fn() -> Command) -> Finished {
    let limit = Duration::from_secs(150);
    let mut said = String::new();
    for _ in 0..4 {
        match ended_within(command(), b"", limit) {
            Ok(finished) => return finished,
            Err(text) => said = text,
        }
    }
    panic!("four times not within {limit:?}: {said}")
}

/// Runs a prepared command to its end; what takes longer than `limit` is ended, and what it has said is the error.
///
/// # Errors
/// The command line and its output, if it was ended.
fn ended_within(mut command: Command, input: &[u8], limit: Duration) -> Result<Finished, String> {
    let line = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{line}: {error}"));
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || {
        // The program may end without reading it all; that is its right.
        let _ = stdin.write_all(&input);
    });
    let stdout = drain(child.stdout.take().expect("piped"));
    let stderr = drain(child.stderr.take().expect("piped"));
    let status = wait_within(&mut child, limit);
    let _ = feeder.join();
    let stdout = stdout.join().expect("reader");
    let stderr = stderr.join().expect("reader");
    match status {
        Some(status) => Ok(Finished { line, code: status.code().unwrap_or(-1), stdout, stderr }),
        None => Err(format!("{line}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")),
    }
}

fn drain(mut pipe: impl std::io::Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Waits for a child; kills it when `limit` is over and gives `None`.
pub fn wait_within(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    let mut pause = Duration::from_micros(500);
    loop {
        if let Some(status) = child.try_wait().expect("wait for a child") {
            return Some(status);
        }
        if start.elapsed() > limit {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Polls `condition` until it holds; fails the test with `what` after 30 seconds.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(30), "not within 30 s: {what}");
        std::thread::sleep(Duration::from_millis(25));
    }
}
