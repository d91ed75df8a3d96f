//! What of a context travels with a second build: counted in bytes at the socket.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dray_harness::{Client, Daemon, fixture};

use super::{build, context};

/// Files of a size that nothing else of a build comes near.
const LARGE: usize = 2 << 20;
const FILES: usize = 8;

const DOCKERFILE: &str =
    "FROM busybox\nCOPY . /all\nRUN find /all -type f | sort | xargs sha256sum > /sums\n";

/// A socket in front of the daemon's, which counts what clients send.
struct Counting {
    path: PathBuf,
    sent: Arc<AtomicU64>,
}

impl Counting {
    fn before(daemon: &Daemon, name: &str) -> Counting {
        let path = daemon.scratch("counting").join(name);
        let listener = UnixListener::bind(&path).expect("a socket");
        let sent = Arc::new(AtomicU64::new(0));
        let (target, count) = (daemon.socket(), Arc::clone(&sent));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(daemon) = UnixStream::connect(&target) else { return };
                let back = (daemon.try_clone().expect("a socket"), client.try_clone().expect("a socket"));
                let count = Arc::clone(&count);
                std::thread::spawn(move || pass(client, daemon, &count));
                std::thread::spawn(move || pass(back.0, back.1, &AtomicU64::new(0)));
            }
        });
        Counting { path, sent }
    }

    /// What was sent since this was last asked.
    fn sent(&self) -> u64 {
        self.sent.swap(0, Ordering::SeqCst)
    }

    fn client(&self, program: PathBuf, config: &Path) -> Client {
        Client::new(program, format!("unix://{}", self.path.display()), config)
    }
}

fn pass(mut from: UnixStream, mut to: UnixStream, count: &AtomicU64) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        count.fetch_add(read as u64, Ordering::SeqCst);
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn large(seed: u8) -> Vec<u8> {
    // Nothing on the way compresses; yet no two files are alike.
    (0..LARGE).map(|n| (n as u8).wrapping_mul(31).wrapping_add(seed)).collect()
}

/// What the image has, as the folder has it.
fn check(daemon: &Daemon, folder: &Path, image: &str) {
    let seen = daemon.docker().ok(&format!("run --rm {image} cat /sums"));
    let here = std::process::Command::new("sh")
        .args(["-c", "find . -type f | LC_ALL=C sort | xargs sha256sum"])
        .current_dir(folder)
        .output()
        .expect("sha256sum");
    let here = String::from_utf8_lossy(&here.stdout).replace(" ./", " /all/");
    assert_eq!(seen, here.trim_end());
}

#[test]
fn only_changed_files_are_sent_again() {
    let mut daemon = Daemon::start();
    for name in ["dray", "buildx"] {
        let folder = context(&daemon, name, DOCKERFILE, &[("sub/small", "s"), ("gone/file", "g")]);
        for n in 0..FILES {
            fs::write(folder.join(format!("large{n}")), large(n as u8)).expect("a file");
        }
        std::os::unix::fs::symlink("sub/small", folder.join("link")).expect("a link");
        fs::hard_link(folder.join("large0"), folder.join("same")).expect("a link");
        // A file that has just been written may change again within a tick of the clock, and is sent again.
        std::thread::sleep(std::time::Duration::from_millis(50));
        let program = if name == "dray" { dray_harness::dray_binary() } else { fixture::buildx() };
        let config = daemon.scratch("counting-config");
        let counting = Counting::before(&daemon, name);
        let client = counting.client(program, &config);
        let image = format!("changes-{name}");
        let built = |what: &str| {
            build(&client, &folder, &format!("-t {image}")).expect_success();
            check(&daemon, &folder, &image);
            println!("{name}: {what}");
            counting.sent()
        };
        let all = (FILES * LARGE) as u64;
        assert!(built("first") >= all, "{name}: the first build sends all");
        let unchanged = built("unchanged");
        assert!(unchanged < LARGE as u64 / 4, "{name}: nothing has changed, {unchanged} bytes were sent");
        fs::write(folder.join("large3"), large(99)).expect("a file");
        fs::remove_dir_all(folder.join("gone")).expect("a folder");
        fs::write(folder.join("gone"), "a file now").expect("a file");
        fs::rename(folder.join("sub"), folder.join("moved")).expect("a folder");
        let changed = built("changed");
        let one = LARGE as u64;
        assert!((one..2 * one).contains(&changed), "{name}: one file has changed, {changed} bytes were sent");
        fs::set_permissions(folder.join("large4"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .expect("chmod");
        assert!(built("mode") >= one, "{name}: another mode is another file");
        let mode = daemon.docker().ok(&format!("run --rm {image} stat -c %a /all/large4"));
        assert_eq!(mode, "600", "{name}");
        fs::write(folder.join(".dockerignore"), "large5\nlarge6\n").expect("a file");
        let text = DOCKERFILE.replace("/sums", "/left").replace("COPY", "COPY --exclude=none");
        fs::write(folder.join("Dockerfile"), text).expect("the Dockerfile");
        build(&client, &folder, &format!("-t {image}")).expect_success();
        let left = daemon.docker().ok(&format!("run --rm {image} ls /all"));
        assert!(!left.contains("large5") && left.contains("large7"), "{name}: {left}");
        fs::remove_file(folder.join(".dockerignore")).expect("a file");
        fs::write(folder.join("Dockerfile"), DOCKERFILE).expect("the Dockerfile");
        built("back");
    }
    // What is kept is part of the cache: shown, pruned, and no part of any image.
    let docker = daemon.docker();
    let listed = daemon.dray().ok("builder du --verbose --filter type=source.local");
    assert!(listed.contains("local source for"), "{listed}");
    docker.ok("builder prune -af");
    let kept = daemon.data_root().join("build/kept");
    assert_eq!(fs::read_dir(&kept).map_or(0, Iterator::count), 0, "pruned");
    daemon.stop();
    daemon.launch();
}

#[test]
fn builds_at_once_and_a_killed_daemon_take_no_wrong_files() {
    let mut daemon = Daemon::spawn();
    let folder = context(&daemon, "twice", DOCKERFILE, &[]);
    for n in 0..300 {
        fs::create_dir_all(folder.join(format!("d{}", n % 10))).expect("a folder");
        fs::write(folder.join(format!("d{}/{n}", n % 10)), format!("file {n}")).expect("a file");
    }
    let dray = daemon.dray();
    let all = |round: &str| {
        fs::write(folder.join("d1/1"), round).expect("a file");
        std::thread::scope(|scope| {
            for n in 0..3 {
                let (dray, folder, image) = (&dray, &folder, format!("twice{n}"));
                scope.spawn(move || build(dray, folder, &format!("-t {image}")).expect_success());
            }
        });
    };
    all("one");
    all("two");
    for n in 0..3 {
        check(&daemon, &folder, &format!("twice{n}"));
    }
    daemon.crash_and_restart();
    fs::remove_file(folder.join("d2/2")).expect("a file");
    all("three");
    check(&daemon, &folder, "twice0");
}
