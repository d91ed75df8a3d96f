//! The configuration as a whole: against golden files, and by single settings.

use dray_api::container::{ContainerConfig, HostConfig, MountType};

use super::*;
use crate::container::mount::MountPoint;

fn record() -> Record {
    Record {
        id: "a".repeat(64),
        name: "web".into(),
        path: "/bin/server".into(),
        args: vec!["--port".into(), "80".into()],
        config: ContainerConfig {
            hostname: "aaaaaaaaaaaa".into(),
            env: Some(vec!["MODE=fast".into()]),
            ..ContainerConfig::default()
        },
        host: HostConfig {
            network_mode: "bridge".into(),
            ipc_mode: "private".into(),
            cgroupns_mode: "private".into(),
            shm_size: 67_108_864,
            masked_paths: Some(MASKED.iter().map(|path| (*path).to_owned()).collect()),
            readonly_paths: Some(READ_ONLY.iter().map(|path| (*path).to_owned()).collect()),
            ..HostConfig::default()
        },
        ..Record::default()
    }
}

fn input(record: &Record) -> Input<'_> {
    let text = "root:x:0:0:root:/root:/bin/sh\n";
    Input {
        record,
        user: resolve_user("", &[], text, "").unwrap(),
        security: SecurityOptions::default(),
        devices: Devices { rules: devices(&HostConfig::default()).unwrap().rules, nodes: Vec::new() },
        joined: Joined { network: Some("/run/dray/netns/a".into()), ..Joined::default() },
        files: vec![
            ("/data/c/hosts".into(), "/etc/hosts"),
            ("/data/c/resolv.conf".into(), "/etc/resolv.conf"),
        ],
        read_only: Vec::new(),
        sources: BTreeMap::new(),
        shm: None,
        env: Vec::new(),
        init: false,
        cgroup: format!("/dray/{}", record.id),
        bounding: |_| true,
    }
}

fn made(record: &Record) -> Spec {
    generate(&input(record)).unwrap()
}

/// Compares with a golden file; `UPDATE_GOLDEN=1` writes it.
fn golden(name: &str, spec: &Spec) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/container/spec/golden").join(name);
    let text = serde_json::to_string_pretty(spec).unwrap() + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let want = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(text == want, "{name} differs from what is made now (UPDATE_GOLDEN=1 writes it):\n{text}");
}

fn mount<'a>(spec: &'a Spec, destination: &str) -> Option<&'a dray_spec::runtime::Mount> {
    spec.mounts.iter().find(|mount| mount.destination.as_os_str() == destination)
}

#[test]
fn plain_container() {
    golden("plain.json", &made(&record()));
}

#[test]
fn hardened_container() {
    let mut hardened = record();
    hardened.host.readonly_rootfs = true;
    hardened.host.cap_drop = Some(vec!["ALL".into()]);
    hardened.host.cap_add = Some(vec!["NET_BIND_SERVICE".into()]);
    hardened.host.tmpfs = Some([("/tmp".into(), "size=1m".into())].into());
    hardened.host.resources.memory = 64 << 20;
    hardened.host.resources.nano_cpus = 500_000_000;
    hardened.host.resources.pids_limit = Some(100);
    hardened.mounts = vec![
        MountPoint {
            kind: MountType::Bind,
            source: "/srv/x".into(),
            destination: "/data/x".into(),
            ..MountPoint::default()
        },
        MountPoint {
            kind: MountType::Volume,
            name: "v".into(),
            source: "/vol/v/_data".into(),
            destination: "/data".into(),
            rw: true,
            ..MountPoint::default()
        },
    ];
    let security = SecurityOptions { no_new_privileges: true, ..SecurityOptions::default() };
    golden("hardened.json", &generate(&Input { security, ..input(&hardened) }).unwrap());
}

#[test]
fn host_modes_have_no_namespace() {
    let mut shared = record();
    shared.host.network_mode = "host".into();
    shared.host.pid_mode = "host".into();
    shared.host.ipc_mode = "host".into();
    shared.host.uts_mode = "host".into();
    shared.host.cgroupns_mode = "host".into();
    let spec = generate(&Input { joined: Joined::default(), ..input(&shared) }).unwrap();
    let linux = spec.linux.unwrap();
    assert_eq!(linux.namespaces, [OciNamespace::new(NamespaceKind::Mount)]);
    assert!(spec.hostname.is_none() && linux.sysctl.is_empty());
}

#[test]
fn privileged_sees_and_may_everything() {
    let mut privileged = record();
    privileged.host.privileged = true;
    let spec = made(&privileged);
    assert!(!mount(&spec, "/sys").unwrap().options.contains(&"ro".to_owned()));
    assert!(!mount(&spec, "/sys/fs/cgroup").unwrap().options.contains(&"ro".to_owned()));
    assert!(spec.linux.unwrap().masked_paths.is_empty());
    assert_eq!(spec.process.unwrap().capabilities.unwrap().effective.len(), 41);
}

#[test]
fn what_is_mounted_over_a_default_replaces_it() {
    let mut over = record();
    over.host.ipc_mode = "none".into();
    over.mounts = vec![MountPoint {
        kind: MountType::Bind,
        source: "/d".into(),
        destination: "/dev".into(),
        rw: true,
        ..MountPoint::default()
    }];
    let spec = made(&over);
    assert_eq!(mount(&spec, "/dev").unwrap().kind.as_deref(), Some("bind"));
    assert!(mount(&spec, "/dev/shm").is_none() && mount(&spec, "/dev/pts").is_none());
    over.mounts[0].destination = "/etc/hosts".into();
    assert_eq!(mount(&made(&over), "/etc/hosts").unwrap().source.as_deref(), Some("/d"));
}

#[test]
fn environment_is_laid_over() {
    let mut given = record();
    given.config.tty = true;
    given.config.env = Some(vec!["PATH=/only".into(), "HOSTNAME".into(), "EMPTY=".into()]);
    let spec = generate(&Input { env: vec!["SSL_CERT_FILE=/ca".into()], ..input(&given) }).unwrap();
    let env = spec.process.unwrap().env;
    assert_eq!(env, ["PATH=/only", "TERM=xterm", "SSL_CERT_FILE=/ca", "EMPTY=", "HOME=/root"]);
}

#[test]
fn init_wraps_the_program() {
    let plain = record();
    let spec = generate(&Input { init: true, ..input(&plain) }).unwrap();
    assert_eq!(spec.process.unwrap().args, [INIT_PATH, "--", "/bin/server", "--port", "80"]);
}

#[test]
fn another_user_has_no_capabilities_in_effect() {
    let plain = record();
    let user = resolve_user("1000", &[], "", "").unwrap();
    let spec = generate(&Input { user, ..input(&plain) }).unwrap();
    let sets = spec.process.unwrap().capabilities.unwrap();
    assert!(sets.effective.is_empty() && !sets.bounding.is_empty());
}
