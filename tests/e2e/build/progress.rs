//! How a build is shown to programs, and what the build cache is told to hold.

use dray_harness::{Daemon, client, fixture};
use serde_json::Value;

use super::{build, context};

#[test]
fn rawjson_is_buildkit_s() {
    let daemon = Daemon::start();
    let folder =
        context(&daemon, "raw", "ARG V=1\nFROM busybox AS app\nRUN echo hello; echo oops >&2\n", &[]);
    let built = build(&daemon.dray(), &folder, "--progress rawjson -t raw").expect_success();
    assert_eq!(built.stdout, "");
    let lines: Vec<Value> =
        built.stderr.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let of = |key: &str| lines.iter().filter_map(|line| line[key].as_array()).flatten().collect::<Vec<_>>();
    let run: Vec<&Value> = of("vertexes")
        .into_iter()
        .filter(|v| v["name"] == "[app 3/3] RUN echo hello; echo oops >&2")
        .collect();
    let last = run.last().expect("the step");
    assert!(last["started"].is_string() && last["completed"].is_string(), "{last}");
    let logged = |stream: u64, data: &str| {
        of("logs")
            .iter()
            .any(|log| log["vertex"] == last["digest"] && log["stream"] == stream && log["data"] == data)
    };
    // "hello\n" and "oops\n" in base64.
    assert!(logged(1, "aGVsbG8K") && logged(2, "b29wcwo="), "{}", built.stderr);
    assert!(of("statuses").iter().any(|status| status["id"] == "naming to raw:latest"), "{}", built.stderr);
    let again = build(&daemon.dray(), &folder, "--progress rawjson").expect_success();
    assert!(again.stderr.contains("\"cached\":true"), "{}", again.stderr);
    let folder = context(&daemon, "raw-fails", "FROM busybox\nRUN exit 3\n", &[]);
    let failed = build(&daemon.dray(), &folder, "--progress rawjson").expect_code(3);
    assert!(failed.stderr.contains("\"error\":\""), "{}", failed.stderr);
}

const DOCKERFILE: &str =
    "FROM busybox\nRUN --mount=type=cache,target=/c echo x > /c/x\nRUN head -c 100000 /dev/zero > /big\n";

#[test]
fn the_cache_is_shown_and_collected_by_rules() {
    let daemon = Daemon::start();
    let folder = context(&daemon, "kept", DOCKERFILE, &[]);
    build(&daemon.dray(), &folder, "-t kept").expect_success();
    let dray = daemon.dray();
    let shown = dray.ok("builder du");
    assert!(shown.contains("RECLAIMABLE") && shown.contains("Total:"), "{shown}");
    let mounts = dray.run(["builder", "du", "--filter", "type=exec.cachemount", "--format", "{{.Type}}"]);
    assert_eq!(mounts.expect_success().stdout, "exec.cachemount\n");
    let whole = dray.ok("builder du --verbose");
    assert!(whole.contains("Description:") && whole.contains("head -c 100000"), "{whole}");
    // The same build where nothing but the directories of cache mounts may stay.
    let collected = Daemon::with_flags(&["--builder-gc=all=true,max-used-space=1,filter=type==regular"]);
    collected.load(&fixture::busybox());
    let folder = context(&collected, "collected", DOCKERFILE, &[]);
    build(&collected.dray(), &folder, "-t collected").expect_success();
    let kinds = || collected.dray().run(["builder", "du", "--format", "{{.Type}}"]).expect_success().stdout;
    client::eventually("the steps are collected", || !kinds().contains("regular"));
    assert_eq!(kinds(), "exec.cachemount\n");
    collected.docker().run(["run", "--rm", "collected", "ls", "/big"]).expect_success();
}
