//! `docker top`: the processes of a container from the host's `/proc`, in the columns that `ps`
//! arguments ask for. No `ps` is run: it may not be there.

use std::collections::BTreeMap;
use std::sync::Arc;

use dray_api::container::ContainerTop;

use super::Error;
use super::service::Service;

impl Service {
    /// Lists the processes of a running container. `args` are those of `ps`: `-ef` when empty, `aux`
    /// and the like, or columns by `-o`.
    ///
    /// # Errors
    /// When it does not run, or the arguments cannot be served.
    pub async fn top(self: &Arc<Self>, called: &str, args: &str) -> Result<ContainerTop, Error> {
        let columns = columns(args)?;
        let container = self.registry.find(called)?;
        if !container.with(|record| record.state.running) {
            return Err(Error::NotRunning(container.id.clone()));
        }
        if container.with(|record| record.state.restarting) {
            return Err(Error::Restarting(container.id.clone()));
        }
        self.blocking(move |service| {
            let mut pids = service.shim(&container)?.pids()?;
            pids.sort_unstable();
            let host = Host::read();
            let rows = pids.iter().filter_map(|pid| Process::read(*pid));
            let processes = rows.map(|p| columns.iter().map(|c| c.value(&p, &host)).collect()).collect();
            let titles = columns.iter().map(|column| column.title().to_owned()).collect();
            service.announce(&container, "top", &[]);
            Ok(ContainerTop { processes, titles })
        })
        .await
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Uid,
    User,
    Pid,
    Ppid,
    Pgid,
    Sid,
    C,
    CpuPercent,
    MemPercent,
    Vsz,
    Rss,
    Stime,
    Start,
    Tty,
    TtyLong,
    Stat,
    Time,
    Elapsed,
    Comm,
    Cmd,
    Command,
    Nice,
    Threads,
}

use Column as C;

const FULL: &[Column] = &[C::Uid, C::Pid, C::Ppid, C::C, C::Stime, C::TtyLong, C::Time, C::Cmd];
const USER: &[Column] = &[
    C::User,
    C::Pid,
    C::CpuPercent,
    C::MemPercent,
    C::Vsz,
    C::Rss,
    C::TtyLong,
    C::Stat,
    C::Start,
    C::Time,
    C::Command,
];
const SHORT: &[Column] = &[C::Pid, C::TtyLong, C::Time, C::Cmd];

/// Names of columns as `ps -o` takes them.
const NAMES: &[(&str, Column)] = &[
    ("uid", C::Uid),
    ("user", C::User),
    ("euser", C::User),
    ("uname", C::User),
    ("pid", C::Pid),
    ("ppid", C::Ppid),
    ("pgid", C::Pgid),
    ("pgrp", C::Pgid),
    ("sid", C::Sid),
    ("sess", C::Sid),
    ("c", C::C),
    ("%cpu", C::CpuPercent),
    ("pcpu", C::CpuPercent),
    ("%mem", C::MemPercent),
    ("pmem", C::MemPercent),
    ("vsz", C::Vsz),
    ("vsize", C::Vsz),
    ("rss", C::Rss),
    ("stime", C::Stime),
    ("start", C::Start),
    ("tty", C::Tty),
    ("tt", C::Tty),
    ("stat", C::Stat),
    ("state", C::Stat),
    ("s", C::Stat),
    ("time", C::Time),
    ("cputime", C::Time),
    ("etime", C::Elapsed),
    ("comm", C::Comm),
    ("ucmd", C::Comm),
    ("cmd", C::Cmd),
    ("args", C::Command),
    ("command", C::Command),
    ("ni", C::Nice),
    ("nice", C::Nice),
    ("nlwp", C::Threads),
    ("thcount", C::Threads),
];

/// The columns that `ps` arguments ask for.
fn columns(args: &str) -> Result<Vec<Column>, Error> {
    let mut chosen = Vec::new();
    let mut style = None;
    let mut words = args.split_ascii_whitespace();
    while let Some(word) = words.next() {
        let list = match word {
            "-o" | "o" | "-O" | "--format" => words.next(),
            _ => word
                .strip_prefix("--format=")
                .or_else(|| word.strip_prefix("-o"))
                .or_else(|| word.strip_prefix("-eo")),
        };
        if let Some(list) = list {
            let list = if list.is_empty() { words.next().unwrap_or_default() } else { list };
            chosen.extend(named(list)?);
        } else if matches!(word, "-eo" | "-axo" | "axo" | "-Ao") {
            chosen.extend(named(words.next().unwrap_or_default())?);
        } else {
            style = Some(style_of(word)?);
        }
    }
    if !chosen.is_empty() {
        if !chosen.contains(&C::Pid) {
            return Err(Error::Ps("Couldn't find PID field in ps output".into()));
        }
        return Ok(chosen);
    }
    Ok(style.unwrap_or(FULL).to_vec())
}

fn style_of(word: &str) -> Result<&'static [Column], Error> {
    let letters = word.trim_start_matches('-');
    let known = !letters.is_empty() && letters.chars().all(|c| "efaAxuwlHLyjFd".contains(c));
    match () {
        () if !known => Err(Error::Ps(format!("unsupported option \"{word}\""))),
        () if letters.contains('u') => Ok(USER),
        () if letters.contains('f') || letters.contains('F') => Ok(FULL),
        () => Ok(SHORT),
    }
}

