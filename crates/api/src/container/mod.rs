//! Containers: create, inspect, list, update, wait, stats and the rest of `/containers`.

mod archive;
mod config;
mod create;
mod exec;
mod health;
mod host_config;
mod inspect;
mod list;
mod mount;
mod network_settings;
mod process;
mod prune;
mod stats;
mod update;
mod wait;

#[cfg(test)]
mod tests;

pub use crate::json::Argv;
pub use archive::{PATH_STAT_HEADER, PathStat};
pub use config::ContainerConfig;
pub use create::{CommitResponse, ContainerCreateRequest, CreateResponse, NetworkingConfig};
pub use exec::{ExecCreateRequest, ExecCreateResponse, ExecInspect, ExecProcessConfig, ExecStartRequest};
pub use health::{Health, HealthConfig, HealthSummary, HealthcheckResult};
pub use host_config::{
    DeviceMapping, DeviceRequest, HostConfig, LogConfig, PortBinding, PortMap, Resources, RestartPolicy,
    ThrottleDevice, Ulimit, WeightDevice,
};
pub use inspect::{ContainerInspect, ContainerState, DriverData};
pub use list::{ContainerSummary, Port, SummaryHostConfig, SummaryNetworkSettings};
pub use mount::{
    BindOptions, Driver, ImageOptions, Mount, MountPoint, MountType, TmpfsOptions, VolumeOptions,
};
pub use network_settings::NetworkSettings;
pub use process::{ContainerTop, FilesystemChange};
pub use prune::ContainersPruneReport;
pub use stats::{
    BlkioStatEntry, BlkioStats, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats, Stats,
    StorageStats, ThrottlingData,
};
pub use update::{ContainerUpdateRequest, ContainerUpdateResponse};
pub use wait::{WaitError, WaitResponse};
