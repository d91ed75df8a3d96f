//! The labels by which a project's resources are found: Docker Compose's own.

/// The project.
pub const PROJECT: &str = "com.docker.compose.project";
/// The service.
pub const SERVICE: &str = "com.docker.compose.service";
/// Hash of the configuration.
pub const CONFIG_HASH: &str = "com.docker.compose.config-hash";
/// Number of the replica.
pub const NUMBER: &str = "com.docker.compose.container-number";
/// The volume's name in the project.
pub const VOLUME: &str = "com.docker.compose.volume";
/// The network's name in the project.
pub const NETWORK: &str = "com.docker.compose.network";
/// The project's folder.
pub const WORKING_DIR: &str = "com.docker.compose.project.working_dir";
/// The project's files.
pub const CONFIG_FILES: &str = "com.docker.compose.project.config_files";
/// The env files of the command line.
pub const ENVIRONMENT_FILE: &str = "com.docker.compose.project.environment_file";
/// `True` for a container of `run`.
pub const ONE_OFF: &str = "com.docker.compose.oneoff";
/// What names a container of `run`.
pub const SLUG: &str = "com.docker.compose.slug";
/// The image's id.
pub const IMAGE: &str = "com.docker.compose.image";
/// What the service depends on.
pub const DEPENDS_ON: &str = "com.docker.compose.depends_on";
/// The tool's version.
pub const VERSION: &str = "com.docker.compose.version";
/// What the container replaces.
pub const REPLACE: &str = "com.docker.compose.replace";

/// Dray's own: the daemon restarts the container when it becomes unhealthy.
pub const RESTART_UNHEALTHY: &str = "dev.dray.restart-unhealthy";

/// Dray's own: containers with the same value share the ports of the host that they publish.
pub const SHARE_PORTS: &str = "dev.dray.share-ports";

/// Dray's own: containers with the same value are behind one address, which has this name on their networks.
pub const VIRTUAL_IP: &str = "dev.dray.virtual-ip";

/// Dray's own: how many containers the service has follows what they have to do, as this JSON says.
pub const AUTOSCALE: &str = "dev.dray.autoscale";
/// Dray's own: the files that were put into the container before it started, for the next one that is like it.
pub const FILES: &str = "dev.dray.files";

/// The version that is written: the specification's rules are those of this Docker Compose.
pub const COMPOSE_VERSION: &str = "2.40.3";