fn named(list: &str) -> Result<Vec<Column>, Error> {
    let one = |raw: &str| {
        let name = raw.split('=').next().unwrap_or(raw);
        let found = NAMES.iter().find(|(known, _)| *known == name).map(|(_, column)| *column);
        found.ok_or_else(|| Error::Ps(format!("error: unknown user-defined format specifier \"{name}\"")))
    };
    list.split(',').filter(|name| !name.is_empty()).map(one).collect()
}

/// What is needed of the machine.
struct Host {
    uptime: u64,
    memory_kib: u64,
    users: BTreeMap<u32, String>,
}

impl Host {
    fn read() -> Self {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let uptime = text("/proc/uptime").split('.').next().and_then(|s| s.parse().ok()).unwrap_or(0);
        let memory_kib = text("/proc/meminfo").split_ascii_whitespace().nth(1).and_then(|s| s.parse().ok());
        let users = text("/etc/passwd")
            .lines()
            .filter_map(|line| {
                let mut fields = line.split(':');
                let name = fields.next()?.to_owned();
                Some((fields.nth(1)?.parse().ok()?, name))
            })
            .collect();
        Self { uptime, memory_kib: memory_kib.unwrap_or(1), users }
    }
}

/// What `/proc` says of one process.
#[derive(Debug, Default)]
struct Process {
    pid: i32,
    uid: u32,
    name: String,
    state: String,
    command: String,
    /// Fields of `stat` from the third on.
    fields: Vec<i64>,
}

/// Ticks of the clock in a second, as `/proc` counts.
const TICKS: u64 = 100;

impl Process {
    fn read(pid: i32) -> Option<Self> {
        let text = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
        let raw = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        Self::parse(pid, &text("stat")?, &text("status")?, &raw)
    }

    fn parse(pid: i32, stat: &str, status: &str, cmdline: &[u8]) -> Option<Self> {
        let (head, tail) = stat.rsplit_once(')')?;
        let name = head.split_once('(')?.1.to_owned();
        let mut fields = tail.split_ascii_whitespace();
        let state = fields.next()?.to_owned();
        let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
        let uid = uid.split_ascii_whitespace().nth(1)?.parse().ok()?;
        let words: Vec<_> =
            cmdline.split(|b| *b == 0).filter(|w| !w.is_empty()).map(String::from_utf8_lossy).collect();
        let command = if words.is_empty() { format!("[{name}]") } else { words.join(" ") };
        Some(Self {
            pid,
            uid,
            name,
            state,
            command,
            fields: fields.map(|field| field.parse().unwrap_or(0)).collect(),
        })
    }

    /// Field of `stat` by its number in proc(5).
    fn field(&self, number: usize) -> i64 {
        self.fields.get(number - 4).copied().unwrap_or(0)
    }

    fn unsigned(&self, number: usize) -> u64 {
        u64::try_from(self.field(number)).unwrap_or(0)
    }

    fn cpu_seconds(&self) -> u64 {
        (self.unsigned(14) + self.unsigned(15)) / TICKS
    }

    fn age(&self, host: &Host) -> u64 {
        host.uptime.saturating_sub(self.unsigned(22) / TICKS)
    }

    /// Parts in a thousand of the processor that it has used in its life.
    fn cpu_per_mille(&self, host: &Host) -> u64 {
        (self.unsigned(14) + self.unsigned(15)) * 1000 / TICKS / self.age(host).max(1)
    }

    fn tty(&self) -> String {
        let number = self.unsigned(7);
        let (major, minor) = (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xfff00);
        match major {
            0 => "?".into(),
            136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
            4 => format!("tty{minor}"),
            _ => "?".into(),
        }
    }
}

