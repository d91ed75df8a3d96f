//! Why a request is refused.

/// Something in a request that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum Invalid {
    /// No configuration at all.
    #[error("config cannot be empty in order to create a container")]
    NoConfig,
    /// Neither image nor request says what to run.
    #[error("no command specified")]
    NoCommand,
    /// A relative working directory.
    #[error("the working directory '{0}' is invalid, it needs to be an absolute path")]
    WorkingDir(String),
    /// A stop signal that is none.
    #[error("{0}")]
    Signal(String),
    /// A variable without a name.
    #[error("invalid environment variable: {0}")]
    Env(String),
    /// A host name that is too long.
    #[error("hostname \"{0}\" is too long (maximum 64 bytes)")]
    HostnameTooLong(String),
    /// A time of the health check below its least.
    #[error("{0} in Healthcheck cannot be less than 1ms")]
    HealthDuration(&'static str),
    /// Negative retries.
    #[error("Retries in Healthcheck cannot be negative")]
    HealthRetries,
    /// A port that is none.
    #[error("invalid port specification: \"{0}\"")]
    Port(String),
    /// `--rm` and restarting contradict each other.
    #[error("can't create 'AutoRemove' container with restart policy")]
    AutoRemoveRestart,
    /// No such restart policy.
    #[error(
        "invalid restart policy: unknown policy '{0}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
    )]
    RestartPolicy(String),
    /// A count where none can be.
    #[error("invalid restart policy: maximum retry count can only be used with 'on-failure'{0}")]
    RestartCount(&'static str),
    /// A negative count.
    #[error("invalid restart policy: maximum retry count cannot be negative")]
    RestartCountNegative,
    /// No such capability.
    #[error("invalid {field}: unknown capability: \"{name}\"")]
    Capability {
        /// `CapAdd` or `CapDrop`.
        field: &'static str,
        /// The name, normalised.
        name: String,
    },
    /// An extra host without an address, or with one that is none.
    #[error("{0}")]
    ExtraHost(String),
    /// Isolation is for Windows.
    #[error("invalid isolation '{0}' on linux")]
    Isolation(String),
    /// An annotation without a name.
    #[error("invalid Annotations: the empty string is not permitted as an annotation key")]
    Annotation,
    /// A namespace mode that is none.
    #[error("invalid {kind} mode: {mode}")]
    NamespaceMode {
        /// `IPC`, `PID`, `UTS`, `cgroup namespace` or `user namespace`.
        kind: &'static str,
        /// The mode.
        mode: String,
    },
    /// A network mode that is none.
    #[error("invalid container format container:<name|id>")]
    NetworkContainer,
    /// Settings that mean nothing with a shared network.
    #[error("conflicting options: {0}")]
    Conflicting(&'static str),
    /// A link without a container.
    #[error("bad format for links: {0}")]
    Link(String),
    /// A link to nothing.
    #[error("could not get container for {0}: No such container: {0}")]
    LinkTarget(String),
    /// A negative size.
    #[error("SHM size can not be less than 0")]
    ShmSize,
    /// A score out of its range.
    #[error("Invalid value {0}, range for oom score adj is [-1000, 1000]")]
    OomScore(i64),
    /// No such runtime.
    #[error("unknown or invalid runtime name: {0}")]
    Runtime(String),
    /// An option that does not exist.
    #[error("invalid --security-opt 2: \"{0}\"")]
    SecurityOption(String),
    /// An option without a value.
    #[error("invalid --security-opt 1: \"{0}\"")]
    SecurityOptionShape(String),
    /// A seccomp profile that cannot be read.
    #[error("Decoding seccomp profile failed: {0}")]
    SeccompProfile(String),
    /// A limit below what Linux needs to run anything.
    #[error("Minimum memory limit allowed is 6MB")]
    MemoryTooSmall,
    /// Swap plus memory below memory.
    #[error("Minimum memoryswap limit should be larger than memory limit, see usage")]
    SwapBelowMemory,
    /// Swap without memory.
    #[error("You should always set the Memory limit when using Memoryswap limit, see usage")]
    SwapWithoutMemory,
    /// Swappiness out of its range.
    #[error("Invalid value: {0}, valid memory swappiness range is 0-100")]
    Swappiness(i64),
    /// A reservation below the least limit.
    #[error("Minimum memory reservation allowed is 6MB")]
    ReservationTooSmall,
    /// A reservation above the limit.
    #[error("Minimum memory limit can not be less than memory reservation limit, see usage")]
    ReservationAboveLimit,
    /// Two ways to say the same.
    #[error("Conflicting options: Nano CPUs and CPU {0} cannot both be set")]
    NanoCpus(&'static str),
    /// More processors than there are, or less than none.
    #[error("range of CPUs is from 0.01 to {0}.00, as there are only {0} CPUs available")]
    CpuRange(u32),
    /// Negative shares.
    #[error("invalid CPU shares ({0}): value must be a positive integer")]
    CpuShares(i64),
    /// A period out of its range.
    #[error("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")]
    CpuPeriod,
    /// A quota below its least.
    #[error("CPU cfs quota can not be less than 1ms (i.e. 1000)")]
    CpuQuota,
    /// A list that cannot be read.
    #[error("Invalid value {0} for cpuset {1}")]
    Cpuset(String, &'static str),
    /// Processors or nodes that are not there.
    #[error("Requested {what} are not available - requested {requested}, available: {available}")]
    CpusetUnavailable {
        /// `CPUs` or `memory nodes`.
        what: &'static str,
        /// The list asked for.
        requested: String,
        /// The list there is.
        available: String,
    },
    /// A weight out of its range.
    #[error("Range of blkio weight is from 10 to 1000")]
    BlkioWeight,
    /// Limits only Windows has.
    #[error("Invalid QoS settings: linux does not support Maximum IO Bandwidth or Maximum IO IOps")]
    WindowsIo,
    /// A limit of the process that does not exist.
    #[error("invalid ulimit type: {0}")]
    Ulimit(String),
    /// A soft limit above the hard one.
    #[error("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")]
    UlimitRange {
        /// Soft limit.
        soft: i64,
        /// Hard limit.
        hard: i64,
    },
    /// A kernel parameter that belongs to the host.
    #[error("sysctl '{0}' is not allowed as it affects the host, or cannot be set in this container")]
    Sysctl(String),
    /// A device rule of the wrong shape.
    #[error("invalid device cgroup rule format: '{0}'")]
    DeviceRule(String),
    /// A device mapping with wrong permissions.
    #[error("invalid device permissions for {device}: {permissions}")]
    DevicePermissions {
        /// The device.
        device: String,
        /// What was asked.
        permissions: String,
    },
    /// GPUs and the like.
    #[error("could not select device driver \"{driver}\" with capabilities: {capabilities}")]
    DeviceRequest {
        /// The driver's name.
        driver: String,
        /// The capabilities, as Go prints a slice of slices.
        capabilities: String,
    },
    /// A storage option that the driver does not have.
    #[error("--storage-opt is supported only for overlay over xfs with 'pquota' mount option")]
    StorageOption,
    /// A mount that cannot be.
    #[error(transparent)]
    Mount(#[from] crate::container::mount::Error),
    /// A log configuration that cannot be.
    #[error(transparent)]
    Log(#[from] crate::log::Error),
}
