//! `run --rm` that is interrupted while the daemon takes its time: nothing is left.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use dray_harness::client::{Client, eventually, wait_within};
use dray_harness::{Daemon, dray_binary};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Stands before a daemon and never passes on what begins with these words.
struct Slow {
    socket: PathBuf,
    held: Arc<AtomicUsize>,
}

impl Slow {
    fn before(daemon: &Path, folder: &Path, holds: &'static str) -> Slow {
        let socket = folder.join("slow.sock");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let held = Arc::new(AtomicUsize::new(0));
        let (daemon, count) = (daemon.to_owned(), Arc::clone(&held));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = UnixStream::connect(&daemon) else { return };
                let (mut from, mut to) =
                    (server.try_clone().expect("a socket"), client.try_clone().expect("a socket"));
                thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
                let count = Arc::clone(&count);
                thread::spawn(move || pass(client, server, holds, &count));
            }
        });
        Slow { socket, held }
    }
}

fn pass(mut client: UnixStream, mut server: UnixStream, holds: &str, held: &AtomicUsize) {
    let mut buffer = [0; 16 << 10];
    while let Ok(read @ 1..) = client.read(&mut buffer) {
        let head = String::from_utf8_lossy(&buffer[..read]).into_owned();
        let line = head.lines().next().unwrap_or_default();
        if line.starts_with("POST") && line.contains(holds) {
            held.fetch_add(1, Ordering::SeqCst);
            // Until the client gives up.
            while let Ok(1..) = client.read(&mut buffer) {}
            return;
        }
        if server.write_all(&buffer[..read]).is_err() {
            return;
        }
    }
    let _ = server.shutdown(Shutdown::Write);
}

#[test]
fn what_was_made_and_not_started_goes() {
    let daemon = Daemon::start();
    for (holds, secret) in [("/start", false), ("/attach", false), ("/start", true)] {
        let folder = TempDir::with_prefix("dray-run-").expect("a folder");
        let more = if secret { ", configs: [c]" } else { "" };
        let text = format!(
            "name: p\nservices: {{a: {{image: busybox, command: sleep 1000{more}}}}}\nconfigs: {{c: {{content: x}}}}\n"
        );
        fs::write(folder.path().join("compose.yaml"), text).expect("compose.yaml");
        let slow = Slow::before(&daemon.socket(), folder.path(), holds);
        let client = Client::new(dray_binary(), format!("unix://{}", slow.socket.display()), folder.path());
        let mut command = client.command(["compose", "run", "--rm", "-T", "a"]);
        let mut child =
            command.current_dir(folder.path()).env("PWD", folder.path()).spawn().expect("compose");
        eventually("the request is held", || slow.held.load(Ordering::SeqCst) > 0);
        assert!(!daemon.dray().ok("ps -aq").is_empty());
        let pid = Pid::from_raw(child.id().cast_signed()).expect("a pid");
        kill_process(pid, Signal::INT).expect("interrupt");
        let code = wait_within(&mut child, Duration::from_secs(60)).and_then(|status| status.code());
        assert_eq!(code, Some(130));
        assert_eq!(daemon.dray().ok("ps -aq"), "", "nothing is left ({holds})");
        daemon.dray().ok("network rm p_default");
    }
}
