//! Parity with Docker's own client: the same command lines run against the same fake daemon, once with `docker`, once
//! with this crate's client called `docker`; standard output, standard error and exit code must be the same, byte for
//! byte.
//!
//! This program is its own client: with `DRAY_PARITY_CLIENT` set it is nothing but `dray_cli::main`.
#![allow(missing_docs)]

mod answers;
mod cases;
mod server;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

const AS_CLIENT: &str = "DRAY_PARITY_CLIENT";

fn main() -> ExitCode {
    if std::env::var_os(AS_CLIENT).is_some() {
        return dray_cli::main(std::env::args_os().collect(), None);
    }
    let Some(docker) =
        ["/usr/local/bin/docker", "/usr/bin/docker"].into_iter().find(|p| Path::new(p).exists())
    else {
        eprintln!("parity needs Docker's client: install docker.io");
        return ExitCode::FAILURE;
    };
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let socket = dir.path().join("engine.sock");
    server::start(&socket, answers::all());
    let home = dir.path().join("home");
    std::fs::create_dir(&home).expect("a home");
    make_plugin(&home);
    let run = Runner { docker, socket: &socket, home: &home };
    let mut failed = 0;
    let mut count = 0;
    for case in cases::all() {
        if !wanted.is_empty() && !wanted.iter().any(|w| case.line.contains(w.as_str())) {
            continue;
        }
        count += 1;
        // Ages are told in seconds: a pair that straddles the turn of one is asked again, a real difference stays.
        failed += usize::from(!(0..3).any(|_| run.same(&case)));
    }
    println!("parity: {} of {count} command lines are the same", count - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A client plugin that says how it was called.
fn make_plugin(home: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = home.join(".docker/cli-plugins");
    std::fs::create_dir_all(&dir).expect("a folder of plugins");
    let path = dir.join("docker-hello");
    let script = "#!/bin/sh\nif [ \"$1\" = docker-cli-plugin-metadata ]; then echo '{\"SchemaVersion\":\"0.1.0\",\"Vendor\":\"x\"}'; exit; fi\necho \"$@\"; exit 6\n";
    std::fs::write(&path, script).expect("a plugin");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("an executable");
}

struct Runner<'a> {
    docker: &'a str,
    socket: &'a Path,
    home: &'a Path,
}

#[derive(PartialEq, Eq)]
struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Runner<'_> {
    fn same(&self, case: &cases::Case) -> bool {
        let theirs = self.outcome(case, Command::new(self.docker));
        let mut own = Command::new(std::env::current_exe().expect("own path"));
        own.arg0("docker").env(AS_CLIENT, "1");
        let ours = self.outcome(case, own);
        if theirs == ours {
            return true;
        }
        println!("--- docker {}", case.line);
        for (what, a, b) in
            [("stdout", &theirs.stdout, &ours.stdout), ("stderr", &theirs.stderr, &ours.stderr)]
        {
            if a != b {
                println!("{what} of docker:\n{a}\n{what} of dray:\n{b}");
            }
        }
        if theirs.code != ours.code {
            println!("exit code of docker: {:?}, of dray: {:?}", theirs.code, ours.code);
        }
        false
    }

    fn outcome(&self, case: &cases::Case, mut command: Command) -> Outcome {
        let env: BTreeMap<&str, String> = BTreeMap::from([
            ("HOME", self.home.display().to_string()),
            ("TZ", "UTC".into()),
            ("DOCKER_HOST", format!("unix://{}", self.socket.display())),
            ("DOCKER_CLI_HINTS", "false".into()),
        ]);
        command.args(cases::words(case.line)).env_remove("DOCKER_CONFIG").envs(env);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("start the client");
        let mut stdin = child.stdin.take().expect("standard input");
        // A client that does not read its input closes it.
        let _ = stdin.write_all(case.stdin.as_bytes());
        drop(stdin);
        let out = child.wait_with_output().expect("the client's end");
        let text = |bytes: &[u8]| (case.normalise)(&String::from_utf8_lossy(bytes));
        Outcome { code: out.status.code(), stdout: text(&out.stdout), stderr: text(&out.stderr) }
    }
}
