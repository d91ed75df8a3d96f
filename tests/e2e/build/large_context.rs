//! A context of 50,000 files: all of them arrive, and one that changes repeats what depends on it alone.

use std::fs;
use std::path::Path;

use dray_harness::Daemon;

use super::{build, buildx, context};

const FOLDERS: usize = 500;
const FILES: usize = 100;
/// Folders beside that one.
const CHANGING: usize = 100;

const DOCKERFILE: &str = "FROM busybox\nCOPY one /one\nRUN find /one -type f | wc -l > /first && cat /proc/sys/kernel/random/uuid >> /first\n\
                          COPY two /two\nRUN find /two -type f -exec cat {} + | md5sum > /second\n";

/// Most of the files in a folder that stays as it is.
fn fill(folder: &Path) {
    for n in 0..FOLDERS {
        let folder = folder.join(if n < FOLDERS - CHANGING { "one" } else { "two" }).join(format!("{n}"));
        fs::create_dir_all(&folder).expect("a folder");
        for file in 0..FILES {
            fs::write(folder.join(format!("{file}.txt")), format!("{n} {file}\n")).expect("a file");
        }
    }
}

#[test]
fn one_changed_file_of_50_000_repeats_what_depends_on_it() {
    let daemon = Daemon::start();
    let folder = context(&daemon, "large", DOCKERFILE, &[]);
    fill(&folder);
    let docker = daemon.docker();
    let seen = || {
        let text = docker.ok("run --rm large cat /first /second");
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let dray = daemon.dray();
    build(&dray, &folder, "-t large").expect_success();
    let first = seen();
    assert_eq!(first[0], "40000");
    assert_eq!(docker.ok("run --rm large cat /two/499/99.txt"), "499 99");
    // Buildx brings the same files, by its own way.
    build(&buildx(&daemon), &folder, "-t large").expect_success();
    assert_eq!(seen(), first);
    fs::write(folder.join("two/400/7.txt"), "changed").expect("a file");
    fs::remove_file(folder.join("two/400/8.txt")).expect("a file");
    fs::create_dir(folder.join("two/new")).expect("a folder");
    fs::write(folder.join("two/new/file"), "new").expect("a file");
    for client in [buildx(&daemon), dray] {
        build(&client, &folder, "-t large").expect_success();
        let second = seen();
        assert_eq!(second[..2], first[..2], "the first half is not repeated");
        assert_ne!(second[2], first[2], "the second half is");
        let script = "cat /two/400/7.txt /two/new/file; ls /two/400 | wc -l; find /two -type f | wc -l";
        let words = "run --rm large sh -c".split_whitespace().chain([script]);
        assert_eq!(docker.run(words).expect_success().stdout, "changednew99\n10000\n");
    }
}
