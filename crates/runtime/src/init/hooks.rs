//! Hooks: programs of the configuration run at points of a container's life, the state on their stdin.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use dray_spec::runtime::{Hook, State};

use super::At;
use crate::error::{StartError, Step};

/// Runs hooks in order; the first that fails ends it.
pub fn run(hooks: &[Hook], state: &State) -> Result<(), StartError> {
    hooks.iter().try_for_each(|hook| run_one(hook, state))
}

fn run_one(hook: &Hook, state: &State) -> Result<(), StartError> {
    use std::os::unix::process::CommandExt;
    let subject = hook.path.display().to_string();
    let mut command = Command::new(&hook.path);
    if let Some((name, args)) = hook.args.split_first() {
        command.arg0(name).args(args);
    }
    command.env_clear().envs(hook.env.iter().filter_map(|variable| variable.split_once('=')));
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().at(Step::Hook, &subject)?;
    if let Some(mut stdin) = child.stdin.take() {
        let text = serde_json::to_vec(state).unwrap_or_default();
        // A hook need not read its state.
        let _ = stdin.write_all(&text);
    }
    let deadline = hook.timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds.into()));
    let status = loop {
        match deadline {
            None => break child.wait().at(Step::Hook, &subject)?,
            Some(deadline) => {
                if let Some(status) = child.try_wait().at(Step::Hook, &subject)? {
                    break status;
                }
                if Instant::now() > deadline {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(StartError::because(Step::Hook, subject, "timed out"));
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    };
    if status.success() {
        return Ok(());
    }
    let mut said = String::new();
    if let Some(stderr) = child.stderr.take() {
        let _ = stderr.take(4096).read_to_string(&mut said);
    }
    Err(StartError::because(Step::Hook, subject, format!("{status}: {}", said.trim())))
}
