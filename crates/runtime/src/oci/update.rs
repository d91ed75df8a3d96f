//! `update` and `events --stats`.

use std::io::Read;

use dray_spec::runtime::{BlockIo, Cpu, Memory, Pids, Resources};

use super::args::{Args, Flag, switch, value};
use super::store::Container;
use super::{Global, OciError, io_error, print};
use crate::cgroup::{BlkioEntry, CgroupStats};

const FLAGS: [Flag; 15] = [
    value("resources", "r"),
    value("blkio-weight", ""),
    value("cpu-period", ""),
    value("cpu-quota", ""),
    value("cpu-burst", ""),
    value("cpu-share", ""),
    value("cpu-rt-period", ""),
    value("cpu-rt-runtime", ""),
    value("cpuset-cpus", ""),
    value("cpuset-mems", ""),
    value("memory", ""),
    value("memory-reservation", ""),
    value("memory-swap", ""),
    value("pids-limit", ""),
    value("cpu-idle", ""),
];

/// `update <id>`
pub fn update(global: &Global, words: &[String]) -> Result<u8, OciError> {
    let args = Args::parse(words, &FLAGS, false)?;
    let container = Container::load(global, args.id()?)?;
    let mut resources = match args.get("resources") {
        Some(path) => read_resources(path)?,
        None => from_flags(&args)?,
    };
    // Devices are set at create: a file that names none must not take them away.
    resources.devices.clear();
    match container.cgroup()? {
        Some(cgroup) => cgroup.update(&resources)?,
        None => return Err(OciError::Unsupported { what: "updating limits without cgroups".to_owned() }),
    }
    Ok(0)
}

fn read_resources(path: &str) -> Result<Resources, OciError> {
    let mut text = String::new();
    if path == "-" {
        std::io::stdin().read_to_string(&mut text).map_err(io_error("read", "stdin"))?;
    } else {
        text = std::fs::read_to_string(path).map_err(io_error("read", path))?;
    }
    serde_json::from_str(&text).map_err(|source| OciError::Json { path: path.into(), source })
}

fn from_flags(args: &Args) -> Result<Resources, OciError> {
    let text = |name: &str| args.get(name).filter(|text| !text.is_empty()).map(str::to_owned);
    let memory = Memory {
        limit: bytes(args, "memory")?,
        reservation: bytes(args, "memory-reservation")?,
        swap: bytes(args, "memory-swap")?,
        ..Memory::default()
    };
    let cpu = Cpu {
        shares: args.number("cpu-share")?,
        quota: args.number("cpu-quota")?,
        burst: args.number("cpu-burst")?,
        period: args.number("cpu-period")?,
        realtime_runtime: args.number("cpu-rt-runtime")?,
        realtime_period: args.number("cpu-rt-period")?,
        cpus: text("cpuset-cpus"),
        mems: text("cpuset-mems"),
        idle: args.number("cpu-idle")?,
    };
    let weight = args.number("blkio-weight")?;
    Ok(Resources {
        memory: Some(memory),
        cpu: Some(cpu),
        pids: args.number("pids-limit")?.map(|limit| Pids { limit }),
        block_io: weight.map(|weight| BlockIo { weight: Some(weight), ..BlockIo::default() }),
        ..Resources::default()
    })
}

/// A number of bytes with a unit, as `64m`; -1 is unlimited.
fn bytes(args: &Args, name: &str) -> Result<Option<i64>, OciError> {
    let Some(text) = args.get(name).filter(|text| !text.is_empty()) else { return Ok(None) };
    let lower = text.to_ascii_lowercase();
    let plain = lower.strip_suffix("ib").or_else(|| lower.strip_suffix('b')).unwrap_or(&lower);
    let (digits, shift) = match plain.chars().last() {
        Some('k') => (&plain[..plain.len() - 1], 10),
        Some('m') => (&plain[..plain.len() - 1], 20),
        Some('g') => (&plain[..plain.len() - 1], 30),
        Some('t') => (&plain[..plain.len() - 1], 40),
        _ => (plain, 0),
    };
    let number: Option<i64> = digits.parse().ok();
    number
        .and_then(|number| number.checked_mul(1 << shift))
        .map(Some)
        .ok_or_else(|| OciError::Usage { text: format!("invalid value {text:?} for -{name}") })
}

/// `events --stats <id>`: one look at what has been used.
pub fn events(global: &Global, words: &[String]) -> Result<u8, OciError> {
    let args = Args::parse(words, &[switch("stats", ""), value("interval", "")], false)?;
    let container = Container::load(global, args.id()?)?;
    if !args.is_set("stats") {
        return Err(OciError::Unsupported { what: "following events".to_owned() });
    }
    let stats = container.cgroup()?.map_or_else(|| Ok(CgroupStats::default()), |cgroup| cgroup.stats())?;
    let entries = |list: &[BlkioEntry]| -> Vec<serde_json::Value> {
        let entry = |e: &BlkioEntry| serde_json::json!({"major": e.major, "minor": e.minor, "op": e.op, "value": e.value});
        list.iter().map(entry).collect()
    };
    let document = serde_json::json!({"type": "stats", "id": container.record.id, "data": {
        "cpu": {
            "usage": {"total": stats.cpu.total, "percpu": stats.cpu.per_cpu, "kernel": stats.cpu.kernel,
                "user": stats.cpu.user},
            "throttling": {"periods": stats.cpu.periods, "throttledPeriods": stats.cpu.throttled_periods,
                "throttledTime": stats.cpu.throttled_time}},
        "memory": {
            "usage": {"limit": stats.memory.limit, "usage": stats.memory.usage, "max": stats.memory.max_usage,
                "failcnt": stats.memory.failcnt},
            "raw": stats.memory.detail},
        "pids": {"current": stats.pids.current, "limit": stats.pids.limit.unwrap_or(0)},
        "blkio": {"ioServiceBytesRecursive": entries(&stats.blkio.service_bytes),
            "ioServicedRecursive": entries(&stats.blkio.serviced)}}});
    Ok(print(&format!("{document}\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        let read = |text: &str| {
            let words = ["--memory".to_owned(), text.to_owned()];
            bytes(&Args::parse(&words, &FLAGS, false).unwrap(), "memory")
        };
        assert_eq!(read("64m").unwrap(), Some(64 << 20));
        assert_eq!(read("1GiB").unwrap(), Some(1 << 30));
        assert_eq!(read("-1").unwrap(), Some(-1));
        assert!(read("x").is_err() && read("9999999999t").is_err());
    }
}
