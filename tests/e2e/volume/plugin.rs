//! Volume plugins: drivers that are programs of the host, over Docker's protocol.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use dray_harness::Daemon;
use dray_harness::client::eventually;

/// A volume driver with folders of its own, and what it was asked.
#[derive(Clone)]
struct Driver {
    root: PathBuf,
    calls: Arc<Mutex<Vec<String>>>,
}

impl Driver {
    /// Serves a socket as long as the test runs.
    fn serve(socket: &Path, root: &Path) -> Self {
        let driver = Driver { root: root.to_owned(), calls: Arc::default() };
        let listener = UnixListener::bind(socket).expect("a socket");
        let serving = driver.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                std::thread::spawn(move || serving.answer(stream));
            }
        });
        driver
    }

    fn answer(&self, stream: UnixStream) {
        let mut reader = BufReader::new(&stream);
        let (mut line, mut length) = (String::new(), 0);
        reader.read_line(&mut line).expect("a request");
        let method = line.split_whitespace().nth(1).expect("a path").trim_start_matches('/').to_owned();
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).expect("a header");
            if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().expect("a length");
            }
            if header.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("a body");
        let call: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        let (status, text) = self.act(&method, &call);
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{text}", text.len());
        (&stream).write_all(answer.as_bytes()).expect("an answer");
    }

    fn act(&self, method: &str, call: &serde_json::Value) -> (u16, String) {
        let name = call["Name"].as_str().unwrap_or_default();
        let folder = self.root.join(name);
        let noted = match method {
            "VolumeDriver.Create" => format!("create {name} {}", call["Opts"]),
            "VolumeDriver.Remove" => format!("remove {name}"),
            "VolumeDriver.Mount" => format!("mount {name} {}", call["ID"].as_str().unwrap_or_default()),
            "VolumeDriver.Unmount" => format!("unmount {name} {}", call["ID"].as_str().unwrap_or_default()),
            _ => String::new(),
        };
        if !noted.is_empty() {
            self.calls.lock().expect("calls").push(noted);
        }
        let volume = |name: &str| {
            format!(
                r#"{{"Name":"{name}","Mountpoint":"{}","Status":{{"tier":"gold"}}}}"#,
                self.root.join(name).display()
            )
        };
        let answer = match method {
            "Plugin.Activate" => r#"{"Implements":["VolumeDriver"]}"#.to_owned(),
            "VolumeDriver.Capabilities" => r#"{"Capabilities":{"Scope":"global"}}"#.to_owned(),
            "VolumeDriver.Create" if call["Opts"]["fail"] == "yes" => {
                return (500, r#"{"Err":"no room"}"#.into());
            }
            "VolumeDriver.Create" if call["Opts"]["slow"] == "yes" => {
                eventually("the gate is open", || self.root.join("gate").exists());
                fs::create_dir_all(&folder).expect("a folder");
                "{}".to_owned()
            }
            "VolumeDriver.Create" => {
                fs::create_dir_all(&folder).expect("a folder");
                r#"{"Err":""}"#.to_owned()
            }
            "VolumeDriver.Remove" => {
                fs::remove_dir_all(&folder).expect("a folder");
                "{}".to_owned()
            }
            "VolumeDriver.Mount" => format!(r#"{{"Mountpoint":"{}"}}"#, folder.display()),
            "VolumeDriver.Unmount" => "{}".to_owned(),
            "VolumeDriver.Get" if folder.is_dir() => format!(r#"{{"Volume":{}}}"#, volume(name)),
            "VolumeDriver.Get" => r#"{"Err":"no such volume"}"#.to_owned(),
            "VolumeDriver.List" => {
                let names = fs::read_dir(&self.root).expect("a folder").flatten();
                let all: Vec<String> =
                    names.map(|entry| volume(&entry.file_name().to_string_lossy())).collect();
                format!(r#"{{"Volumes":[{}]}}"#, all.join(","))
            }
            _ => return (404, String::new()),
        };
        (200, answer)
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut *self.calls.lock().expect("calls"))
    }
}

/// A daemon with a folder for its plug-ins' sockets and one for what they keep, in a folder that goes last.
fn with_plugins() -> (tempfile::TempDir, PathBuf, PathBuf, Daemon) {
    let folder = tempfile::tempdir().expect("a folder");
    let (sockets, root) = (folder.path().join("plugins"), folder.path().join("volumes"));
    fs::create_dir(&sockets).expect("a folder");
    fs::create_dir(&root).expect("a folder");
    let daemon = Daemon::with_flags(&["--plugin-dir", sockets.to_str().expect("a path")]);
    daemon.load(&dray_harness::fixture::busybox());
    (folder, sockets, root, daemon)
}

#[test]
fn a_plugin_keeps_volumes() {
    let (_folder, sockets, root, daemon) = with_plugins();
    for client in daemon.clients() {
        client
            .sh("volume create -d nosuch data")
            .expect_code(1)
            .expect_error("create data: error looking up volume plugin nosuch: plugin \"nosuch\" not found");
    }
    // Started after the daemon.
    let driver = Driver::serve(&sockets.join("shelf.sock"), &root);
    for client in daemon.clients() {
        assert_eq!(client.ok("volume create -d shelf -o size=1 --label a=1 data"), "data");
        assert_eq!(driver.calls(), [r#"create data {"size":"1"}"#]);
        let shown =
            "volume inspect -f {{.Driver}},{{.Scope}},{{.Mountpoint}},{{.Labels.a}},{{.Status.tier}} data";
        assert_eq!(client.ok(shown), format!("shelf,global,{},1,gold", root.join("data").display()));
        client
            .run(["run", "--name", "uses", "-v", "data:/d", "busybox", "sh", "-c", "echo kept > /d/file"])
            .expect_success();
        assert_eq!(fs::read_to_string(root.join("data/file")).expect("a file"), "kept\n");
        eventually("it is unmounted", || {
            driver.calls.lock().expect("calls").iter().any(|call| call.starts_with("unmount "))
        });
        let id = client.ok("inspect -f {{.Id}} uses");
        let calls = driver.calls();
        let (last, first) = (format!("unmount data {id}"), format!("mount data {id}"));
        assert!(calls.contains(&first) && calls.last() == Some(&last), "{calls:?}");
        client.sh("volume rm data").expect_code(1).expect_error("volume is in use");
        client.sh("volume create -d local data").expect_code(1).expect_error(
            "create data: driver 'shelf' already has volume 'data': volume name must be unique",
        );
        client.ok("rm uses");
        client
            .sh("volume create -d shelf -o fail=yes full")
            .expect_code(1)
            .expect_error("VolumeDriver.Create: no room");
        // One that only the plugin knows.
        fs::create_dir(root.join("other")).expect("a folder");
        assert_eq!(client.ok("volume ls -q --filter driver=shelf"), "data\nother");
        assert_eq!(client.ok("run --rm -v other:/o busybox ls -d /o"), "/o");
        client.ok("volume prune -af");
        assert_eq!(client.ok("volume rm data other"), "data\nother");
        assert_eq!(fs::read_dir(&root).expect("a folder").count(), 0);
        assert!(client.run(["info", "-f", "{{.Plugins.Volume}}"]).stdout.contains("shelf"));
        driver.calls();
    }
    let client = daemon.dray();
    client.ok("volume create -d shelf data");
    client.run(["run", "--rm", "-v", "data:/d", "busybox", "touch", "/d/file"]).expect_success();
    client.ok("volume clone data local");
    assert_eq!(client.ok("run --rm -v local:/d busybox ls /d"), "file");
    assert_eq!(client.ok("volume inspect -f {{.Driver}} local"), "local");
    client.sh("volume rename data new").expect_code(1).expect_error("cannot be given another name");
    fs::remove_file(sockets.join("shelf.sock")).expect("a socket");
    client.sh("volume rm data").expect_code(1).expect_error("plugin \"shelf\" not found");
    assert_eq!(client.ok("volume ls -q"), "data\nlocal", "others are listed without it");
    assert_eq!(client.ok("volume rm -f data"), "data");
}

#[test]
fn a_slow_plugin_holds_up_its_own_volume_alone() {
    let (_folder, sockets, root, daemon) = with_plugins();
    let client = daemon.dray();
    let driver = Driver::serve(&sockets.join("shelf.sock"), &root);
    let slow = client.spawn(["volume", "create", "-d", "shelf", "-o", "slow=yes", "slow"]);
    eventually("the plugin is at it", || driver.calls.lock().expect("calls").len() == 1);
    client.ok("volume create -d shelf quick");
    client.ok("volume create -d local other");
    client.ok("run --rm -v other:/d -v /anonymous busybox touch /d/x");
    client.ok("volume rm other quick");
    client.ok("volume prune -f");
    fs::write(root.join("gate"), "").expect("open the gate");
    let made = slow.wait_with_output().expect("dray");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    client.ok("volume rm slow");
}
