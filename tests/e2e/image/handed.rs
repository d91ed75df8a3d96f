//! Archives in files that the client hands over to the daemon: `save` and `load` without the bytes in a socket.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dray_harness::client::eventually;
use dray_harness::{Client, Daemon};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use sha2::{Digest, Sha256};

/// A connection after its change of protocol; else the answer's first line.
fn switched(socket: &Path, path: &str) -> Result<BufReader<UnixStream>, String> {
    let mut stream = UnixStream::connect(socket).expect("the daemon's socket");
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: dray-file\r\n\
         Content-Length: 0\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("a request");
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).expect("an answer");
    if !first.contains(" 101 ") {
        return Err(first);
    }
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).expect("a header");
    }
    Ok(reader)
}

fn send(stream: &UnixStream, file: Option<BorrowedFd<'_>>) {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let files: Vec<BorrowedFd<'_>> = file.into_iter().collect();
    if !files.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&files));
    }
    sendmsg(stream, &[IoSlice::new(b"f")], &mut control, SendFlags::empty()).expect("the file goes over");
}

/// All that is answered to a file.
fn answer(socket: &Path, path: &str, file: Option<BorrowedFd<'_>>) -> String {
    let mut reader = switched(socket, path).expect("a change of protocol");
    send(reader.get_ref(), file);
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("an answer");
    text
}

#[test]
fn a_file_is_handed_over_and_answered() {
    let daemon = Daemon::start();
    let socket = daemon.socket();
    let path = daemon.scratch("handed").join("saved.tar");
    let file = File::options().read(true).write(true).create_new(true).open(&path).expect("a file");
    let saved = answer(&socket, "/v1.44/dray/images/save?names=busybox", Some(file.as_fd()));
    assert_eq!(saved, "{\"Status\":200,\"Message\":\"\"}\r\n{}\r\n");
    assert_eq!(fs::read(&path).expect("the archive"), through_the_socket(&daemon, &["busybox"]));
    daemon.dray().ok("rmi busybox");
    let archive = File::open(&path).expect("the archive");
    let loaded = answer(&socket, "/dray/images/load", Some(archive.as_fd()));
    assert!(loaded.starts_with("{\"Status\":200,"), "{loaded}");
    assert!(loaded.contains("Loaded image: busybox:latest") && loaded.ends_with("\r\n{}\r\n"), "{loaded}");
    assert_eq!(daemon.dray().ok("run --rm busybox echo works"), "works");
}

/// What `docker save` gives on its standard output.
fn through_the_socket(daemon: &Daemon, names: &[&str]) -> Vec<u8> {
    let mut command = daemon.docker().command(["save"]);
    let output = command.args(names).stderr(Stdio::inherit()).output().expect("docker save");
    assert!(output.status.success());
    output.stdout
}

#[test]
fn what_cannot_be_used_is_refused_and_leaves_nothing() {
    let daemon = Daemon::start();
    let socket = daemon.socket();
    let scratch = daemon.scratch("refused");
    let load = "/dray/images/load";
    assert!(answer(&socket, load, None).starts_with("{\"Status\":417,"), "a byte without a file");
    let folder = File::open(&scratch).expect("a folder");
    let refused = answer(&socket, load, Some(folder.as_fd()));
    assert!(refused.contains("\"Status\":400") && refused.contains("not a regular file"), "{refused}");
    let noise = scratch.join("noise");
    fs::write(&noise, vec![7; 5_000]).expect("a file");
    let noise = File::open(noise).expect("the file");
    let refused = answer(&socket, load, Some(noise.as_fd()));
    assert!(refused.contains("\"Status\":400") && refused.contains("invalid"), "{refused}");
    // Open for writing alone: no right to read comes with it.
    let secret = scratch.join("secret");
    let secret = File::options().write(true).create_new(true).open(secret).expect("a file");
    secret.set_len(5_000).expect("a longer file");
    assert!(answer(&socket, load, Some(secret.as_fd())).contains("Bad file descriptor"));
    let save = "/dray/images/save?names=busybox";
    let appending = File::options().append(true).create_new(true).open(scratch.join("log")).expect("a file");
    assert!(answer(&socket, save, Some(appending.as_fd())).contains("only be appended to"));
    assert!(answer(&socket, save, Some(noise.as_fd())).contains("Bad file descriptor"));
    let none = switched(&socket, "/dray/images/save?names=nope").expect_err("there is no such image");
    assert!(none.contains(" 404 "), "{none}");
    // A client that says nothing more, and one that says more than it may.
    drop(switched(&socket, load).expect("a change of protocol"));
    assert_eq!(daemon.dray().ok("images -q").lines().count(), 1);
}

