//! Everything known of one container.

use std::sync::Arc;

use dray_api::container::{
    ContainerInspect, ContainerState, DriverData, MountPoint as ApiMountPoint, NetworkSettings,
};
use dray_api::{Labels, network::EndpointSettings};

use super::Error;
use super::mount::MountPoint;
use super::record::Record;
use super::service::Service;
use super::validate::{Namespace, namespace};
use crate::timestamp::{rfc3339, rfc3339_or_zero};

impl Service {
    /// Inspects a container; with its sizes when asked for.
    ///
    /// # Errors
    /// When there is no such container.
    pub async fn inspect(self: &Arc<Self>, called: &str, size: bool) -> Result<ContainerInspect, Error> {
        let container = self.registry.find(called)?;
        let (record, execs) = {
            let live = container.live();
            (live.record.clone(), live.execs.iter().cloned().collect::<Vec<_>>())
        };
        let mut inspected = self.describe(&record);
        inspected.exec_ids = Some(execs).filter(|execs| !execs.is_empty());
        if size {
            let (written, all) = self.blocking(move |service| Ok(service.sizes(&record))).await?;
            (inspected.size_rw, inspected.size_root_fs) = (Some(written), Some(all));
        }
        Ok(inspected)
    }

    fn describe(&self, record: &Record) -> ContainerInspect {
        let state = &record.state;
        let files = self.files(record);
        let file = |destination: &str| {
            let found = files.iter().find(|(_, at)| *at == destination && state.started_at.is_some());
            found.map_or_else(String::new, |(path, _)| path.display().to_string())
        };
        let log = match record.host.log_config.driver.as_str() {
            "json-file" => self.log_file(record).display().to_string(),
            _ => String::new(),
        };
        ContainerInspect {
            id: record.id.clone(),
            created: rfc3339(record.created),
            path: record.path.clone(),
            args: record.args.clone(),
            state: ContainerState {
                status: state.status().to_owned(),
                running: state.running,
                paused: state.paused,
                restarting: state.restarting,
                oom_killed: state.oom_killed,
                dead: state.dead,
                pid: i64::from(state.pid),
                exit_code: i64::from(state.exit_code),
                error: state.error.clone(),
                started_at: rfc3339_or_zero(state.started_at),
                finished_at: rfc3339_or_zero(state.finished_at),
                health: state.health.clone(),
            },
            image: record.image.clone(),
            resolv_conf_path: file("/etc/resolv.conf"),
            hostname_path: file("/etc/hostname"),
            hosts_path: file("/etc/hosts"),
            log_path: log,
            name: format!("/{}", record.name),
            restart_count: i64::from(record.restart_count),
            driver: "overlay2".into(),
            platform: record.platform.split('/').next().unwrap_or("linux").to_owned(),
            host_config: record.host.clone(),
            graph_driver: self.graph_driver(record),
            mounts: record.mounts.iter().map(mount_point).collect(),
            config: record.config.clone(),
            network_settings: network_settings(record),
            ..ContainerInspect::default()
        }
    }

    fn graph_driver(&self, record: &Record) -> DriverData {
        let layers = self.layers(record);
        let lower: Vec<String> = layers.lower.iter().map(|path| path.display().to_string()).collect();
        let data = [
            ("ID", record.id.clone()),
            ("LowerDir", lower.join(":")),
            ("MergedDir", self.folder(&record.id).join("merged").display().to_string()),
            ("UpperDir", layers.upper.display().to_string()),
            ("WorkDir", layers.work.display().to_string()),
        ];
        let data: Labels = data.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        DriverData { data: Some(data), name: "overlay2".into() }
    }
}

/// A mount as the API shows it.
pub(super) fn mount_point(point: &MountPoint) -> ApiMountPoint {
    ApiMountPoint {
        kind: point.kind.clone(),
        name: point.name.clone(),
        source: point.source.clone(),
        destination: point.destination.clone(),
        driver: point.driver.clone(),
        mode: point.mode.clone(),
        rw: point.rw,
        propagation: point.propagation.clone(),
    }
}

fn network_settings(record: &Record) -> NetworkSettings {
    let sandbox_key = match (&record.netns, namespace(&record.host.network_mode)) {
        (Some(path), Namespace::Private) => path.display().to_string(),
        _ => String::new(),
    };
    let settings = NetworkSettings {
        sandbox_id: record.sandbox_id.clone(),
        sandbox_key,
        ports: record.ports.clone(),
        networks: record.endpoints.clone(),
        ..NetworkSettings::default()
    };
    // What the default bridge gave stands once more at the top, for old clients.
    match record.endpoints.get("bridge") {
        Some(bridge) => repeat(settings, bridge),
        None => settings,
    }
}

fn repeat(settings: NetworkSettings, endpoint: &EndpointSettings) -> NetworkSettings {
    NetworkSettings {
        endpoint_id: endpoint.endpoint_id.clone(),
        gateway: endpoint.gateway.clone(),
        global_ipv6_address: endpoint.global_ipv6_address.clone(),
        global_ipv6_prefix_len: endpoint.global_ipv6_prefix_len,
        ip_address: endpoint.ip_address.clone(),
        ip_prefix_len: endpoint.ip_prefix_len,
        ipv6_gateway: endpoint.ipv6_gateway.clone(),
        mac_address: endpoint.mac_address.clone(),
        ..settings
    }
}
