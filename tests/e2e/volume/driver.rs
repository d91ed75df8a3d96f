//! Options of the local driver, parts of volumes, `volume df` and `volume update`.

use std::fs;

use dray_harness::Daemon;

#[test]
fn options_mount_what_they_name() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        let folder = daemon.scratch(&format!("device-{}", client.name()));
        fs::write(folder.join("file"), "host").expect("a file");
        let device = folder.display();
        client.ok("volume create -o type=tmpfs -o device=tmpfs -o o=size=64k,uid=1000,mode=700 memory");
        let size = client.ok("run --rm -v memory:/m busybox df -k /m");
        assert_eq!(size.lines().last().expect("a row").split_whitespace().nth(1), Some("64"), "{size}");
        assert_eq!(client.ok("run --rm -v memory:/m busybox stat -c %u:%a /m"), "1000:700");
        client.ok(&format!("volume create -o type=none -o device={device} -o o=bind,ro bound"));
        assert_eq!(client.ok("run --rm -v bound:/b busybox cat /b/file"), "host");
        client.sh("run --rm -v bound:/b busybox touch /b/x").expect_code(1).expect_error("Read-only");
        let options = client
            .run(["volume", "inspect", "-f", "{{json .Options}}", "bound"])
            .expect_success()
            .stdout
            .replace([' ', '\n'], "");
        assert!(options.contains("\"o\":\"bind,ro\""), "{options}");
        client
            .sh("volume create -o type=none -o o=bind wrong")
            .expect_code(1)
            .expect_error("create wrong: missing required option: \"device\"");
        client
            .sh("volume create -o nosuch=1 wrong")
            .expect_code(1)
            .expect_error("create wrong: invalid option: \"nosuch\"");
        client.ok("volume create -o type=none -o device=/no/such/folder -o o=bind nowhere");
        client
            .sh("run --rm -v nowhere:/x busybox true")
            .expect_code(127)
            .expect_error("failed to mount local volume");
        client.ok("volume rm memory bound nowhere");
        assert_eq!(fs::read_to_string(folder.join("file")).expect("a file"), "host");
    }
}

#[test]
fn a_part_of_a_volume_is_mounted() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.ok("volume create data");
        client.run(["run", "--rm", "-v", "data:/d", "busybox", "sh", "-c", PARTS]).expect_success();
        let part = |part: &str| format!("run --rm --mount type=volume,src=data,dst=/p,volume-subpath={part}");
        assert_eq!(client.ok(&format!("{} busybox cat /p/file", part("sub/deep"))), "deep");
        assert_eq!(client.ok(&format!("{} busybox cat /p", part("sub/deep/file"))), "deep");
        client
            .sh(&format!("{} busybox true", part("nosuch")))
            .expect_code(127)
            .expect_error("nosuch: no such file or directory");
        client
            .sh(&format!("{} busybox true", part("../x")))
            .expect_code(125)
            .expect_error("subpath must be a relative path within the volume");
        // A link cannot lead out of the volume.
        client.sh(&format!("{} busybox cat /p/passwd", part("out"))).expect_code(127);
        client.ok("volume rm data");
    }
}

const PARTS: &str = "mkdir -p /d/sub/deep; echo deep > /d/sub/deep/file; ln -s /etc /d/out";

#[test]
fn df_shows_what_volumes_take() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    client.ok("volume create small");
    client.ok("volume create large");
    client.ok("volume create -o type=tmpfs -o device=tmpfs -o o=size=128k memory");
    client.run([
        "run",
        "--rm",
        "-v",
        "large:/d",
        "busybox",
        "dd",
        "if=/dev/urandom",
        "of=/d/f",
        "bs=64k",
        "count=32",
    ]);
    client.ok("run -d --name holds -v memory:/m -v small:/s busybox sleep 1000");
    let table = client.ok("volume df");
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        rows[0],
        ["VOLUME", "NAME", "DRIVER", "LINKS", "FILES", "SIZE", "LIMIT", "AVAILABLE"],
        "{table}"
    );
    assert_eq!(rows[1][..4], ["large", "local", "0", "1"], "{table}");
    let format = "volume df --format {{.Name}}={{.Links}},{{.Limit}}";
    let lines = client.ok(format);
    assert!(lines.contains("memory=1,131.1kB") && lines.contains("small=1,N/A"), "{lines}");
    assert_eq!(client.ok("volume df -q small"), "small");
    client.sh("volume df nosuch").expect_code(1).expect_error("no such volume");
    client.ok("rm -f holds");
    assert!(client.ok(format).contains("memory=0,N/A"), "it is not mounted");
}

#[test]
fn labels_change() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    client.ok("volume create --label a=1 --label b=2 data");
    assert_eq!(client.ok("volume update --label-add a=3 --label-add c=4 --label-rm b data"), "data");
    assert_eq!(
        client
            .run(["volume", "inspect", "-f", "{{json .Labels}}", "data"])
            .expect_success()
            .stdout
            .replace([' ', '\n'], ""),
        r#"{"a":"3","c":"4"}"#
    );
    assert_eq!(client.ok("volume ls -q --filter label=c=4"), "data");
    client.sh("volume update --label-add a=1 nosuch").expect_code(1).expect_error("no such volume");
    client
        .sh("volume update --label-rm com.docker.volume.anonymous data")
        .expect_code(1)
        .expect_error("invalid label");
    for client in daemon.clients() {
        client.sh("volume update data").expect_code(1).expect_error("can only update cluster volumes");
    }
}
