//! Limits as the OCI configuration has them.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use dray_api::container::{Resources, ThrottleDevice, Ulimit};
use dray_spec::runtime;

use super::Error;

/// Period of a quota made from `--cpus`, in microseconds.
const PERIOD: u64 = 100_000;

/// Limits without the device rules.
///
/// # Errors
/// When a block device is not there.
pub fn resources(limits: &Resources) -> Result<runtime::Resources, Error> {
    Ok(runtime::Resources {
        memory: memory(limits),
        cpu: cpu(limits),
        pids: limits.pids_limit.map(|limit| runtime::Pids { limit: if limit <= 0 { -1 } else { limit } }),
        block_io: block_io(limits)?,
        ..runtime::Resources::default()
    })
}

fn positive(value: i64) -> Option<i64> {
    (value > 0).then_some(value)
}

fn some_if<T: Default + PartialEq>(value: T) -> Option<T> {
    (value != T::default()).then_some(value)
}

fn memory(limits: &Resources) -> Option<runtime::Memory> {
    some_if(runtime::Memory {
        limit: positive(limits.memory),
        reservation: positive(limits.memory_reservation),
        // Unlimited has to be said: a container that runs may have had a limit.
        swap: some_if(limits.memory_swap.max(-1)),
        swappiness: limits.memory_swappiness.and_then(|value| u64::try_from(value).ok()),
        disable_oom_killer: limits.oom_kill_disable.filter(|disable| *disable),
        ..runtime::Memory::default()
    })
}

fn cpu(limits: &Resources) -> Option<runtime::Cpu> {
    let unsigned = |value: i64| u64::try_from(value).ok().filter(|value| *value != 0);
    let list = |value: &str| some_if(value.to_owned());
    let mut cpu = runtime::Cpu {
        shares: unsigned(limits.cpu_shares),
        period: unsigned(limits.cpu_period),
        quota: some_if(limits.cpu_quota),
        realtime_period: unsigned(limits.cpu_realtime_period),
        realtime_runtime: some_if(limits.cpu_realtime_runtime),
        cpus: list(&limits.cpuset_cpus),
        mems: list(&limits.cpuset_mems),
        ..runtime::Cpu::default()
    };
    if limits.nano_cpus > 0 {
        cpu.period = Some(PERIOD);
        cpu.quota = Some(limits.nano_cpus / 10_000);
    }
    some_if(cpu)
}

fn block_io(limits: &Resources) -> Result<Option<runtime::BlockIo>, Error> {
    let weights = limits.blkio_weight_device.iter().flatten().map(|device| {
        let (major, minor) = numbers(&device.path)?;
        Ok(runtime::WeightDevice { major, minor, weight: Some(device.weight), leaf_weight: None })
    });
    Ok(some_if(runtime::BlockIo {
        weight: some_if(limits.blkio_weight),
        weight_device: weights.collect::<Result<_, Error>>()?,
        throttle_read_bps_device: throttle(limits.blkio_device_read_bps.as_deref())?,
        throttle_write_bps_device: throttle(limits.blkio_device_write_bps.as_deref())?,
        throttle_read_iops_device: throttle(limits.blkio_device_read_iops.as_deref())?,
        throttle_write_iops_device: throttle(limits.blkio_device_write_iops.as_deref())?,
        ..runtime::BlockIo::default()
    }))
}

fn throttle(devices: Option<&[ThrottleDevice]>) -> Result<Vec<runtime::ThrottleDevice>, Error> {
    let one = |device: &ThrottleDevice| {
        let (major, minor) = numbers(&device.path)?;
        Ok(runtime::ThrottleDevice { major, minor, rate: device.rate })
    };
    devices.unwrap_or_default().iter().map(one).collect()
}

fn numbers(path: &str) -> Result<(i64, i64), Error> {
    let missing = |source| Error::Device { path: path.to_owned(), source };
    let number = Path::new(path).metadata().map_err(missing)?.rdev();
    Ok((i64::from(rustix::fs::major(number)), i64::from(rustix::fs::minor(number))))
}

/// Limits of the process; −1 is none.
pub fn rlimits(ulimits: &[Ulimit]) -> Vec<runtime::Rlimit> {
    let value = |limit: i64| u64::try_from(limit).unwrap_or(u64::MAX);
    let one = |limit: &Ulimit| runtime::Rlimit {
        kind: format!("RLIMIT_{}", limit.name.to_ascii_uppercase()),
        hard: value(limit.hard),
        soft: value(limit.soft),
    };
    ulimits.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_become_a_quota() {
        let limits =
            Resources { nano_cpus: 1_500_000_000, memory: 64 << 20, memory_swap: -1, ..Resources::default() };
        let made = resources(&limits).unwrap();
        let cpu = made.cpu.unwrap();
        assert_eq!((cpu.period, cpu.quota), (Some(100_000), Some(150_000)));
        let memory = made.memory.unwrap();
        assert_eq!((memory.limit, memory.swap), (Some(64 << 20), Some(-1)));
        assert!(made.pids.is_none() && made.block_io.is_none());
    }

    #[test]
    fn pids_and_missing_devices() {
        let limits = Resources { pids_limit: Some(0), ..Resources::default() };
        assert_eq!(resources(&limits).unwrap().pids.unwrap().limit, -1);
        let device = ThrottleDevice { path: "/dev/nosuch".into(), rate: 1 };
        let limits = Resources { blkio_device_read_bps: Some(vec![device]), ..Resources::default() };
        assert!(resources(&limits).unwrap_err().to_string().contains("/dev/nosuch"));
    }
}