/// A pipe is no file, so that this goes through the socket.
fn piped(client: &Client, shell: &str) -> String {
    let program = client.command::<_, &str>([]);
    let mut command = Command::new("sh");
    command.env("CLIENT", program.get_program()).args(["-ec", shell]);
    for (name, value) in program.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    let output = command.output().expect("sh");
    assert!(output.status.success(), "{shell}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn dray_hands_files_over_and_streams_what_is_none() {
    let daemon = Daemon::spawn_with_flags(&["--debug"]);
    daemon.load(&dray_harness::fixture::busybox());
    let (dray, at) = (daemon.dray(), daemon.scratch("ways"));
    let at = at.to_string_lossy();
    let asked = |route: &str| daemon.log().matches(&format!("{route}?")).count();
    let (handed, streamed) = (asked("/dray/images/save"), asked("/images/get"));
    dray.ok(&format!("save -o {at}/o busybox"));
    piped(&dray, &format!("echo first > {at}/both; $CLIENT save busybox >> {at}/both"));
    piped(&dray, &format!("$CLIENT save busybox > {at}/out; $CLIENT save busybox | cat > {at}/pipe"));
    assert_eq!((asked("/dray/images/save"), asked("/images/get")), (handed + 2, streamed + 2));
    let saved = fs::read(format!("{at}/o")).expect("an archive");
    for other in ["out", "pipe"] {
        assert!(fs::read(format!("{at}/{other}")).expect("an archive") == saved, "{other}");
    }
    assert!(fs::read(format!("{at}/both")).expect("a file") == [b"first\n", &saved[..]].concat());
    // What the shell writes next into the same file goes behind the archive.
    piped(&dray, &format!("($CLIENT save busybox; echo next) > {at}/two"));
    assert!(fs::read(format!("{at}/two")).expect("a file") == [&saved[..], b"next\n"].concat());

    let (handed, streamed) = (asked("/dray/images/load"), asked("/images/load") - asked("/dray/images/load"));
    dray.ok(&format!("load -q -i {at}/o"));
    piped(&dray, &format!("$CLIENT load < {at}/o; cat {at}/o | $CLIENT load"));
    piped(&dray, &format!("(read line; [ $line = first ]; $CLIENT load) < {at}/both"));
    let now = (asked("/dray/images/load"), asked("/images/load") - asked("/dray/images/load"));
    assert_eq!(now, (handed + 3, streamed + 1));
}

/// Passes connections on, and loses what is not bytes.
fn proxy(from: &Path, to: &Path) {
    let listener = UnixListener::bind(from).expect("a socket");
    let to = to.to_owned();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = UnixStream::connect(&to) else { continue };
            let pass = |from: &UnixStream, to: &UnixStream| {
                let (mut from, mut to) = (from.try_clone().expect("dup"), to.try_clone().expect("dup"));
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
            };
            pass(&client, &server);
            pass(&server, &client);
        }
    });
}

#[test]
fn behind_a_proxy_what_is_in_the_file_is_sent_instead() {
    let daemon = Daemon::start();
    let scratch = daemon.scratch("proxy");
    let socket = scratch.join("p.sock");
    proxy(&socket, &daemon.socket());
    let behind = |args: &[&str]| {
        let mut command = daemon.dray().command(args);
        command.env("DOCKER_HOST", format!("unix://{}", socket.display()));
        let output = command.output().expect("dray");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let file = scratch.join("saved.tar").to_string_lossy().into_owned();
    behind(&["save", "-o", &file, "busybox"]);
    daemon.dray().ok("rmi busybox");
    behind(&["load", "-i", &file]);
    assert_eq!(daemon.dray().ok("run --rm busybox echo works"), "works");
}

/// An image whose layer takes long enough that the loading is not over before a client is gone.
fn long_archive(folder: &Path) -> PathBuf {
    const SIZE: u64 = 400 << 20;
    let (layer, archive) = (folder.join("layer.tar"), folder.join("archive.tar"));
    let mut tar = tar::Builder::new(File::create(&layer).expect("a file"));
    append(&mut tar, "big", SIZE, std::io::repeat(7).take(SIZE));
    tar.into_inner().expect("a tar");
    let config = format!(
        r#"{{"os":"linux","architecture":"amd64","rootfs":{{"type":"layers","diff_ids":["sha256:{}"]}}}}"#,
        hex::encode(Sha256::digest(fs::read(&layer).expect("the layer")))
    );
    let manifest = r#"[{"Config":"c.json","RepoTags":["long:v1"],"Layers":["layer.tar"]}]"#;
    let mut tar = tar::Builder::new(File::create(&archive).expect("a file"));
    append(&mut tar, "c.json", config.len() as u64, config.as_bytes());
    tar.append_path_with_name(&layer, "layer.tar").expect("an entry");
    append(&mut tar, "manifest.json", manifest.len() as u64, manifest.as_bytes());
    tar.into_inner().expect("a tar");
    archive
}

fn append(tar: &mut tar::Builder<File>, name: &str, size: u64, content: impl Read) {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(size);
    tar.append_data(&mut header, name, content).expect("an entry");
}

#[test]
fn a_client_that_goes_away_ends_the_load() {
    let daemon = Daemon::start();
    let archive = long_archive(&daemon.scratch("long"));
    let reader = switched(&daemon.socket(), "/dray/images/load").expect("a change of protocol");
    send(reader.get_ref(), Some(File::open(&archive).expect("the archive").as_fd()));
    let drafts = || fs::read_dir(daemon.data_root().join("layers")).map_or(0, Iterator::count);
    let before = drafts();
    eventually("the layer is being unpacked", || drafts() > before);
    drop(reader);
    eventually("nothing of it is left", || drafts() == before);
    assert_eq!(daemon.dray().ok("images -q").lines().count(), 1);
}
