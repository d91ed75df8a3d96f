//! Health checks: how to probe, and what the probes said.

use super::Argv;
use crate::json::empty;

wire! {
    /// How a container's health is probed. Durations are nanoseconds; 0 inherits the default.
    #[serde(rename_all = "PascalCase")]
    pub struct HealthConfig {
        #[serde(skip_serializing_if = "Option::is_none")]
        pub test: Option<Argv>,
        #[serde(skip_serializing_if = "empty")]
        pub interval: i64,
        #[serde(skip_serializing_if = "empty")]
        pub timeout: i64,
        #[serde(skip_serializing_if = "empty")]
        pub start_period: i64,
        #[serde(skip_serializing_if = "empty")]
        pub start_interval: i64,
        #[serde(skip_serializing_if = "empty")]
        pub retries: i64,
    }

    /// `State.Health` of an inspected container.
    #[serde(rename_all = "PascalCase")]
    pub struct Health {
        pub status: String,
        pub failing_streak: i64,
        pub log: Option<Vec<HealthcheckResult>>,
    }

    /// Health in the container list.
    #[serde(rename_all = "PascalCase")]
    pub struct HealthSummary {
        pub status: String,
        pub failing_streak: i64,
    }

    /// One probe.
    #[serde(rename_all = "PascalCase")]
    pub struct HealthcheckResult {
        #[serde(serialize_with = "crate::json::time")]
        pub start: String,
        #[serde(serialize_with = "crate::json::time")]
        pub end: String,
        pub exit_code: i64,
        pub output: String,
    }
}
