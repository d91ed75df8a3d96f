//! Devices by name (CDI): containers and build steps, `info`.

use std::fs;
use std::path::PathBuf;

use dray_harness::{Daemon, fixture};

/// A daemon with a device, and its folder of specifications.
fn daemon() -> (Daemon, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let daemon = Daemon::with_flags(&["--cdi-spec-dir", &folder.path().display().to_string()]);
    daemon.load(&fixture::busybox());
    let tool = daemon.scratch("driver").join("tool");
    fs::write(&tool, "of the driver").expect("a file");
    let text = format!(
        "cdiVersion: 0.6.0\nkind: vendor.com/device\ncontainerEdits:\n  env:\n  - COMMON=yes\ndevices:\n- name: one\n  \
         containerEdits:\n    env: [DEVICE=one]\n    deviceNodes:\n    - path: /dev/mine\n      hostPath: /dev/full\n      \
         fileMode: 0640\n    mounts:\n    - hostPath: {}\n      containerPath: /opt/tool\n      options: [ro, nosuid]\n    \
         additionalGids: [4242]\n    hooks:\n    - hookName: createRuntime\n      path: /bin/touch\n      args: [touch, {}]\n\
         - name: two\n  containerEdits:\n    env: [SECOND=two]\n",
        tool.display(),
        hooked(&daemon).display()
    );
    fs::write(folder.path().join("vendor.yaml"), text).expect("a specification");
    (daemon, folder)
}

/// What the device's hook makes.
fn hooked(daemon: &Daemon) -> PathBuf {
    daemon.scratch("driver").join("hooked")
}

const LOOK: &str = "echo $COMMON $DEVICE $SECOND; id -G; stat -c '%t:%T %a' /dev/mine; cat /opt/tool; echo; \
                    echo x 2>/dev/null > /dev/mine || echo full; touch /opt/tool 2>/dev/null || echo kept";

#[test]
fn a_container_has_what_its_device_brings() {
    let (daemon, _folder) = daemon();
    for client in daemon.clients() {
        let flags = ["run", "--rm", "--device", "vendor.com/device=one", "--device", "vendor.com/device=two"];
        let ran = client.run(flags.into_iter().chain(["busybox", "sh", "-c", LOOK])).expect_success();
        assert_eq!(ran.stdout, "yes one two\n0 4242\n1:7 640\nof the driver\nfull\nkept\n");
        assert!(hooked(&daemon).exists(), "the hook has run");
        fs::remove_file(hooked(&daemon)).expect("the hook's file");
        let failed = client.sh("run --rm --device vendor.com/device=none busybox true").expect_code(125);
        failed.expect_error("CDI device injection failed: unresolvable CDI devices vendor.com/device=none");
        let info = client.ok("info");
        assert!(info.contains("CDI spec directories:"), "{info}");
        if client.name() == "dray" {
            assert!(info.contains(" Discovered Devices:\n  cdi: vendor.com/device=one\n"), "{info}");
        }
    }
    let answer = dray_harness::http::unix_get(&daemon.socket(), "/info").expect("info").json();
    assert_eq!(answer["DiscoveredDevices"][1]["ID"], "vendor.com/device=two");
    assert_eq!(answer["DiscoveredDevices"][1]["Source"], "cdi");
}

#[test]
fn a_step_has_a_device_where_the_build_allows_it() {
    let (daemon, folder) = daemon();
    let context = daemon.scratch("context");
    let path = context.display().to_string();
    let build = |device: &str, flags: &str| {
        let text = format!(
            "FROM busybox\nRUN --device={device} echo $DEVICE > /device && stat -c %t:%T /dev/mine >> /device\n"
        );
        fs::write(context.join("Dockerfile"), text).expect("the Dockerfile");
        daemon
            .dray()
            .run(["build", "-t", "built"].into_iter().chain(flags.split_whitespace()).chain([path.as_str()]))
    };
    build("vendor.com/device=one", "").expect_code(1).expect_error("device is not allowed");
    for name in ["vendor.com/device=one,required", "vendor.com/device", "vendor.com/device=*"] {
        build(name, "--allow device").expect_success();
        assert_eq!(daemon.docker().ok("run --rm built cat /device"), "one\n1:7");
    }
    daemon.docker().sh("run --rm built ls /dev/mine").expect_code(1);
    fs::remove_file(folder.path().join("vendor.yaml")).expect("the specification");
    let gone = build("vendor.com/device=one,required", "--allow device").expect_code(1);
    gone.expect_error("required device \"vendor.com/device=one\" is not registered");
}
