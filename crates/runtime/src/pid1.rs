//! The init of `docker run --init`: a small PID 1 that runs the program, passes signals on to it and reaps
//! what it leaves behind.
//!
//! ```text
//! /sbin/docker-init -- program args…      this binary, mounted read-only; all signals blocked and read
//! └─ docker-init --run program args…      unblocks them, becomes the program:
//!    program args…                        in a process group of its own, in the foreground of a terminal
//! ```
//! A program that is PID 1 itself gets no default action for signals and orphans for children; most are not
//! written for that.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use dray_sys::process::{reset_signals, signal_fd, take_signal};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};

const SIGCHLD: i32 = 17;
/// Signals that cannot be caught, or say that the program itself has gone wrong.
const NOT_PASSED_ON: &[i32] = &[4, 5, 7, 8, 9, 11, 19];

/// Runs `docker-init [--] program args…`; the exit code is the program's.
pub fn main(args: &[OsString]) -> ExitCode {
    let (stage, program) = match args.get(1).and_then(|word| word.to_str()) {
        Some(word @ ("--" | "--run")) => (word, &args[2..]),
        _ => ("--", args.get(1..).unwrap_or_default()),
    };
    if program.is_empty() {
        eprintln!("docker-init: no program given");
        return ExitCode::from(1);
    }
    if stage == "--run" {
        return become_program(program);
    }
    let wanted: Vec<i32> = (1..=64).filter(|signal| !NOT_PASSED_ON.contains(signal)).collect();
    let signals = match signal_fd(&wanted) {
        Ok(signals) => signals,
        Err(error) => return failed("watch signals", &error),
    };
    match Command::new(&args[0]).arg("--run").args(program).process_group(0).spawn() {
        Ok(child) => {
            let pid = i32::try_from(child.id()).unwrap_or(i32::MAX);
            if let Some(group) = Pid::from_raw(pid) {
                // Fails in a session without a terminal, where there is nothing to do.
                let _ = rustix::termios::tcsetpgrp(rustix::stdio::stdin(), group);
            }
            ExitCode::from(watch(pid, signals.as_fd()))
        }
        Err(error) => failed("start the program", &error),
    }
}

/// Becomes the program, with signals as a new program expects them, or says why it cannot.
fn become_program(program: &[OsString]) -> ExitCode {
    reset_signals();
    let error = Command::new(&program[0]).args(&program[1..]).exec();
    let missing = error.kind() == std::io::ErrorKind::NotFound;
    let why = if missing { "executable file not found in $PATH".to_owned() } else { error.to_string() };
    eprintln!("docker-init: exec: {:?}: {why}", program[0]);
    ExitCode::from(if missing { 127 } else { 126 })
}

fn failed(what: &str, error: &std::io::Error) -> ExitCode {
    eprintln!("docker-init: {what}: {error}");
    ExitCode::from(1)
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
