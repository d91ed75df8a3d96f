//! Commands on an existing container: start, state, kill, delete, list, ps, pause, resume.

use std::fs;
use std::time::{Duration, Instant};

use dray_spec::runtime::Status;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::args::{Args, switch, value};
use super::create::{HookPoint, remove_cgroup, run_hooks};
use super::store::{self, Container};
use super::{Global, OciError, io_error, print};

const SIGKILL: i32 = 9;

/// How long a killed init may take to end.
const KILL_TIME: Duration = Duration::from_secs(10);

fn only_id(global: &Global, words: &[String]) -> Result<Container, OciError> {
    let args = Args::parse(words, &[], false)?;
    Container::load(global, args.id()?)
}

/// `start <id>`
pub fn start(global: &Global, words: &[String]) -> Result<u8, OciError> {
    start_container(&only_id(global, words)?).map(|()| 0)
}

/// Lets the program run.
pub fn start_container(container: &Container) -> Result<(), OciError> {
    let wrong = |text: &str| OciError::WrongState { text: text.to_owned() };
    match container.status() {
        Status::Created => {}
        Status::Stopped => return Err(wrong("cannot start a container that has stopped")),
        Status::Running | Status::Paused => return Err(wrong("cannot start an already running container")),
        Status::Creating => return Err(wrong("cannot start a container in the creating state")),
    }
    let path = container.fifo();
    let fifo = rustix::fs::open(&path, OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| match errno {
            Errno::NXIO => wrong("cannot start a container that has stopped"),
            errno => io_error("open", &path)(errno.into()),
        })?;
    rustix::io::write(&fifo, b"s").map_err(|errno| io_error("write", &path)(errno.into()))?;
    fs::remove_file(&path).map_err(io_error("remove", &path))?;
    run_hooks(container, HookPoint::Poststart, Status::Running)
}

/// `state <id>`
pub fn state(global: &Global, words: &[String]) -> Result<u8, OciError> {
    let container = only_id(global, words)?;
    let mut document = serde_json::json!(container.state(container.status()));
    document["rootfs"] = serde_json::json!(container.record.rootfs);
    document["created"] = serde_json::json!(container.record.created);
    document["owner"] = serde_json::json!("");
    Ok(print(&format!("{document:#}\n")))
}

/// `kill [--all] <id> [signal]`
pub fn kill(global: &Global, words: &[String]) -> Result<u8, OciError> {
    let args = Args::parse(words, &[switch("all", "a")], false)?;
    let container = Container::load(global, args.id()?)?;
    let signal = store::signal(args.rest.get(1).map_or("TERM", String::as_str))?;
    if args.is_set("all") {
        if let Some(cgroup) = container.cgroup()? {
            cgroup.signal_all(signal)?;
        }
        return Ok(0);
    }
    container.signal(signal).map(|()| 0)
}

/// `delete [--force] <id>`
pub fn delete(global: &Global, words: &[String]) -> Result<u8, OciError> {
    let args = Args::parse(words, &[switch("force", "f")], false)?;
    let force = args.is_set("force");
    let container = match Container::load(global, args.id()?) {
        Err(OciError::Missing { .. }) if force => {
            // A create that was killed leaves no record.
            let _ = fs::remove_dir_all(global.root.join(args.id()?));
            return Ok(0);
        }
        other => other?,
    };
    match container.status() {
        Status::Stopped => {}
        Status::Created => end(&container)?,
        _ if force => end(&container)?,
        status => {
            let text = format!(
                "cannot delete container {} that is not stopped: {}",
                container.record.id,
                status.as_str()
            );
            return Err(OciError::WrongState { text });
        }
    }
    remove(&container).map(|()| 0)
}

