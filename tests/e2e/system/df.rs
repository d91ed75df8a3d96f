//! `system df` against `du` of the data root.

use std::fs;

use dray_harness::registry::Registry;
use dray_harness::{Daemon, client, http};
use serde_json::Value;

use super::{du, noise};

fn usage(daemon: &Daemon, query: &str) -> Value {
    http::unix_get(&daemon.socket(), &format!("/v1.51/system/df{query}")).expect("an answer").json()
}

fn sum(list: &Value, size: impl Fn(&Value) -> i64) -> i64 {
    list.as_array().into_iter().flatten().map(size).sum()
}

/// All that the answer tells of, each byte once.
fn total(usage: &Value) -> i64 {
    let number = |value: &Value| value.as_i64().expect("a number");
    let cache = |record: &Value| if record["Shared"] == true { 0 } else { number(&record["Size"]) };
    number(&usage["LayersSize"])
        + sum(&usage["Containers"], |container| number(&container["SizeRw"]))
        + sum(&usage["Volumes"], |volume| number(&volume["UsageData"]["Size"]))
        + sum(&usage["BuildCache"], cache)
}

#[track_caller]
fn same_as_du(daemon: &Daemon, when: &str) {
    let (shown, disk) = (total(&usage(daemon, "")) as f64, du(&daemon.data_root()) as f64);
    let off = (shown - disk).abs() / disk;
    assert!(off < 0.01, "{when}: df says {shown}, du says {disk}: {:.2}% off", off * 100.0);
}

/// Images that share layers: one of a big file and 3,000 small ones, another upon it.
fn build_images(daemon: &Daemon) {
    let folder = daemon.scratch("context");
    noise(&folder.join("big"), 24);
    let small = folder.join("small");
    for n in 0..3000 {
        let sub = small.join((n / 100).to_string());
        fs::create_dir_all(&sub).expect("a folder");
        fs::write(sub.join(n.to_string()), format!("file {n}")).expect("a file");
    }
    let first = "FROM busybox AS unused\nCOPY big /only-in-the-cache\nFROM busybox\nCOPY --from=unused /only-in-the-cache /from\nCOPY big /big\nCOPY small /small\n";
    let second = "FROM first\nRUN --mount=type=cache,target=/cache dd if=/dev/urandom of=/more bs=1M count=6 && dd if=/dev/urandom of=/cache/kept bs=1M count=5\n";
    for (name, text) in [("first", first), ("second", second)] {
        fs::write(folder.join("Dockerfile"), text).expect("a Dockerfile");
        daemon.dray().run(["build", "-q", "-t", name, &folder.to_string_lossy()]).expect_success();
    }
    // A context goes after the answer.
    let contexts = daemon.data_root().join("build/contexts");
    client::eventually("the contexts are gone", || {
        fs::read_dir(&contexts).map_or(true, |entries| entries.count() == 0)
    });
}

/// An image whose layer lies upon another one's, which goes.
fn build_upon(daemon: &Daemon) {
    let folder = daemon.scratch("changed");
    let build = |name: &str, changed: &str| {
        for n in 0..600 {
            fs::write(folder.join(n.to_string()), format!("file {n}")).expect("a file");
        }
        fs::write(folder.join("changed"), changed).expect("a file");
        fs::write(folder.join("Dockerfile"), "FROM busybox\nCOPY . /d\n").expect("a Dockerfile");
        let epoch = "SOURCE_DATE_EPOCH=1700000000";
        let words = ["build", "-q", "-t", name, "--build-arg", epoch, &folder.to_string_lossy()];
        daemon.dray().run(words).expect_success();
    };
    build("whole", "no");
    build("upon", "yes");
    let layers = daemon.dray().ok("image inspect -f {{.GraphDriver.Data.UpperDir}} upon");
    assert!(fs::read_dir(format!("{}/d", layers.trim())).expect("a folder").count() < 3, "upon nothing");
    daemon.dray().ok("rmi whole");
}

