//! The init of `docker run --init`: a small PID 1 that runs the program, passes signals on to it and reaps
//! what it leaves behind.
//!
//! ```text
//! /sbin/docker-init -- program args…      this binary, mounted read-only
//! └─ program args…                        in a process group of its own, in the foreground of a terminal
//! ```
//! A program that is PID 1 itself gets no default action for signals and orphans for children; most are not
//! written for that.

use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use dray_sys::clone::{Fork, Namespaces, clone3, exit_now};
use dray_sys::process::{exec, reset_signals, signal_fd, take_signal};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, setpgid, wait};

const SIGCHLD: i32 = 17;
/// Signals that cannot be caught, or say that the program itself has gone wrong.
const NOT_PASSED_ON: &[i32] = &[4, 5, 7, 8, 9, 11, 19];

/// Runs `docker-init [--] program args…`; the exit code is the program's.
pub fn main(args: &[OsString]) -> ExitCode {
    let program = match args.get(1) {
        Some(first) if first == "--" => &args[2..],
        _ => args.get(1..).unwrap_or_default(),
    };
    if program.is_empty() {
        eprintln!("docker-init: no program given");
        return ExitCode::from(1);
    }
    let wanted: Vec<i32> = (1..=64).filter(|signal| !NOT_PASSED_ON.contains(signal)).collect();
    let signals = match signal_fd(&wanted) {
        Ok(signals) => signals,
        Err(error) => return failed("watch signals", &error),
    };
    match clone3(Namespaces(0), None) {
        Ok(Fork::Child) => exit_now(become_program(program)),
        Ok(Fork::Parent { pid, .. }) => ExitCode::from(watch(pid, signals.as_fd())),
        Err(error) => failed("clone", &std::io::Error::other(error)),
    }
}

fn failed(what: &str, error: &std::io::Error) -> ExitCode {
    eprintln!("docker-init: {what}: {error}");
    ExitCode::from(1)
}

/// In the child: becomes the program, or says why it cannot.
fn become_program(program: &[OsString]) -> i32 {
    // Both fail where there is nothing to do: in a session without a terminal.
    let _ = setpgid(None, None);
    let _ = rustix::termios::tcsetpgrp(rustix::stdio::stdin(), rustix::process::getpid());
    reset_signals();
    let text = |word: &OsString| CString::new(word.as_bytes()).unwrap_or_default();
    let argv: Vec<CString> = program.iter().map(text).collect();
    let env: Vec<CString> = std::env::vars_os()
        .filter_map(|(key, value)| CString::new([key.as_bytes(), b"=", value.as_bytes()].concat()).ok())
        .collect();
    let mut last = std::io::Error::from_raw_os_error(2);
    for path in candidates(&program[0]) {
        let error = exec(&path, &argv, &env);
        if error.kind() != std::io::ErrorKind::NotFound {
            last = error;
            break;
        }
    }
    let missing = last.kind() == std::io::ErrorKind::NotFound;
    let why = if missing { "executable file not found in $PATH".to_owned() } else { last.to_string() };
    eprintln!("docker-init: exec: {:?}: {why}", program[0]);
    if missing { 127 } else { 126 }
}

/// Where a program may be: as named when there is a slash in the name, else in `PATH`.
fn candidates(name: &OsString) -> Vec<CString> {
    if name.as_bytes().contains(&b'/') {
        return CString::new(name.as_bytes()).into_iter().collect();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .filter_map(|folder| CString::new(folder.join(name).as_os_str().as_bytes()).ok())
        .collect()
}

/// Passes signals on and reaps until the program ends.
fn watch(program: i32, signals: BorrowedFd<'_>) -> u8 {
    loop {
        while let Some(signal) = take_signal(signals) {
            if signal != SIGCHLD {
                pass_on(program, signal);
            }
        }
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if pid.as_raw_nonzero().get() == program {
                let code = match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => code,
                    (None, Some(signal)) => 128 + signal,
                    (None, None) => continue,
                };
                return u8::try_from(code).unwrap_or(u8::MAX);
            }
        }
        // An interrupted wait is simply begun again.
        let _ = poll(&mut [PollFd::new(&signals, PollFlags::IN)], None);
    }
}

fn pass_on(program: i32, signal: i32) {
    if let (Some(pid), Some(signal)) = (Pid::from_raw(program), Signal::from_named_raw(signal)) {
        // A program that has just ended is reaped next.
        let _ = kill_process(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_looked_for_in_path() {
        assert_eq!(candidates(&"/bin/sh".into()), [c"/bin/sh".to_owned()]);
        assert!(candidates(&"sh".into()).iter().any(|path| path.as_bytes().ends_with(b"/sh")));
        assert!(candidates(&"sh".into()).len() > 1);
    }
}
