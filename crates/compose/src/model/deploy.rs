//! `deploy`: replicas, limits, how to update and restart.

use super::field::shape;
use super::kind::{Bytes, Cpus, DeviceCount, Duration, Labels, Mapping};

shape! {
    /// `deploy`.
    #[allow(missing_docs, reason = "fields carry the specification's own names and are documented by it")]
    pub struct Deploy {
        mode: String,
        replicas: Option<i64>,
        labels: Labels,
        update_config: Option<UpdateConfig>,
        rollback_config: Option<UpdateConfig>,
        resources: Resources,
        restart_policy: Option<RestartPolicy>,
        placement: Placement,
        endpoint_mode: String,
    }
}

shape! {
    /// How a change is rolled out.
    #[allow(missing_docs, reason = "fields carry the specification's own names and are documented by it")]
    pub struct UpdateConfig {
        parallelism: Option<u64>,
        delay: Duration,
        failure_action: String,
        monitor: Duration,
        max_failure_ratio: f32,
        order: String,
    }
}

shape! {
    /// Limits and reservations.
    #[allow(missing_docs, reason = "fields carry the specification's own names and are documented by it")]
    pub struct Resources {
        limits: Option<Resource>,
        reservations: Option<Resource>,
    }
}

shape! {
    /// Amounts of resources.
    #[allow(missing_docs, reason = "fields carry the specification's own names and are documented by it")]
    pub struct Resource {
        cpus: Cpus,
        memory: Bytes,
        pids: i64,
        devices: Vec<DeviceRequest>,
        generic_resources: Vec<GenericResource>,
    }
}

shape! {
    /// A resource of the user's own kind.
    #[allow(missing_docs, reason = "fields carry the specification's own names and are documented by it")]
    pub struct GenericResource {
        discrete_resource_spec: Option<DiscreteResource>,
    }
}

shape! {
    /// How much of it.
    #[allow(missing_docs, reason = "fields carry the specification's own names and are documented by it")]
    pub struct DiscreteResource {
        kind: String = always,
        value: i64 = always,
    }
}

shape! {
    /// Devices of a driver.
    #[allow(missing_docs, reason = "fields carry the specification's own names and are documented by it")]
    pub struct DeviceRequest {
        capabilities: Vec<String>,
        driver: String,
        count: DeviceCount,
        device_ids: Vec<String>,
        options: Mapping,
    }
}

shape! {
    /// When a container that ended is started again.
    #[allow(missing_docs, reason = "fields carry the specification's own names and are documented by it")]
    pub struct RestartPolicy {
        condition: String,
        delay: Option<Duration>,
        max_attempts: Option<u64>,
        window: Option<Duration>,
    }
}

shape! {
    /// Where containers may run.
    #[allow(missing_docs, reason = "fields carry the specification's own names and are documented by it")]
    pub struct Placement {
        constraints: Vec<String>,
        preferences: Vec<PlacementPreference>,
        max_replicas_per_node: u64,
    }
}

shape! {
    /// How they are spread.
    #[allow(missing_docs, reason = "fields carry the specification's own names and are documented by it")]
    pub struct PlacementPreference {
        spread: String,
    }
}
