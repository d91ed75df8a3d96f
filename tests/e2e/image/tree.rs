//! `image tree`: layers, sizes, waste, and the steps that made them.

use dray_harness::{Daemon, http};

use super::build_wasteful;

#[test]
fn it_shows_what_each_step_wastes() {
    let daemon = Daemon::start();
    build_wasteful(&daemon, "wasteful");
    let client = daemon.dray();
    let page = client.ok("image tree wasteful");
    let line = |part: &str| page.lines().find(|line| line.contains(part)).unwrap_or_default().to_owned();
    assert!(page.starts_with("LAYER "), "{page}");
    assert!(line("head -c 300000").contains("305kB"), "{page}");
    assert!(line("ENV A=b").trim_start().starts_with("- "), "{page}");
    assert!(line("efficiency").contains(" in 4 layers, "), "{page}");
    let file = |path: &str| page.lines().find(|line| line.ends_with(path)).unwrap_or_default().to_owned();
    assert!(file(" /data/big").contains("removed"), "{page}");
    assert!(file(" /data/kept").contains("replaced"), "{page}");
    let rows =
        client.run(["image", "tree", "--format", "{{.Files}} {{.Wasted}}", "wasteful"]).expect_success();
    assert_eq!(rows.stdout.lines().count(), 5);
    let json: serde_json::Value =
        serde_json::from_str(&client.ok("image tree --format json wasteful")).expect("JSON");
    assert!(json["Wasted"].as_i64() > Some(305_000), "{json}");
    assert!(json["Layers"][2]["Hides"].as_i64() > Some(304_000), "{json}");
    let worst = &json["Replaced"][0];
    assert!(worst["Bytes"].as_i64() >= json["Replaced"][1]["Bytes"].as_i64(), "{json}");
    let sum: i64 = json["Layers"].as_array().into_iter().flatten().filter_map(|l| l["Wasted"].as_i64()).sum();
    assert_eq!(json["Wasted"].as_i64(), Some(sum));
    client.sh("image tree nothing").expect_code(1).expect_error("No such image: nothing:latest");
    let missing = http::unix_get(&daemon.socket(), "/v1.51/dray/images/tree").expect("an answer");
    assert_eq!(
        (missing.status, missing.json()["message"].as_str()),
        (400, Some("the parameter image is missing"))
    );
}