#[test]
fn it_is_what_du_says() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    same_as_du(&daemon, "with one image");
    build_images(&daemon);
    same_as_du(&daemon, "with images that share layers, and the build cache");
    build_upon(&daemon);
    same_as_du(&daemon, "with a layer upon another");
    client.ok("run --name wrote second dd if=/dev/urandom of=/written bs=1M count=12");
    client.ok("run --name logged busybox seq 200000");
    client.ok("run --rm -v kept:/v busybox dd if=/dev/urandom of=/v/f bs=1M count=9");
    client.ok("run --rm -v kept:/v busybox truncate -s 1G /v/sparse");
    same_as_du(&daemon, "with containers and a volume");
    let registry = Registry::start();
    let name = format!("{}/first:v1", registry.host());
    client.ok(&format!("tag first {name}"));
    client.ok(&format!("push -q {name}"));
    same_as_du(&daemon, "with the compressed layers of a push");
    client.ok(&format!("rmi second first {name} -f"));
    client.ok("builder prune -af");
    client.ok(&format!("pull -q {name}"));
    same_as_du(&daemon, "with an image that was pulled");
}

#[test]
fn both_clients_show_the_same() {
    let daemon = Daemon::start();
    build_images(&daemon);
    let [dray, docker] = daemon.clients();
    dray.ok("create --name idle second true");
    let parts = [
        "{{range .Images}}{{.Repository}} {{.Size}} {{.SharedSize}} {{.UniqueSize}} {{.Containers}} {{end}}",
        "{{range .Containers}}{{.Names}} {{.Size}} {{.LocalVolumes}} {{end}}",
        "{{range .BuildCache}}{{.ID}} {{.CacheType}} {{.Size}} {{.UsageCount}} {{.Shared}} {{.InUse}} {{.CreatedAt}} {{end}}",
    ];
    for part in parts {
        let [ours, theirs] =
            [&dray, &docker].map(|c| c.run(["system", "df", "-v", "--format", part]).expect_success().stdout);
        assert_eq!(ours, theirs, "{part}");
    }
    for line in ["system df", "system df --format json"] {
        assert_eq!(dray.ok(line), docker.ok(line), "{line}");
    }
    let table = dray.ok("system df -v");
    for part in ["Images space usage:", "CACHE ID", "exec.cachemount", "regular"] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let summary = dray.ok("system df --format {{.Type}}/{{.TotalCount}}/{{.Active}}");
    let lines: Vec<&str> = summary.lines().collect();
    assert_eq!(lines[..3], ["Images/3/1", "Containers/1/0", "Local Volumes/0/0"]);
    // The copy in the stage that is no part of the image, the cache mount, and the context that the next build is
    // compared with are the cache's own.
    let cache = usage(&daemon, "?type=build-cache");
    let own: Vec<&Value> =
        cache["BuildCache"].as_array().into_iter().flatten().filter(|r| r["Shared"] == false).collect();
    assert_eq!(own.len(), 3, "{cache}");
    assert!(own.iter().all(|record| record["Size"].as_i64() > Some(5 << 20)), "{cache}");
}

#[test]
fn only_what_is_asked_for_is_measured() {
    let daemon = Daemon::start();
    daemon.dray().ok("volume create only");
    let volumes = usage(&daemon, "?type=volume");
    assert_eq!(volumes["Volumes"].as_array().map(Vec::len), Some(1));
    assert!(
        volumes["Images"].is_null() && volumes["Containers"].is_null() && volumes["BuildCache"].is_null()
    );
    let two = usage(&daemon, "?type=image&type=container");
    assert!(two["Images"].is_array() && two["Containers"].is_array() && two["Volumes"].is_null());
    let wrong = http::unix_get(&daemon.socket(), "/v1.51/system/df?type=nothing").expect("an answer");
    assert_eq!((wrong.status, wrong.json()["message"].as_str()), (400, Some("unknown object type: nothing")));
}

#[test]
fn a_layer_of_a_hundred_containers_costs_one() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    let folder = daemon.scratch("context");
    noise(&folder.join("big"), 20);
    fs::write(folder.join("Dockerfile"), "FROM busybox\nCOPY big /big\n").expect("a Dockerfile");
    client.run(["build", "-q", "-t", "big", &folder.to_string_lossy()]).expect_success();
    let (before, layers) = (du(&daemon.data_root()), usage(&daemon, "?type=image")["LayersSize"].as_i64());
    for _ in 0..100 {
        client.ok("create big true");
    }
    let after = du(&daemon.data_root());
    // Some folders and a record each: less all together than the layer is once.
    assert!(after - before < 12 << 20, "100 containers take {}", after - before);
    let grown =
        usage(&daemon, "?type=image")["LayersSize"].as_i64().zip(layers).map(|(now, then)| now - then);
    assert!(grown < Some(6 << 20), "only the records may have grown: {grown:?}");
    same_as_du(&daemon, "with 100 containers");
}
