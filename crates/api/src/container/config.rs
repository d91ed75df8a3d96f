//! The portable part of a container's configuration.

use super::HealthConfig;
use crate::json::{Argv, Labels, StringSet, empty};

wire! {
    /// What runs in the container, whatever the host.
    #[serde(rename_all = "PascalCase")]
    pub struct ContainerConfig {
        pub hostname: String,
        pub domainname: String,
        pub user: String,
        pub attach_stdin: bool,
        pub attach_stdout: bool,
        pub attach_stderr: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub exposed_ports: Option<StringSet>,
        pub tty: bool,
        pub open_stdin: bool,
        pub stdin_once: bool,
        pub env: Option<Vec<String>>,
        pub cmd: Option<Argv>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub healthcheck: Option<HealthConfig>,
        #[serde(skip_serializing_if = "empty")]
        pub args_escaped: bool,
        pub image: String,
        pub volumes: Option<StringSet>,
        pub working_dir: String,
        pub entrypoint: Option<Argv>,
        #[serde(skip_serializing_if = "empty")]
        pub network_disabled: bool,
        #[serde(skip_serializing_if = "empty")]
        pub mac_address: String,
        pub on_build: Option<Vec<String>>,
        pub labels: Option<Labels>,
        #[serde(skip_serializing_if = "empty")]
        pub stop_signal: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub stop_timeout: Option<i64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub shell: Option<Argv>,
    }
}
