//! A data root without room: what does not fit is refused with the reason, what was there stays, and the daemon goes
//! on.

use std::path::PathBuf;

use dray_harness::Daemon;
use dray_harness::registry::Registry;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::super::build::{build, context};

/// A small file system over a daemon's data root, taken away again when dropped.
struct Small(PathBuf);

impl Small {
    fn over(daemon: &mut Daemon, size: &str) -> Self {
        daemon.stop();
        let path = daemon.data_root();
        let data = std::ffi::CString::new(format!("size={size}")).expect("text");
        mount("tmpfs", &path, "tmpfs", MountFlags::empty(), Some(data.as_c_str())).expect("mount");
        daemon.launch();
        Self(path)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // The daemon may still have files open in it.
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

#[test]
fn a_build_that_does_not_fit_says_so_and_leaves_room() {
    let mut daemon = Daemon::spawn_with_flags(&[]);
    let small = Small::over(&mut daemon, "24m");
    daemon.load(&dray_harness::fixture::busybox());
    for client in daemon.clients() {
        let name = client.name();
        let dockerfile = "FROM busybox\nRUN dd if=/dev/zero of=/big bs=1M count=50\n";
        let folder = context(&daemon, &format!("run-{name}"), dockerfile, &[]);
        let done = build(&client, &folder, "-t big");
        assert!(done.code != 0, "{}", done.output());
        assert!(done.output().contains("No space left on device"), "{}", done.output());
        let folder = context(&daemon, &format!("copy-{name}"), "FROM busybox\nCOPY big /big\n", &[]);
        std::fs::write(folder.join("big"), vec![1; 50_000_000]).expect("a file");
        let done = build(&client, &folder, "-t big");
        assert!(done.code != 0, "{}", done.output());
        let said = done.output().to_lowercase();
        assert!(said.contains("no space left on device") || said.contains("there is room for"), "{said}");
        assert_eq!(client.ok("images -q big"), "");
        assert_eq!(client.ok("run --rm busybox echo works"), "works", "the daemon goes on, and has room");
    }
    daemon.stop();
    drop(small);
    daemon.launch();
}

#[test]
fn a_pull_that_does_not_fit_says_so_and_leaves_room() {
    let registry = Registry::start();
    let source = Daemon::start();
    let name = format!("{}/big:1", registry.host());
    let folder = context(&source, "big", "FROM busybox\nCOPY big /big\n", &[]);
    // What does not compress: bytes of a small generator.
    let mut state = 1_u32;
    let noise: Vec<u8> = (0..40_000_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    std::fs::write(folder.join("big"), noise).expect("a file");
    build(&source.dray(), &folder, &format!("-t {name}")).expect_success();
    source.dray().ok(&format!("push -q {name}"));

    let mut daemon = Daemon::spawn_with_flags(&[]);
    let small = Small::over(&mut daemon, "24m");
    daemon.load(&dray_harness::fixture::busybox());
    for client in daemon.clients() {
        let done = client.sh(&format!("pull {name}")).expect_code(1);
        let said = done.stderr.to_lowercase();
        assert!(said.contains("no space left on device") || said.contains("there is room for"), "{said}");
        assert_eq!(client.ok("images --format {{.Repository}}"), "busybox");
        assert_eq!(client.ok("run --rm busybox echo works"), "works", "the daemon goes on, and has room");
    }
    daemon.stop();
    drop(small);
    daemon.launch();
}
