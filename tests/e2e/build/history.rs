//! The history of builds: recorded whichever way they come, looked at with `dray builder history` and with Docker's
//! buildx.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use dray_harness::{Client, Daemon, client};
use serde_json::Value;

use super::{build, buildx, context};

const DOCKERFILE: &str = "FROM busybox\nARG WHO=nobody\nRUN echo hello $WHO\nCOPY . /app\nRUN ls /app\n";

/// The references of the builds, the newest first.
fn refs(daemon: &Daemon) -> Vec<String> {
    let list = daemon.dray().ok("builder history ls --format {{.Ref}}");
    list.lines().map(str::to_owned).collect()
}

fn inspected(daemon: &Daemon, id: &str) -> Value {
    let text = daemon.dray().ok(&format!("builder history inspect --format json {id}"));
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn builds_of_all_clients_are_recorded_and_survive_a_restart() {
    let mut daemon = Daemon::spawn();
    let folder = context(&daemon, "app", DOCKERFILE, &[("a", "x")]);
    let flags = "--build-arg WHO=dray -t app:1 --label l=m";
    build(&daemon.docker(), &folder, flags).expect_success();
    build(&daemon.dray(), &folder, flags).expect_success();
    build(&buildx(&daemon), &folder, &format!("{flags} --progress=plain")).expect_success();
    let bake = daemon.scratch("bake").join("docker-bake.json");
    let targets = format!(r#"{{"target":{{"default":{{"context":"{}"}}}}}}"#, folder.display());
    fs::write(&bake, targets).expect("the bake file");
    let allow = format!("--allow=fs.read={}", folder.display());
    let file = bake.to_string_lossy();
    buildx(&daemon).run(["bake", "--progress=plain", &allow, "-f", file.as_ref()]).expect_success();
    let known = refs(&daemon);
    assert_eq!(known.len(), 4, "{known:?}");
    daemon.crash_and_restart();
    assert_eq!(refs(&daemon), known);
    for id in &known[1..] {
        let build = inspected(&daemon, id);
        assert_eq!(build["Status"], "completed");
        let arg = &build["BuildArgs"][0];
        assert_eq!((&arg["Name"], &arg["Value"]), (&"WHO".into(), &"dray".into()), "{build}");
        assert_eq!(build["Labels"][0]["Value"], "m");
        assert_eq!(build["Names"][0], "docker.io/library/app:1", "{build}");
        let steps = build["Steps"].as_array().expect("steps");
        assert_eq!(steps.len(), 6, "{build}");
        let log = daemon.dray().run(["builder", "history", "logs", id]).expect_success().stderr;
        assert!(log.contains("[2/4] RUN echo hello $WHO"), "{log}");
        assert_eq!(log.contains("hello dray"), *id == known[3], "only the first build ran it: {log}");
    }
    let of = |id: &str| inspected(&daemon, id)["NumCachedSteps"].clone();
    assert_eq!((of(&known[3]), of(&known[2])), (0.into(), 3.into()));
    // buildx has kept what the builds were of.
    let mut list = daemon.dray().command(["builder", "history", "ls", "--format", "{{.Name}}"]);
    list.env("BUILDX_CONFIG", daemon.scratch("buildx").join("buildx"));
    let names = client::finish(list, b"").expect_success().stdout;
    assert_eq!(names.lines().skip(1).collect::<Vec<_>>(), ["app", "app", "docker.io/library/app:1"]);
}

#[test]
fn buildx_reads_the_history() {
    let daemon = Daemon::start();
    let folder = context(&daemon, "app", DOCKERFILE, &[("a", "x")]);
    let buildx = buildx(&daemon);
    build(&buildx, &folder, "--progress=plain").expect_success();
    let bad = context(&daemon, "bad", "FROM busybox\nRUN echo before; exit 3\n", &[]);
    build(&buildx, &bad, "--progress=plain").expect_code(1);
    build(&daemon.dray(), &folder, "--no-cache").expect_success();
    let known = refs(&daemon);
    let list = buildx.ok("history ls --format {{.Ref}},{{.Name}},{{.Status}}");
    let expected = [
        format!("{},{},Completed", known[0], folder.display()),
        format!("{},bad,Error", known[1]),
        format!("{},app,Completed", known[2]),
    ];
    assert_eq!(list.lines().collect::<Vec<_>>(), expected);
    assert_eq!(buildx.ok("history ls --format {{.Ref}} --filter status=error"), known[1]);
    let own = daemon.dray().ok("builder history ls --format {{.Ref}},{{.Status}} --filter status=error");
    assert_eq!(own, format!("{},Error", known[1]));
    let failed = buildx.ok(&format!("history inspect {}", known[1]));
    for text in ["exit code: 3", ">>> RUN echo before; exit 3", "> before", "Build Steps:"] {
        assert!(failed.contains(text), "{text}: {failed}");
    }
    let own = daemon.dray().ok(&format!("builder history inspect {}", known[1]));
    for text in ["exit code: 3", ">>> RUN echo before; exit 3", "> before", "Build Steps:"] {
        assert!(own.contains(text), "{text}: {own}");
    }
    for id in &known {
        let log = buildx.run(["history", "logs", id]).expect_success();
        let own = daemon.dray().run(["builder", "history", "logs", id]).expect_success();
        let told = |log: &str, text: &str| assert!(log.contains(text), "{text}: {log}");
        for log in [&log.stderr, &own.stderr] {
            told(log, "[internal] load build definition from Dockerfile");
            told(log, if *id == known[1] { "before" } else { "hello nobody" });
        }
        let trace: Value = serde_json::from_str(&buildx.ok(&format!("history trace {id}"))).expect("JSON");
        let own: Value =
            serde_json::from_str(&daemon.dray().ok(&format!("builder history trace {id}"))).expect("JSON");
        let names = |trace: &Value| -> Vec<String> {
            let spans = trace["data"][0]["spans"].as_array().expect("spans");
            spans.iter().map(|span| span["operationName"].to_string()).collect()
        };
        assert!(names(&trace).len() > 3);
        assert_eq!(names(&trace), names(&own));
    }
    buildx.ok(&format!("history rm {}", known[1]));
    assert_eq!(refs(&daemon), [known[0].clone(), known[2].clone()]);
    daemon.dray().ok(&format!("builder history rm {}", &known[0][..12]));
    buildx.ok("history rm --all");
    assert_eq!(refs(&daemon), Vec::<String>::new());
    let left = fs::read_dir(daemon.data_root().join("build/history")).expect("the history");
    let left = left.flatten().filter(|entry| entry.path().is_file()).count();
    assert_eq!(left, 0, "logs of what was removed");
    daemon.dray().sh("builder history inspect").expect_code(1).expect_error("no records found");
    daemon.dray().sh("builder history rm nosuch").expect_code(1).expect_error("no record found for ref");
    daemon.dray().sh("builder history rm").expect_code(1).expect_error("rm requires at least one argument");
}

#[test]
fn documents_of_a_build_are_read_by_both_clients() {
    let daemon = Daemon::start();
    let folder = context(&daemon, "app", DOCKERFILE, &[("a", "x")]);
    let (buildx, dray) = (buildx(&daemon), daemon.dray());
    let out = daemon.scratch("out").join("a.oci");
    let flags = format!("--sbom=true --build-arg WHO=me -o type=oci,dest={}", out.display());
    for client in [&buildx, &dray] {
        build(client, &folder, &flags).expect_success();
        let id = refs(&daemon)[0].clone();
        for kind in ["provenance", "sbom", "index", "manifest", "image"] {
            let words = format!("history inspect attachment --type {kind} {id}");
            let own = dray.ok(&format!("builder {words}"));
            // buildx looks for configurations in the index alone.
            if kind != "image" {
                assert_eq!(buildx.ok(&words), own, "{kind}");
            }
            let document: Value = serde_json::from_str(&own).expect("JSON");
            match kind {
                "provenance" => {
                    let request = &document["buildDefinition"]["externalParameters"]["request"];
                    assert_eq!(request["args"]["build-arg:WHO"], "me", "{document}");
                }
                "sbom" => assert_eq!(document["spdxVersion"], "SPDX-2.3"),
                "index" => assert!(document["manifests"].is_array()),
                "manifest" => assert!(document["layers"].is_array()),
                _ => assert_eq!(document["os"], "linux"),
            }
        }
        let shown = dray.ok(&format!("builder history inspect {id}"));
        let theirs = buildx.ok(&format!("history inspect {id}"));
        for shown in [&shown, &theirs] {
            assert!(shown.contains("pkg:docker/busybox@latest"), "{shown}");
            assert!(shown.contains("https://slsa.dev/provenance/v1"), "{shown}");
        }
    }
    let refused = dray.sh("builder history inspect attachment --type nothing");
    refused.expect_code(1).expect_error("no matching attachment found");
    dray.sh("builder history inspect attachment").expect_code(1).expect_error("at least one of --type");
}

#[test]
fn records_go_to_another_daemon_in_buildx_s_bundles() {
    let daemon = Daemon::start();
    let folder = context(&daemon, "app", DOCKERFILE, &[("a", "x")]);
    let (theirs, own) = (buildx(&daemon), daemon.dray());
    build(&theirs, &folder, "--progress=plain -t app:1").expect_success();
    build(&own, &folder, "--build-arg WHO=dray").expect_success();
    let bad = context(&daemon, "bad", "FROM busybox\nRUN echo before; exit 3\n", &[]);
    build(&theirs, &bad, "--progress=plain").expect_code(1);
    let known = refs(&daemon);
    let bundle = |name: &str| daemon.scratch("bundles").join(name).display().to_string();
    let [by_buildx, by_dray, one] = ["buildx.dockerbuild", "dray.dockerbuild", "one.dockerbuild"].map(bundle);
    theirs.ok(&format!("history export --all --finalize -o {by_buildx}"));
    // What buildx has kept of where its builds were of goes along.
    let mut export = own.command(["builder", "history", "export", "--all", "--finalize", "-o", &by_dray]);
    export.env("BUILDX_CONFIG", daemon.scratch("buildx").join("buildx"));
    client::finish(export, b"").expect_success();
    own.ok(&format!("builder history export -o {one} {}", known[0]));
    for (bundle, with_steps) in [(&by_buildx, false), (&by_dray, true)] {
        let other = Daemon::empty();
        let dray = other.dray();
        let mut taken: Vec<String> =
            dray.ok(&format!("builder history import -f {bundle}")).lines().map(str::to_owned).collect();
        taken.sort();
        let mut wanted = known.clone();
        wanted.sort();
        assert_eq!(taken, wanted);
        assert_eq!(refs(&other), known);
        let again = dray.sh(&format!("builder history import -f {one}")).expect_success();
        assert!(again.stderr.contains("is there already"), "{}", again.stderr);
        let failed = inspected(&other, &known[0]);
        assert_eq!(failed["Status"], "failed");
        assert_eq!(failed["Name"], "bad", "{failed}");
        assert_eq!(failed["Error"]["Logs"][0], "before", "{failed}");
        let whole = inspected(&other, &known[1]);
        assert_eq!(
            (&whole["Status"], &whole["BuildArgs"][0]["Value"]),
            (&"completed".into(), &"dray".into())
        );
        assert_eq!(whole["Steps"].is_array(), with_steps, "{whole}");
        let theirs = super::buildx(&other);
        for id in &known {
            for client in [theirs.run(["history", "logs", id]), dray.run(["builder", "history", "logs", id])]
            {
                let log = client.expect_success().stderr;
                assert!(log.contains("[internal] load build definition from Dockerfile"), "{log}");
            }
            assert!(theirs.ok(&format!("history trace {id}")).contains("spans"));
        }
        let provenance = theirs.ok(&format!("history inspect attachment --type provenance {}", known[1]));
        assert!(provenance.contains("resolvedDependencies"), "{provenance}");
        // On it goes, and away.
        let on = daemon.scratch("bundles").join("on.dockerbuild").display().to_string();
        theirs.ok(&format!("history export -o {on} {}", known[1]));
        dray.ok("builder history rm --all");
        assert_eq!(dray.ok(&format!("builder history import -f {on}")), known[1]);
        dray.ok(&format!("builder history rm {}", known[1]));
        let history = other.data_root().join("build/history");
        let files = |folder: &Path| {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            entries.filter(|entry| entry.path().is_file()).count()
        };
        assert_eq!((files(&history), files(&history.join("attached"))), (0, 0));
        let mut import = dray.command(["builder", "history", "import"]);
        import.stdin(Stdio::piped());
        client::finish(import, b"no bundle").expect_code(1).expect_error("invalid bundle of builds");
    }
    own.sh("builder history export --all x")
        .expect_code(1)
        .expect_error("cannot specify refs when using --all");
    let refused = own.sh("builder history open");
    refused.expect_code(1).expect_error("there is no desktop application");
}

/// What `--explain` says of a build.
fn explained(client: &Client, folder: &Path, flags: &str) -> String {
    let built = build(client, folder, &format!("{flags} --explain")).expect_success();
    built.stderr[built.stderr.find("build ").expect("an explanation")..].to_owned()
}

#[test]
fn what_had_changed_is_told_step_by_step() {
    let daemon = Daemon::start();
    let dray = daemon.dray();
    let dockerfile = "FROM busybox AS base\nARG V=1\nRUN echo $V > /v\nFROM base AS app\nENV E=1\nCOPY src /src\n\
                      COPY --from=base /v /copied\nRUN --mount=type=bind,source=extra,target=/x cat /x > /extra\n";
    let files = [("src/a", "a"), ("src/b", "b"), ("extra", "e")];
    let folder = context(&daemon, "explained", dockerfile, &files);
    let write = |path: &str, text: &str| fs::write(folder.join(path), text).expect("a file");
    let told = |flags: &str, sentences: &[&str]| {
        let text = explained(&dray, &folder, flags);
        for sentence in sentences {
            assert!(text.contains(sentence), "{sentence:?} is not in:\n{text}");
        }
        text
    };
    told("-t x", &["the first of its kind", "no build of this is known"]);
    assert!(told("-t x", &["every step was in the cache"]).lines().count() == 1);
    told(
        "-t x --build-arg V=2",
        &["build argument V: \"1\" → \"2\"", "an earlier step: [3] RUN echo $V > /v"],
    );
    told("-t x", &[]);
    write("src/a", "other");
    write("src/new", "n");
    fs::remove_file(folder.join("src/b")).expect("a file");
    let text = told(
        "-t x",
        &[
            "3 of the files that it reads:",
            "content  src/a\n",
            "removed  src/b\n",
            "added    src/new\n",
            "an earlier step: [6] COPY src /src",
        ],
    );
    assert!(!text.contains("RUN echo $V > /v\n    "), "that one was cached: {text}");
    write("extra", "more");
    told("-t x", &["1 of the files that it reads:\n        content  extra"]);
    write("Dockerfile", &dockerfile.replace("cat /x > /extra", "cat /x > /other"));
    told("-t x", &["the instruction: \"RUN --mount", "cat /x > /extra\" → "]);
    told("-t x --no-cache", &["--no-cache: all steps are carried out"]);
    dray.ok("builder prune -af");
    told("-t x", &["nothing has changed: its result is no longer in the cache"]);
    // Later, and of a build that buildx made.
    write("src/a", "again");
    build(&buildx(&daemon), &folder, "-t x --progress=plain").expect_success();
    let text = dray.ok("builder history explain");
    assert!(text.contains("content  src/a\n"), "{text}");
    let before = dray.ok("builder history explain ^1");
    assert!(before.contains("no longer in the cache"), "{before}");
    let json: Value = serde_json::from_str(&dray.ok("builder history explain --format json")).expect("JSON");
    assert_eq!(json["Steps"][0]["Reasons"][0]["Files"][0]["Path"], "src/a");
    // Another image of the same name.
    let base = context(&daemon, "base", "FROM busybox\nRUN date +%s%N > /when\n", &[]);
    build(&dray, &base, "-t mine").expect_success();
    let other = context(&daemon, "upon", "FROM mine\nRUN true\n", &[]);
    build(&dray, &other, "-t y").expect_success();
    build(&dray, &base, "-t mine --no-cache").expect_success();
    let text = explained(&dray, &other, "-t y");
    assert!(text.contains("the image mine: \"sha256:"), "{text}");
    assert!(text.contains("an earlier step: [1] FROM mine"), "{text}");
}

#[test]
fn a_build_that_fails_explains_as_far_as_it_came() {
    let daemon = Daemon::start();
    let folder = context(&daemon, "fails", "FROM busybox\nRUN true\nRUN false\nRUN true again\n", &[]);
    let failed = build(&daemon.dray(), &folder, "--explain").expect_code(1);
    assert!(failed.stderr.contains("[3] RUN false"), "{}", failed.stderr);
    fs::write(folder.join("Dockerfile"), "FROM busybox\nRUN true\nRUN true now\nRUN true again\n")
        .expect("the Dockerfile");
    let text = explained(&daemon.dray(), &folder, "");
    assert!(text.contains("[3] RUN true now\n    the builds before did not come to its end"), "{text}");
}

#[test]
fn the_history_is_bounded() {
    let daemon = Daemon::with_flags(&["--builder-history", "max-entries=2,max-age=0s"]);
    daemon.load(&dray_harness::fixture::busybox());
    let folder = context(&daemon, "many", "FROM busybox\nCOPY a /\n", &[("a", "x")]);
    for n in 0..5 {
        fs::write(folder.join("a"), n.to_string()).expect("a file");
        build(&daemon.dray(), &folder, &format!("-t many:{n}")).expect_success();
    }
    assert_eq!(refs(&daemon).len(), 2);
    let lists = fs::read_dir(daemon.data_root().join("build/history/files")).expect("lists").count();
    assert_eq!(lists, 2);
    let refused = daemon.command().args(["--builder-history", "max-age=x"]).output().expect("dray daemon");
    assert!(!refused.status.success());
}

#[test]
fn a_build_that_runs_is_shown_and_one_that_is_killed_has_failed() {
    let mut daemon = Daemon::spawn();
    let folder = context(&daemon, "slow", "FROM busybox\nRUN echo begun; exec sleep 86399\n", &[]);
    let start = |client: &Client| {
        let mut command = client.command(["build", "-t", "slow"]);
        command.arg(&folder).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a build")
    };
    let status = |daemon: &Daemon| daemon.dray().ok("builder history ls --format {{.Status}}");
    for client in [daemon.dray(), buildx(&daemon)] {
        let mut child = start(&client);
        client::eventually("the build runs", || status(&daemon).lines().next() == Some("Running"));
        let id = refs(&daemon)[0].clone();
        let mut logs = daemon
            .dray()
            .command(["builder", "history", "logs", &id])
            .stderr(Stdio::piped())
            .spawn()
            .expect("logs");
        let mut reader = std::io::BufReader::new(logs.stderr.take().expect("piped"));
        assert!(dray_harness::daemon::read_until(&mut reader, "begun").contains("begun"));
        daemon.dray().run(["builder", "history", "rm", &id]).expect_code(1).expect_error("is still running");
        child.kill().expect("kill");
        child.wait().expect("wait");
        logs.wait().expect("the log ends with the build");
        client::eventually("the build has ended", || status(&daemon).lines().next() == Some("Error"));
        assert_eq!(inspected(&daemon, &id)["Status"], "canceled");
    }
    let mut child = start(&daemon.dray());
    client::eventually("the build runs", || status(&daemon).lines().next() == Some("Running"));
    daemon.crash_and_restart();
    child.wait().expect("the client sees it");
    assert_eq!(status(&daemon), "Error\nError\nError");
    let build = inspected(&daemon, "");
    assert_eq!(build["Error"]["Message"], "the daemon was stopped while it built");
}
