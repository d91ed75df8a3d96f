//! Volumes, bind mounts, tmpfs.

mod backup;
mod block;
mod clone;
mod driver;
mod owner;
mod plugin;
mod quota;
mod rename;
mod share;

use std::fs;

use dray_harness::Daemon;

#[test]
fn named_volumes_keep_what_is_written() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        assert_eq!(client.ok("volume create data"), "data");
        client
            .run(["run", "--rm", "-v", "data:/d", "busybox", "sh", "-c", "echo kept > /d/file"])
            .expect_success();
        assert_eq!(client.ok("run --rm -v data:/d:ro busybox cat /d/file"), "kept");
        client
            .run(["run", "--rm", "-v", "data:/d:ro", "busybox", "touch", "/d/x"])
            .expect_code(1)
            .expect_error("Read-only");
        let table = client.ok("volume ls");
        assert_eq!(
            table.lines().next().expect("a head").split_whitespace().collect::<Vec<_>>(),
            ["DRIVER", "VOLUME", "NAME"]
        );
        client.ok("create --name holds -v data:/d busybox true");
        client.sh("volume rm data").expect_code(1).expect_error("volume is in use");
        client.ok("rm holds");
        assert_eq!(client.ok("volume rm data"), "data");
        client.sh("volume inspect data").expect_code(1).expect_error("no such volume");
    }
}

#[test]
fn a_new_volume_gets_the_images_content() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        assert!(client.ok("run --rm -v fresh:/etc busybox cat /etc/passwd").contains("root:x:0:0"));
        assert!(client.ok("run --rm -v fresh:/elsewhere busybox ls /elsewhere").contains("passwd"));
        assert_eq!(client.ok("run --rm -v bare:/var/www:nocopy busybox ls /var/www"), "");
        client.ok("volume rm fresh bare");
    }
}

#[test]
fn bind_mounts_show_the_hosts_folder() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        let folder = daemon.scratch(&format!("bind-{}", client.name()));
        fs::write(folder.join("file"), "host").expect("a file");
        let host = folder.display();
        assert_eq!(client.ok(&format!("run --rm -v {host}:/h busybox cat /h/file")), "host");
        client.ok(&format!("run --rm --mount type=bind,source={host},target=/h busybox touch /h/made"));
        assert!(folder.join("made").exists());
        client
            .sh(&format!("run --rm --mount type=bind,source={host},target=/h,readonly busybox touch /h/no"))
            .expect_code(1);
        let file = format!("run --rm -v {host}/file:/etc/passwd:ro busybox cat /etc/passwd");
        assert_eq!(client.ok(&file), "host", "a single file");
        client
            .sh(&format!("run --rm --mount type=bind,source={host}/nosuch,target=/h busybox true"))
            .expect_code(125)
            .expect_error("bind source path does not exist");
        client.ok(&format!("run --rm -v {host}/made-by-v:/h busybox true"));
        assert!(folder.join("made-by-v").is_dir());
    }
}

#[test]
fn tmpfs_is_empty_and_bounded() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        let line = "run --rm --mount type=tmpfs,target=/t,tmpfs-size=1m busybox df -k /t";
        assert!(client.ok(line).lines().last().expect("a row").contains("1024"));
    }
}

#[test]
fn wrong_specifications_are_named() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.sh("run --rm -v a:b:c:d busybox true").expect_code(125).expect_error("invalid");
        client.sh("run --rm -v /tmp:relative busybox true").expect_code(125).expect_error("relative");
        client.sh("run --rm -v bad/name:/x busybox true").expect_code(125).expect_error("bad/name");
        client.sh("run --rm -v /tmp:/x:nosuchmode busybox true").expect_code(125).expect_error("nosuchmode");
        client
            .sh("run --rm --mount type=volume,target=/ busybox true")
            .expect_code(125)
            .expect_error("can't be '/'");
    }
    assert_eq!(daemon.dray().ok("volume ls -q"), "");
}

#[test]
fn prune_takes_the_unused() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.ok("create --name holds -v used:/d busybox true");
        client.ok("volume create unused");
        client.ok("volume prune -af");
        assert_eq!(client.ok("volume ls -q"), "used");
        client.ok("rm holds");
        client.ok("volume rm used");
    }
}

#[test]
fn an_image_is_mounted_read_only_or_a_part_of_it() {
    let mut daemon = Daemon::spawn();
    for client in daemon.clients() {
        client.ok("tag busybox mounted:1");
        let line = "run --rm --mount type=image,src=mounted:1,dst=/i busybox ls /i/etc/passwd";
        assert_eq!(client.ok(line), "/i/etc/passwd");
        client
            .sh("run --rm --mount type=image,src=mounted:1,dst=/i busybox touch /i/x")
            .expect_code(1)
            .expect_error("Read-only file system");
        let part = "run --rm --mount type=image,src=mounted:1,dst=/i,image-subpath=etc busybox ls /i/passwd";
        assert_eq!(client.ok(part), "/i/passwd");
        client
            .sh("run --rm --mount type=image,src=mounted:1,dst=/i,image-subpath=nosuch busybox true")
            .expect_code(127)
            .expect_error("nosuch: no such file or directory");
        client
            .sh("run --rm --mount type=image,src=mounted:1,dst=/i,image-subpath=../../etc busybox true")
            .expect_code(125)
            .expect_error("subpath must be a relative path within the volume");
        client
            .sh("run --rm --mount type=image,src=nosuch,dst=/i --pull never busybox true")
            .expect_code(125)
            .expect_error("nosuch");
    }
    let client = daemon.dray();
    client.ok("run -d --name holds --mount type=image,src=mounted:1,dst=/i busybox sleep 1000");
    daemon.crash_and_restart();
    assert_eq!(client.ok("exec holds ls /i/etc/passwd"), "/i/etc/passwd");
    client.ok("rm -f holds");
    let run_root = daemon.run_root().display().to_string();
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("mounts");
    assert!(!mounts.contains(&format!("{run_root}/image/")), "{mounts}");
}
