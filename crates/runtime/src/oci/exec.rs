//! `exec`: a further program in a container.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use dray_spec::runtime::{Capabilities, Process, Status};

use super::args::{Args, Flag, switch, value};
use super::create::{send_console, write_pid_file};
use super::store::Container;
use super::{Global, OciError, foreground, io_error};
use crate::exec::{Exec, exec as run_inside};
use crate::init::launch::kill_and_reap;

const FLAGS: [Flag; 17] = [
    value("console-socket", ""),
    value("pidfd-socket", ""),
    value("cwd", ""),
    value("env", "e"),
    switch("tty", "t"),
    value("user", "u"),
    value("additional-gids", "g"),
    value("process", "p"),
    switch("detach", "d"),
    value("pid-file", ""),
    value("process-label", ""),
    value("apparmor", ""),
    switch("no-new-privs", ""),
    value("cap", "c"),
    value("preserve-fds", ""),
    value("cgroup", ""),
    switch("ignore-paused", ""),
];

/// `exec <id> <command>`, or `exec --process file <id>`
pub fn exec(global: &Global, words: &[String]) -> Result<u8, OciError> {
    crate::sealed::ensure(&global.argv)?;
    let args = Args::parse(words, &FLAGS, true)?;
    let container = Container::load(global, args.id()?)?;
    let wrong = |text: &str| OciError::WrongState { text: text.to_owned() };
    match container.status() {
        Status::Stopped => return Err(wrong("cannot exec in a stopped container")),
        Status::Paused if !args.is_set("ignore-paused") => {
            return Err(wrong("cannot exec in a paused container (use --ignore-paused to override)"));
        }
        _ => {}
    }
    let process = process(&container, &args)?;
    let detach = args.is_set("detach");
    let console = console(&args, &process, detach)?;
    let filter = fs::read(container.dir.join("seccomp.bpf")).unwrap_or_default();
    let init = container.init()?;
    let cgroup = container.cgroup()?;
    let _ = dray_sys::process::become_subreaper();
    let signals = if detach { None } else { Some(foreground::signals()?) };
    let executed = run_inside(Exec {
        init: init.as_fd(),
        user_namespace: container.record.user_namespace,
        cgroup: cgroup.as_ref(),
        process: &process,
        filter: &filter,
        tty: process.terminal,
        console_size: process.console_size.map(|size| (size.height, size.width)),
        streams: None,
        preserve_fds: args.number("preserve-fds")?.unwrap_or(0),
    })?;
    let told = hand_out(&args, console, &executed);
    if let Err(error) = told {
        kill_and_reap(&executed.pidfd);
        return Err(error);
    }
    match signals {
        Some(signals) => {
            let console = executed.console.filter(|_| args.get("console-socket").is_none());
            foreground::attend(&signals, executed.pidfd.as_fd(), executed.pid, console)
        }
        None => Ok(0),
    }
}

fn hand_out(
    args: &Args,
    console: Option<UnixStream>,
    executed: &crate::exec::Executed,
) -> Result<(), OciError> {
    if let (Some(socket), Some(master)) = (&console, &executed.console) {
        send_console(socket, master).map_err(io_error("send the terminal to", "console socket"))?;
    }
    match args.get("pid-file").filter(|path| !path.is_empty()) {
        Some(path) => write_pid_file(Path::new(path), executed.pid),
        None => Ok(()),
    }
}

fn console(args: &Args, process: &Process, detach: bool) -> Result<Option<UnixStream>, OciError> {
    match args.get("console-socket").filter(|path| !path.is_empty()) {
        Some(path) => Ok(Some(UnixStream::connect(path).map_err(io_error("connect to", path))?)),
        None if process.terminal && detach => {
            let text = "cannot allocate tty if runc will detach without setting console socket";
            Err(OciError::Usage { text: text.to_owned() })
        }
        None => Ok(None),
    }
}

/// The container's process with what the flags change, or the one of a file.
fn process(container: &Container, args: &Args) -> Result<Process, OciError> {
    if let Some(path) = args.get("process") {
        let bytes = fs::read(path).map_err(io_error("read", path))?;
        return serde_json::from_slice(&bytes).map_err(|source| OciError::Json { path: path.into(), source });
    }
    let mut process = container.spec()?.process.unwrap_or_default();
    process.args = args.rest[1..].to_vec();
    if process.args.is_empty() {
        return Err(OciError::Usage { text: "process args cannot be empty".to_owned() });
    }
    process.terminal = args.is_set("tty");
    if let Some(cwd) = args.get("cwd") {
        process.cwd = cwd.into();
    }
    process.env.extend(args.all("env").map(str::to_owned));
    if let Some(user) = args.get("user") {
        process.user.username = Some(user.to_owned());
    }
    for gid in args.all("additional-gids") {
        let bad = |_| OciError::Usage { text: format!("invalid group id {gid:?}") };
        process.user.additional_gids.push(gid.parse().map_err(bad)?);
    }
    if args.is_set("no-new-privs") {
        process.no_new_privileges = true;
    }
    if let Some(profile) = args.get("apparmor") {
        process.apparmor_profile = Some(profile.to_owned());
    }
    if let Some(label) = args.get("process-label") {
        process.selinux_label = Some(label.to_owned());
    }
    let sets = process.capabilities.get_or_insert_with(Capabilities::default);
    for cap in args.all("cap") {
        for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
            if !set.iter().any(|held| held == cap) {
                set.push(cap.to_owned());
            }
        }
    }
    Ok(process)
}