fn end(container: &Container) -> Result<(), OciError> {
    match container.signal(SIGKILL) {
        Err(OciError::NotRunning) => return Ok(()),
        other => other?,
    }
    if let Some(cgroup) = container.cgroup()?
        && cgroup.is_frozen().unwrap_or(false)
    {
        cgroup.thaw()?;
    }
    let deadline = Instant::now() + KILL_TIME;
    while container.status() != Status::Stopped {
        if Instant::now() > deadline {
            let text = format!("container {} could not be killed", container.record.id);
            return Err(OciError::WrongState { text });
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Removes what is left of a stopped container.
pub fn remove(container: &Container) -> Result<(), OciError> {
    remove_cgroup(container.cgroup()?)?;
    let hooks = run_hooks(container, HookPoint::Poststop, Status::Stopped);
    fs::remove_dir_all(&container.dir).map_err(io_error("remove", &container.dir))?;
    if let Err(error) = hooks {
        // The container is gone; a hook that failed is told of and changes nothing (runtime.md, Lifecycle).
        eprintln!("warning: {error}");
    }
    Ok(())
}

/// `list [--format table|json] [--quiet]`
pub fn list(global: &Global, words: &[String]) -> Result<u8, OciError> {
    let args = Args::parse(words, &[value("format", "f"), switch("quiet", "q")], false)?;
    let containers = Container::all(global);
    if args.is_set("quiet") {
        let ids: String = containers.iter().map(|c| format!("{}\n", c.record.id)).collect();
        return Ok(print(&ids));
    }
    let rows = containers.iter().map(|container| (container, container.status()));
    if args.get("format") == Some("json") {
        let list: Vec<serde_json::Value> = rows
            .map(|(container, status)| {
                let mut row = serde_json::json!(container.state(status));
                row["rootfs"] = serde_json::json!(container.record.rootfs);
                row["created"] = serde_json::json!(container.record.created);
                row["owner"] = serde_json::json!("root");
                row
            })
            .collect();
        return Ok(print(&format!("{}\n", serde_json::json!(list))));
    }
    let mut text =
        format!("{:<12}{:<12}{:<12}{:<24}{:<32}OWNER\n", "ID", "PID", "STATUS", "BUNDLE", "CREATED");
    for (container, status) in rows {
        let record = &container.record;
        let pid = if status == Status::Stopped { 0 } else { record.pid };
        text += &format!(
            "{:<11} {:<11} {:<11} {:<23} {:<31} root\n",
            record.id,
            pid,
            status.as_str(),
            record.bundle.display(),
            record.created
        );
    }
    Ok(print(&text))
}

/// `ps [--format table|json] <id> [ps options]`
pub fn ps(global: &Global, words: &[String]) -> Result<u8, OciError> {
    let args = Args::parse(words, &[value("format", "f")], true)?;
    let container = Container::load(global, args.id()?)?;
    let pids = container.cgroup()?.map_or_else(|| Ok(Vec::new()), |cgroup| cgroup.pids())?;
    if args.get("format") == Some("json") {
        return Ok(print(&format!("{}\n", serde_json::json!(pids))));
    }
    let options = if args.rest.len() > 1 { args.rest[1..].to_vec() } else { vec!["-ef".to_owned()] };
    let output = std::process::Command::new("ps").args(&options).output().map_err(io_error("run", "ps"))?;
    Ok(print(&select(&String::from_utf8_lossy(&output.stdout), &pids)))
}

/// Header and the lines of some processes of a `ps` table.
fn select(table: &str, pids: &[i32]) -> String {
    let mut lines = table.lines();
    let header = lines.next().unwrap_or_default();
    let column = header.split_whitespace().position(|name| name == "PID").unwrap_or(0);
    let mine = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|text| text.parse().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    };
    std::iter::once(header).chain(lines.filter(mine)).map(|line| format!("{line}\n")).collect()
}

/// `pause <id>`
pub fn pause(global: &Global, words: &[String]) -> Result<u8, OciError> {
    let container = only_id(global, words)?;
    match (container.status(), container.cgroup()?) {
        (Status::Running | Status::Created, Some(cgroup)) => cgroup.freeze()?,
        _ => {
            let text = "container not running or created".to_owned();
            return Err(OciError::WrongState { text });
        }
    }
    Ok(0)
}

/// `resume <id>`
pub fn resume(global: &Global, words: &[String]) -> Result<u8, OciError> {
    let container = only_id(global, words)?;
    match (container.status(), container.cgroup()?) {
        (Status::Paused, Some(cgroup)) => cgroup.thaw()?,
        _ => return Err(OciError::WrongState { text: "container not paused".to_owned() }),
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_table_is_cut_down() {
        let table = "UID   PID  PPID CMD\nroot    1     0 init\nroot   22     1 sh\n";
        assert_eq!(select(table, &[22]), "UID   PID  PPID CMD\nroot   22     1 sh\n");
    }
}
