//! Reproducible builds: the same inputs give the same image, wherever and whenever they are built.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use dray_harness::{Client, Daemon, fixture};

use super::{build, context};

/// Writes files at the time of the build, unpacks old ones, and copies others in.
const DOCKERFILE: &str = "FROM busybox AS made\nRUN mkdir /made && echo x > /made/x && ln -s x /made/link\n\
     FROM busybox\nWORKDIR /work\nCOPY --from=made /made /made\nCOPY a .\nADD old.tar /old\n\
     RUN echo hello > /new && ln /new /hard && rm -r /var/www && hostname > /host && touch -d @1000 /ancient\n\
     ENV A=b\nLABEL c=d\n";

const EPOCH: u64 = 1_700_000_000;

fn files(daemon: &Daemon) -> std::path::PathBuf {
    let folder = context(daemon, "same", DOCKERFILE, &[("a", "a")]);
    let mut tar = tar::Builder::new(File::create(folder.join("old.tar")).expect("old.tar"));
    let mut header = tar::Header::new_gnu();
    header.set_size(3);
    header.set_mode(0o644);
    header.set_mtime(5000);
    tar.append_data(&mut header, "inner/old", &b"old"[..]).expect("an entry");
    tar.finish().expect("the tar");
    folder
}

fn id(daemon: &Daemon, name: &str) -> String {
    daemon.docker().ok(&format!("image inspect -f {{{{.Id}}}} {name}"))
}

fn buildx(daemon: &Daemon) -> Client {
    Client::new(fixture::buildx(), daemon.host(), &daemon.scratch("buildx"))
}

#[test]
fn two_builds_on_two_data_roots_are_the_same_image() {
    let (first, second) = (Daemon::start(), Daemon::start());
    let flags = format!("-t same --build-arg SOURCE_DATE_EPOCH={EPOCH}");
    build(&first.dray(), &files(&first), &flags).expect_success();
    let folder = files(&second);
    // Another checkout, at another time.
    let later = SystemTime::now() - Duration::from_secs(3600);
    File::open(folder.join("a")).and_then(|file| file.set_modified(later)).expect("another time");
    build(&buildx(&second), &folder, &flags).expect_success();
    assert_eq!(id(&first, "same"), id(&second, "same"));
    let client = second.docker();
    assert_eq!(client.ok("image inspect -f {{.Created}} same"), "2023-11-14T22:13:20Z");
    let times =
        client.ok("run --rm same stat -c %Y /new /made/x /made /work/a /old/inner/old /ancient /bin/busybox");
    let epoch = EPOCH.to_string();
    let expected = [&epoch, &epoch, &epoch, &epoch, &epoch, "1000", "1700000000"];
    assert_eq!(times.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn the_cache_makes_no_difference() {
    let (warm, cold) = (Daemon::start(), Daemon::start());
    let folder = files(&warm);
    // Made without an epoch, then with an earlier and a later one.
    build(&warm.dray(), &folder, "-t plain").expect_success();
    for epoch in [EPOCH, EPOCH + 86_400, 4_000_000_000] {
        let flags = format!("-t same --build-arg SOURCE_DATE_EPOCH={epoch}");
        let built = build(&warm.dray(), &folder, &flags).expect_success();
        assert!(built.stdout.contains("CACHED"), "{}", built.stdout);
        build(&cold.dray(), &files(&cold), &format!("--no-cache {flags}")).expect_success();
        assert_eq!(id(&warm, "same"), id(&cold, "same"), "{epoch}");
    }
    warm.docker().ok("run --rm plain true");
}

fn git(folder: &Path, args: &[&str]) {
    let date = format!("{EPOCH} +0000");
    let status = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["-c", "user.name=t", "-c", "user.email=t@localhost"])
        .args(args)
        .env("GIT_COMMITTER_DATE", &date)
        .env("GIT_AUTHOR_DATE", &date)
        .output()
        .expect("git");
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
}

#[test]
fn reproducible_takes_the_time_of_the_commit() {
    let daemon = Daemon::start();
    let folder = files(&daemon);
    let refused = build(&daemon.dray(), &folder, "--reproducible -t commit").expect_code(1);
    refused.expect_error("--reproducible takes the time of the context's last commit");
    git(&folder, &["init", "-q"]);
    git(&folder, &["add", "."]);
    git(&folder, &["commit", "-q", "-m", "one"]);
    fs::write(folder.join(".dockerignore"), ".git\n.dockerignore\n").expect("the ignore file");
    build(&daemon.dray(), &folder, "--reproducible -t commit").expect_success();
    assert_eq!(daemon.docker().ok("image inspect -f {{.Created}} commit"), "2023-11-14T22:13:20Z");
    let wrong = build(&daemon.dray(), &folder, "--build-arg SOURCE_DATE_EPOCH=soon");
    wrong.expect_code(1).expect_error("invalid SOURCE_DATE_EPOCH: soon");
}
