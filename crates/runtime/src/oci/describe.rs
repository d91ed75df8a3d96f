//! What the runtime says about itself: version, help, features, a first configuration.

use std::path::PathBuf;

use dray_spec::runtime::{
    Capabilities, Linux, Mount, Namespace, NamespaceKind, OCI_VERSION, Process, Resources, Rlimit, Root, Spec,
};

use super::args::{Args, switch, value};
use super::{OciError, io_error, print};

/// `--version`, in the form dockerd and containerd read.
pub fn version() -> Result<u8, OciError> {
    let version = env!("CARGO_PKG_VERSION");
    Ok(print(&format!("dray-runtime version {version}\ncommit: {version}\nspec: {OCI_VERSION}\n")))
}

/// `--help`
pub fn help() -> Result<u8, OciError> {
    Ok(print(
        "dray-runtime - run OCI containers\n\n\
         Usage: dray-runtime [--root DIR] [--log FILE] [--log-format text|json] COMMAND\n\n\
         Commands:\n  \
           create    make a container from a bundle; its program waits\n  \
           start     run the program of a created container\n  \
           run       create, start, wait, delete\n  \
           exec      run a further program in a container\n  \
           state     print the state of a container\n  \
           kill      send a signal to a container's init\n  \
           delete    remove a stopped container\n  \
           list      list containers\n  \
           ps        list the processes of a container\n  \
           pause     freeze a container\n  \
           resume    let it go on\n  \
           update    change limits\n  \
           events    print what a container has used (--stats)\n  \
           features  print what this runtime can do\n  \
           spec      write a configuration to begin with\n",
    ))
}

/// `features`
pub fn features() -> Result<u8, OciError> {
    let namespaces = ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"];
    let options = [
        "async",
        "atime",
        "bind",
        "defaults",
        "dev",
        "diratime",
        "exec",
        "noatime",
        "nodev",
        "nodiratime",
        "noexec",
        "nosuid",
        "nosymfollow",
        "private",
        "ratime",
        "rbind",
        "rdev",
        "relatime",
        "rexec",
        "rnoatime",
        "rnodev",
        "rnodiratime",
        "rnoexec",
        "rnosuid",
        "ro",
        "rprivate",
        "rro",
        "rrw",
        "rshared",
        "rslave",
        "rsuid",
        "runbindable",
        "rw",
        "shared",
        "slave",
        "strictatime",
        "suid",
        "symfollow",
        "tmpcopyup",
        "unbindable",
        "idmap",
        "ridmap",
    ];
    let capabilities: Vec<String> = dray_sys::caps::NAMES.iter().map(|name| format!("CAP_{name}")).collect();
    let document = serde_json::json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": OCI_VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": options.as_slice(),
        "linux": {
            "namespaces": namespaces,
            "capabilities": capabilities,
            "cgroup": {"v1": true, "v2": true, "systemd": false, "systemdUser": false, "rdma": true},
            "seccomp": {
                "enabled": true,
                "actions": ["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS",
                    "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP"],
                "operators": ["SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT",
                    "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"],
                "archs": ["SCMP_ARCH_X32", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64"],
                "knownFlags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
                    "SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]},
            "apparmor": {"enabled": true},
            "selinux": {"enabled": true},
            "mountExtensions": {"idmap": {"enabled": true}}},
    });
    Ok(print(&format!("{document:#}\n")))
}

/// `spec`: writes config.json.
pub fn spec(words: &[String]) -> Result<u8, OciError> {
    let args = Args::parse(words, &[value("bundle", "b"), switch("rootless", "")], false)?;
    let path = PathBuf::from(args.get("bundle").unwrap_or(".")).join("config.json");
    if path.exists() {
        return Err(OciError::Usage { text: format!("file {} exists. Remove it first", path.display()) });
    }
    let text = serde_json::to_string_pretty(&template())
        .map_err(|source| OciError::Json { path: path.clone(), source })?;
    std::fs::write(&path, text).map_err(io_error("write", &path))?;
    Ok(0)
}

fn template() -> Spec {
    let caps: Vec<String> =
        ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"].map(str::to_owned).to_vec();
    let kinds = [
        NamespaceKind::Pid,
        NamespaceKind::Network,
        NamespaceKind::Ipc,
        NamespaceKind::Uts,
        NamespaceKind::Mount,
        NamespaceKind::Cgroup,
    ];
    Spec {
        process: Some(Process {
            terminal: true,
            args: vec!["sh".to_owned()],
            env: vec![
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
                "TERM=xterm".to_owned(),
            ],
            cwd: "/".into(),
            capabilities: Some(Capabilities {
                bounding: caps.clone(),
                effective: caps.clone(),
                permitted: caps,
                ..Capabilities::default()
            }),
            rlimits: vec![Rlimit { kind: "RLIMIT_NOFILE".to_owned(), hard: 1024, soft: 1024 }],
            no_new_privileges: true,
            ..Process::default()
        }),
        root: Some(Root { path: "rootfs".into(), readonly: true }),
        hostname: Some("dray".to_owned()),
        mounts: vec![
            Mount::new("/proc", "proc", "proc", &[]),
            Mount::new("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            Mount::new(
                "/dev/pts",
                "devpts",
                "devpts",
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
            ),
            Mount::new(
                "/dev/shm",
                "tmpfs",
                "shm",
                &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
            ),
            Mount::new("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            Mount::new("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            Mount::new(
                "/sys/fs/cgroup",
                "cgroup",
                "cgroup",
                &["nosuid", "noexec", "nodev", "relatime", "ro"],
            ),
        ],
        linux: Some(Linux {
            namespaces: kinds.into_iter().map(Namespace::new).collect(),
            resources: Some(Resources::default()),
            masked_paths: [
                "/proc/acpi",
                "/proc/asound",
                "/proc/kcore",
                "/proc/keys",
                "/proc/latency_stats",
                "/proc/timer_list",
                "/proc/timer_stats",
                "/proc/sched_debug",
                "/sys/firmware",
                "/proc/scsi",
            ]
            .map(str::to_owned)
            .to_vec(),
            readonly_paths: ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
                .map(str::to_owned)
                .to_vec(),
            ..Linux::default()
        }),
        ..Spec::default()
    }
}
