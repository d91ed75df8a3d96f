//! A large folder that is copied again with few changes: a layer of what has changed, which nobody can tell from a whole
//! one.

use std::fs;
use std::path::Path;

use dray_harness::registry::Registry;
use dray_harness::{Client, Daemon};

use super::{build, buildx, context, entries};

/// As many as are compared, and some.
const FILES: usize = 600;

const DOCKERFILE: &str = "FROM busybox\nCOPY app /app\nRUN find /app -type f | wc -l > /count\n";

fn fill(folder: &Path) {
    for n in 0..FILES {
        let folder = folder.join(format!("app/{}", n % 10));
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join(format!("{n}")), format!("file {n}\n")).expect("a file");
    }
}

/// What the test looks at.
fn shown(client: &Client, image: &str) -> String {
    let script = "cat /app/1/1 /app/2/2 /app/new/file /count; test ! -e /app/3/3 && ls /app /app/3 | wc -l";
    let words = ["run", "--rm", image, "sh", "-c", script];
    client.run(words).expect_success().stdout
}

#[test]
fn what_is_copied_again_is_a_layer_of_what_has_changed() {
    let (daemon, other, registry) = (Daemon::start(), Daemon::start(), Registry::start());
    let folder = context(&daemon, "large", DOCKERFILE, &[]);
    fill(&folder);
    let (dray, docker) = (daemon.dray(), daemon.docker());
    build(&dray, &folder, "-t first").expect_success();
    fs::write(folder.join("app/1/1"), "changed\n").expect("a file");
    fs::remove_file(folder.join("app/3/3")).expect("a file");
    fs::create_dir(folder.join("app/new")).expect("a folder");
    fs::write(folder.join("app/new/file"), "new\n").expect("a file");
    let name = format!("{}/second:latest", registry.host());
    build(&dray, &folder, &format!("-t {name}")).expect_success();
    let expected = "changed\nfile 2\nnew\n600\n73\n";
    assert_eq!(shown(&docker, &name), expected);

    // On the disk it has two files of its own, and its base below it.
    let data = docker.ok(&format!("image inspect -f {{{{.GraphDriver.Data.LowerDir}}}} {name}"));
    let folders: Vec<&Path> = data.trim().split(':').map(Path::new).collect();
    let copied = |folder: &Path| entries(&folder.join("app"));
    let counts: Vec<usize> = folders.iter().map(|folder| copied(folder)).filter(|count| *count > 0).collect();
    assert_eq!(counts, [3, 10], "folders with a change, then all; {folders:?}");

    // To others it is a layer like any.
    let archive = folder.join("second.tar");
    docker.ok(&format!("save -o {} {name}", archive.display()));
    let loaded = other.docker();
    loaded.ok(&format!("load -i {}", archive.display()));
    assert_eq!(shown(&loaded, &name), expected);
    let id = |client: &Client| client.ok(&format!("image inspect -f {{{{.Id}}}} {name}"));
    assert_eq!(id(&docker), id(&loaded));
    loaded.ok(&format!("rmi {name}"));
    docker.ok(&format!("push {name}"));
    loaded.ok(&format!("pull {name}"));
    assert_eq!((id(&loaded), shown(&loaded, &name)), (id(&docker), expected.to_owned()));
    let diff = dray.ok(&format!("image diff first {name}"));
    for line in ["/app/1/1", "/app/3/3", "/app/new/file"] {
        assert!(diff.contains(line), "{diff}");
    }
    assert!(!diff.contains("/app/2"), "{diff}");
    dray.ok(&format!("image squash {name} -t squashed"));
    assert_eq!(shown(&docker, "squashed"), expected);

    // Buildx lies upon the same copy, and the base outlives its image.
    docker.ok("rmi -f first");
    fs::write(folder.join("app/1/1"), "again\n").expect("a file");
    build(&buildx(&daemon), &folder, "-t third").expect_success();
    assert_eq!(shown(&docker, "third"), expected.replace("changed", "again"));
    docker.ok(&format!("rmi {name} third squashed"));
    docker.ok("builder prune -af");
    let left = |folder: &Path| copied(folder) > 0;
    assert!(!folders.iter().any(|folder| left(folder)), "{folders:?}");
}