impl Column {
    fn title(self) -> &'static str {
        match self {
            C::Uid => "UID",
            C::User => "USER",
            C::Pid => "PID",
            C::Ppid => "PPID",
            C::Pgid => "PGID",
            C::Sid => "SID",
            C::C => "C",
            C::CpuPercent => "%CPU",
            C::MemPercent => "%MEM",
            C::Vsz => "VSZ",
            C::Rss => "RSS",
            C::Stime => "STIME",
            C::Start => "START",
            C::Tty => "TT",
            C::TtyLong => "TTY",
            C::Stat => "STAT",
            C::Time => "TIME",
            C::Elapsed => "ELAPSED",
            C::Comm | C::Command => "COMMAND",
            C::Cmd => "CMD",
            C::Nice => "NI",
            C::Threads => "NLWP",
        }
    }

    fn value(self, process: &Process, host: &Host) -> String {
        match self {
            C::Uid | C::User => {
                host.users.get(&process.uid).cloned().unwrap_or_else(|| process.uid.to_string())
            }
            C::Pid => process.pid.to_string(),
            C::Ppid => process.field(4).to_string(),
            C::Pgid => process.field(5).to_string(),
            C::Sid => process.field(6).to_string(),
            C::C => (process.cpu_per_mille(host) / 10).to_string(),
            C::CpuPercent => tenths(process.cpu_per_mille(host)),
            C::MemPercent => tenths(process.unsigned(24) * 4 * 1000 / host.memory_kib.max(1)),
            C::Vsz => (process.unsigned(23) / 1024).to_string(),
            C::Rss => (process.unsigned(24) * 4).to_string(),
            C::Stime | C::Start => clock(process.age(host)),
            C::Tty | C::TtyLong => process.tty(),
            C::Stat => process.state.clone(),
            C::Time => hours(process.cpu_seconds()),
            C::Elapsed => elapsed(process.age(host)),
            C::Comm => process.name.clone(),
            C::Cmd | C::Command => process.command.clone(),
            C::Nice => process.field(19).to_string(),
            C::Threads => process.field(20).to_string(),
        }
    }
}

fn tenths(per_mille: u64) -> String {
    format!("{}.{}", per_mille / 10, per_mille % 10)
}

fn hours(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn elapsed(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    match (days, rest / 3600) {
        (0, 0) => format!("{:02}:{:02}", rest / 60, rest % 60),
        (0, _) => hours(rest),
        _ => format!("{days}-{}", hours(rest)),
    }
}

/// The time of day of so many seconds ago, in UTC; of another day, that day.
fn clock(seconds_ago: u64) -> String {
    let now = jiff::Timestamp::now();
    let then = now.as_second() - i64::try_from(seconds_ago).unwrap_or(0);
    let same_day = then.div_euclid(86_400) == now.as_second().div_euclid(86_400);
    let form = if same_day { "%H:%M" } else { "%b%d" };
    jiff::Timestamp::from_second(then).map_or_else(|_| "?".into(), |then| then.strftime(form).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(args: &str) -> Result<Vec<&'static str>, String> {
        columns(args)
            .map(|all| all.into_iter().map(Column::title).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn columns_by_arguments() {
        let full = vec!["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];
        assert_eq!(titles(""), Ok(full.clone()));
        assert_eq!(titles("-ef"), Ok(full));
        assert_eq!(titles("aux").unwrap()[..4], ["USER", "PID", "%CPU", "%MEM"]);
        assert_eq!(titles("-o pid,comm"), Ok(vec!["PID", "COMMAND"]));
        assert_eq!(titles("-eo pid,ppid,args"), Ok(vec!["PID", "PPID", "COMMAND"]));
        assert_eq!(titles("-o comm"), Err("ps: Couldn't find PID field in ps output".into()));
        assert!(titles("-o pid,nope").unwrap_err().contains("\"nope\""));
        assert!(titles("--help").is_err());
    }

    #[test]
    fn a_process_with_an_evil_name() {
        let stat = "42 (a) b (c) S 1 42 42 34817 42 0 0 0 0 0 250 50 0 0 20 0 3 0 1000 4096 2 0";
        let process = Process::parse(42, stat, "Name:\tx\nUid:\t5\t0\t0\t0\n", b"sh\0-c\0x y\0").unwrap();
        assert_eq!((process.name.as_str(), process.command.as_str()), ("a) b (c", "sh -c x y"));
        let host = Host { uptime: 40, memory_kib: 1000, users: [(0, "root".to_owned())].into() };
        let row = |column: Column| column.value(&process, &host);
        assert_eq!(
            (row(C::Uid).as_str(), row(C::Ppid).as_str(), row(C::Time).as_str()),
            ("root", "1", "00:00:03")
        );
        assert_eq!(
            (row(C::TtyLong).as_str(), row(C::C).as_str(), row(C::Threads).as_str()),
            ("pts/1", "10", "3")
        );
        assert_eq!(row(C::MemPercent), "0.8");
    }

    #[test]
    fn this_process() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let process = Process::read(pid).unwrap();
        assert!(process.command.contains("dray_engine"));
        assert_eq!(elapsed(90_061), "1-01:01:01");
    }
}
