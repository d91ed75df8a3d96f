//! Directories of `RUN --mount=type=cache` on another machine: with caches of all kinds, and as an archive.

use std::fs;
use std::path::PathBuf;

use dray_harness::Daemon;
use dray_harness::actions::ActionsService;
use dray_harness::registry::Registry;

use super::context;
use super::remote_cache::{build, buildx};

/// Each machine adds its line to what the directory has.
const DOCKERFILE: &str = "FROM busybox\nARG WHO\n\
    RUN --mount=type=cache,target=/cache,id=lines,uid=33,mode=0750 echo $WHO >> /cache/lines && cp /cache/lines /seen && \
    (stat -c '%u %a' /cache; stat -c '%u %a' /cache/tool 2>/dev/null; touch /cache/tool; chown 12 /cache/tool; chmod 4711 /cache/tool) >> /seen\n\
    RUN --mount=type=cache,target=/other touch /other/$WHO; ls /other > /others\n";

fn files(daemon: &Daemon) -> PathBuf {
    context(daemon, "mounts", DOCKERFILE, &[])
}

fn seen(daemon: &Daemon, file: &str) -> String {
    daemon.docker().ok(&format!("run --rm mounts cat {file}"))
}

/// Builds on one machine and on another that takes the directory with the cache.
fn shared(to: &str, from: &str) {
    let (first, second) = (Daemon::start(), Daemon::start());
    for (n, (one, other)) in
        [(first.dray(), buildx(&second)), (buildx(&first), second.dray())].iter().enumerate()
    {
        first.dray().ok("builder prune -af");
        second.dray().ok("builder prune -af");
        let flags = format!("-t mounts --build-arg WHO=first{n} {to}");
        build(one, &files(&first), &flags).expect_success();
        assert_eq!(seen(&first, "/seen"), format!("first{n}\n33 750"));
        build(other, &files(&second), &format!("-t mounts --build-arg WHO=second{n} {from}"))
            .expect_success();
        assert_eq!(seen(&second, "/seen"), format!("first{n}\nsecond{n}\n33 750\n12 4711"));
        assert_eq!(seen(&second, "/others"), format!("second{n}"), "only the named one goes along");
        // What is there is not replaced.
        build(other, &files(&second), &format!("-t mounts --no-cache --build-arg WHO=again{n} {from}"))
            .expect_success();
        assert!(seen(&second, "/seen").starts_with(&format!("first{n}\nsecond{n}\nagain{n}\n")));
    }
}

#[test]
fn a_directory_goes_with_the_cache_of_a_registry() {
    let registry = Registry::start();
    let name = format!("type=registry,ref={}/cache:1,cache-mounts=lines", registry.host());
    shared(&format!("--cache-to {name}"), &format!("--cache-from {name}"));
}

#[test]
fn a_directory_goes_with_a_cache_in_a_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().display();
    let to = format!("--cache-to type=local,dest={path},cache-mounts=lines");
    shared(&to, &format!("--cache-from type=local,src={path},cache-mounts=true"));
}

#[test]
fn a_directory_goes_with_a_cache_of_github_actions() {
    let service = ActionsService::start();
    let token = service.token(&["refs/heads/main"]);
    let name = format!("type=gha,url_v2={},token={token},cache-mounts=lines", service.url());
    shared(&format!("--cache-to {name}"), &format!("--cache-from {name}"));
}

#[test]
fn what_is_too_large_or_not_asked_for_stays_behind() {
    let registry = Registry::start();
    let (first, second) = (Daemon::start(), Daemon::start());
    let name = format!("type=registry,ref={}/cache:1", registry.host());
    let built = |daemon: &Daemon, flags: &str| {
        let built = build(&daemon.dray(), &files(daemon), &format!("-t mounts {flags}")).expect_success();
        format!("{}{}", built.stdout, built.stderr)
    };
    let said =
        built(&first, &format!("--build-arg WHO=a --cache-to {name},cache-mounts=true,cache-mounts-max=1"));
    assert!(said.contains("cache mount lines: 2 bytes are more than the 1 that may be"), "{said}");
    built(&second, &format!("--build-arg WHO=b --cache-from {name},cache-mounts=true"));
    assert_eq!(seen(&second, "/seen"), "b\n33 750");
    built(&first, &format!("--build-arg WHO=a --cache-to {name},cache-mounts=true"));
    second.dray().ok("builder prune -af");
    built(&second, &format!("--build-arg WHO=b --cache-from {name}"));
    assert_eq!(seen(&second, "/seen"), "b\n33 750");
    let refused =
        build(&first.dray(), &files(&first), "--cache-to type=inline,cache-mounts=true").expect_code(1);
    refused.expect_error("an inline cache cannot have cache mounts");
}

#[test]
fn directories_are_listed_and_taken_along_as_an_archive() {
    let (first, second) = (Daemon::start(), Daemon::start());
    build(&first.dray(), &files(&first), "-t mounts --build-arg WHO=first").expect_success();
    let list = first.dray().ok("builder cache-mount ls --format {{.Mount}},{{.Target}},{{.UsageCount}}");
    assert_eq!(list, "/other,/other,1\nlines,/cache,1");
    let archive = first.scratch("archive").join("mounts.tar");
    let path = archive.display().to_string();
    first.dray().ok(&format!("builder cache-mount export -o {path} lines"));
    assert_eq!(second.dray().ok(&format!("builder cache-mount import -i {path}")), "lines");
    build(&second.dray(), &files(&second), "-t mounts --build-arg WHO=second").expect_success();
    assert_eq!(seen(&second, "/seen"), "first\nsecond\n33 750\n12 4711");
    let again = second.dray().sh(&format!("builder cache-mount import -i {path}")).expect_success();
    assert!(
        again.stdout.is_empty() && again.stderr.contains("lines: is there already"),
        "{}",
        again.output()
    );
    first
        .dray()
        .sh("builder cache-mount export nosuch -o /dev/null")
        .expect_code(1)
        .expect_error("no cache mount");
    // A damaged archive leaves nothing.
    let mut bytes = fs::read(&archive).expect("the archive");
    let middle = bytes.iter().rposition(|byte| *byte != 0).expect("bytes") - 8;
    bytes[middle] ^= 1;
    fs::write(&archive, &bytes).expect("the archive");
    second.dray().ok("builder prune -af");
    second.dray().sh(&format!("builder cache-mount import -i {path}")).expect_code(1);
    fs::write(&archive, "no archive").expect("the archive");
    second
        .dray()
        .sh(&format!("builder cache-mount import -i {path}"))
        .expect_code(1)
        .expect_error("invalid archive");
    assert_eq!(second.dray().ok("builder cache-mount ls -q"), "");
    let folder = second.data_root().join("build/mounts");
    let left =
        fs::read_dir(folder).map_or(0, |entries| entries.flatten().filter(|e| e.path().is_dir()).count());
    assert_eq!(left, 0);
}
