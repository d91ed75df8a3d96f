//! Limits, devices and restart policies of a service as the Engine API takes them.

use dray_api::container::{
    DeviceMapping, DeviceRequest, Resources, RestartPolicy, ThrottleDevice, Ulimit, WeightDevice,
};

use super::container::some;
use crate::model::service::{self, Service};
use crate::model::{deploy, kind};

/// When a container that ended is started again.
pub(super) fn restart_policy(s: &Service) -> RestartPolicy {
    let policy = |condition: &str, count: i64| RestartPolicy {
        name: match condition {
            "none" => "no",
            "any" => "always",
            other => other,
        }
        .to_owned(),
        maximum_retry_count: count,
    };
    if let Some(restart) = s.deploy.as_ref().and_then(|d| d.restart_policy.as_ref()) {
        let count = restart.max_attempts.and_then(|n| i64::try_from(n).ok()).unwrap_or(0);
        return policy(&restart.condition, count);
    }
    let (condition, count) = s.restart.split_once(':').unwrap_or((&s.restart, "0"));
    policy(condition, count.parse().unwrap_or(0))
}

#[allow(clippy::cast_possible_truncation, reason = "as Docker Compose computes it")]
fn nano(cpus: f32) -> i64 {
    (f64::from(cpus) * 1e9).round() as i64
}

/// What a container may use.
#[allow(clippy::cast_possible_truncation, reason = "as Docker Compose computes it")]
pub(super) fn resources(s: &Service) -> Resources {
    let mut r = Resources {
        cgroup_parent: s.cgroup_parent.clone(),
        memory: s.mem_limit.0,
        memory_swap: s.memswap_limit.0,
        memory_swappiness: (s.mem_swappiness.0 != 0).then_some(s.mem_swappiness.0),
        memory_reservation: s.mem_reservation.0,
        oom_kill_disable: Some(s.oom_kill_disable),
        cpu_count: s.cpu_count,
        cpu_period: s.cpu_period,
        cpu_quota: s.cpu_quota,
        cpu_realtime_period: s.cpu_rt_period,
        cpu_realtime_runtime: s.cpu_rt_runtime,
        cpu_shares: s.cpu_shares,
        nano_cpus: nano(s.cpus),
        cpu_percent: (s.cpu_percent * 100.0) as i64,
        cpuset_cpus: s.cpuset.clone(),
        device_cgroup_rules: some(s.device_cgroup_rules.clone()),
        pids_limit: (s.pids_limit != 0).then_some(s.pids_limit),
        ..Resources::default()
    };
    if let Some(blkio) = &s.blkio_config {
        set_blkio(&mut r, blkio);
    }
    if let Some(limits) = s.deploy.as_ref().and_then(|d| d.resources.limits.as_ref()) {
        set_limits(&mut r, limits);
    }
    let mut requests = Vec::new();
    if let Some(reserved) = s.deploy.as_ref().and_then(|d| d.resources.reservations.as_ref()) {
        if reserved.memory.0 != 0 {
            r.memory_reservation = reserved.memory.0;
        }
        requests.extend(reserved.devices.iter().map(|d| device_request(d, None)));
    }
    let (cdi, devices): (Vec<_>, Vec<_>) = s.devices.iter().partition(|d| {
        d.source == d.target && d.source.contains('=') && d.source.contains('/') && !d.source.starts_with('/')
    });
    if !cdi.is_empty() {
        requests.push(DeviceRequest {
            driver: "cdi".into(),
            device_ids: Some(cdi.iter().map(|d| d.source.clone()).collect()),
            ..DeviceRequest::default()
        });
    }
    requests.extend(s.gpus.iter().map(|g| device_request(g, Some("gpu"))));
    let mapping = |d: &&service::Device| DeviceMapping {
        path_on_host: d.source.clone(),
        path_in_container: d.target.clone(),
        cgroup_permissions: d.permissions.clone(),
    };
    r.devices = some(devices.iter().map(mapping).collect());
    r.device_requests = some(requests);
    r.ulimits = some(s.ulimits.iter().map(ulimit).collect());
    r
}

fn ulimit((name, limit): (&String, &kind::Ulimit)) -> Ulimit {
    let or_single = |value: i64| if value == 0 { limit.single } else { value };
    Ulimit { name: name.clone(), soft: or_single(limit.soft), hard: or_single(limit.hard) }
}

fn set_limits(r: &mut Resources, limits: &deploy::Resource) {
    if limits.memory.0 != 0 {
        r.memory = limits.memory.0;
    }
    if limits.cpus.0 != 0.0 {
        r.nano_cpus = nano(limits.cpus.0);
    }
    if limits.pids > 0 {
        r.pids_limit = Some(limits.pids);
    }
}

fn set_blkio(r: &mut Resources, blkio: &service::Blkio) {
    let throttles = |list: &[kind::ThrottleDevice]| {
        let one =
            |d: &kind::ThrottleDevice| ThrottleDevice { path: d.path.clone(), rate: d.rate.0.unsigned_abs() };
        some(list.iter().map(one).collect())
    };
    r.blkio_weight = blkio.weight;
    let weight = |d: &kind::WeightDevice| WeightDevice { path: d.path.clone(), weight: d.weight };
    r.blkio_weight_device = some(blkio.weight_device.iter().map(weight).collect());
    r.blkio_device_read_bps = throttles(&blkio.device_read_bps);
    r.blkio_device_write_bps = throttles(&blkio.device_write_bps);
    r.blkio_device_read_iops = throttles(&blkio.device_read_iops);
    r.blkio_device_write_iops = throttles(&blkio.device_write_iops);
}

fn device_request(d: &deploy::DeviceRequest, more: Option<&str>) -> DeviceRequest {
    let capabilities = d.capabilities.iter().cloned().chain(more.map(str::to_owned)).collect();
    DeviceRequest {
        driver: d.driver.clone(),
        count: d.count.0,
        device_ids: some(d.device_ids.clone()),
        capabilities: Some(vec![capabilities]),
        options: (!d.options.is_empty()).then(|| d.options.0.clone()),
    }
}
