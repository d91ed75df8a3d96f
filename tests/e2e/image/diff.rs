//! `image diff`: which files differ between two images.

use dray_harness::Daemon;

use super::build_wasteful;

#[test]
fn it_names_each_file_that_differs() {
    let daemon = Daemon::start();
    build_wasteful(&daemon, "wasteful");
    let client = daemon.dray();
    let format = "{{.Change}} {{.Type}} {{.Mode}} {{.Differs}} {{.Path}}";
    let lines =
        client.run(["image", "diff", "--format", format, "busybox", "wasteful"]).expect_success().stdout;
    for line in [
        "C file 0755 -> 4755 mode /bin/busybox",
        "A directory 0755  /data",
        "A file 0644  /data/kept",
        "C directory -> symlink 0755 -> 0777 type /home",
    ] {
        assert!(lines.lines().any(|found| found == line), "{line}: {lines}");
    }
    assert!(!lines.contains("/data/big") && !lines.contains("/etc/passwd"), "{lines}");
    let table = client.ok("image diff wasteful busybox");
    assert!(table.starts_with("CHANGE ") && table.contains("D "), "{table}");
    let json = client.ok("image diff --format json busybox wasteful");
    let kept = json.lines().find(|line| line.contains("/data/kept")).expect("a line of it");
    let kept: serde_json::Value = serde_json::from_str(kept).expect("JSON");
    assert_eq!(
        (kept["Kind"].as_i64(), kept["New"]["Size"].as_i64(), kept["Old"].is_null()),
        (Some(1), Some(8), true)
    );
    assert_eq!(client.ok("image diff --format json busybox busybox"), "");
    client.sh("image diff busybox nothing").expect_code(1).expect_error("No such image: nothing:latest");
}
