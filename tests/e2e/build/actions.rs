//! The cache service of GitHub Actions: `type=gha`, in both versions of its protocol, from both clients.

use std::fs;
use std::process::Command;

use dray_harness::actions::ActionsService;
use dray_harness::{Daemon, client};

use super::remote_cache::{build, buildx, files, id, shared};

fn flags(service: &ActionsService, version: u32, token: &str) -> String {
    let url = if version == 2 { "url_v2" } else { "url" };
    format!("type=gha,scope=app,version={version},{url}={},token={token}", service.url())
}

#[test]
fn a_cache_in_the_service_is_shared() {
    for version in [2, 1] {
        let services = [ActionsService::start(), ActionsService::start()];
        let of = |n: usize| flags(&services[n], version, &services[n].token(&["refs/heads/main"]));
        shared(|_, n| format!("--cache-to {},mode=max", of(n)), |_, n| format!("--cache-from {}", of(n)));
        for service in &services {
            let keys = service.keys();
            assert!(keys.iter().any(|key| key.starts_with("buildkit-blob-1-sha256:")), "{keys:?}");
            assert!(
                keys.last().is_some_and(|key| key.starts_with("index-app-1-") && key.ends_with("#1")),
                "{keys:?}"
            );
            let path = if version == 2 { "CreateCacheEntry" } else { "/_apis/artifactcache/caches" };
            assert!(service.requests().iter().any(|line| line.ends_with(path)));
        }
    }
}

#[test]
fn a_workflow_says_where_its_cache_is() {
    let service = ActionsService::start();
    let (first, second) = (Daemon::start(), Daemon::start());
    // More than travels in one request.
    let large = "FROM busybox\nRUN head -c 40000000 /dev/urandom > /large\nCOPY a /\n";
    let folder = |daemon: &Daemon| {
        let folder = files(daemon);
        fs::write(folder.join("Dockerfile"), large).expect("the Dockerfile");
        folder
    };
    let build = |daemon: &Daemon, flags: &str| {
        let words = ["build", "--progress=plain", "-t", "cached"].into_iter().chain(flags.split(' '));
        let mut command = daemon.dray().command(words);
        command
            .arg(folder(daemon))
            .env("ACTIONS_CACHE_SERVICE_V2", "true")
            .env("ACTIONS_RESULTS_URL", service.url())
            .env("ACTIONS_RUNTIME_TOKEN", service.token(&["refs/heads/main"]));
        client::finish(command, b"").expect_success().stdout
    };
    service.be_busy(2);
    build(&first, "--cache-to type=gha,mode=max");
    let again = build(&second, "--cache-from type=gha");
    assert_eq!(again.matches("CACHED").count(), 2, "{again}");
    assert_eq!(id(&first), id(&second));
    // Outside of a workflow there is none, as with buildx.
    let outside = first.dray().run(["build", "--cache-to", "type=gha", &folder(&first).to_string_lossy()]);
    outside.expect_success();
}

#[test]
fn a_branch_reads_what_the_main_one_has_and_writes_its_own() {
    let service = ActionsService::start();
    let daemons = [Daemon::start(), Daemon::start(), Daemon::start()];
    let main = flags(&service, 2, &service.token(&["refs/heads/main"]));
    let branch = flags(&service, 2, &service.token(&["refs/heads/b", "refs/heads/main"]));
    let built = |n: usize, flags: String| {
        let daemon = &daemons[n];
        build(&daemon.dray(), &files(daemon), &format!("-t cached {flags}")).expect_success().stdout
    };
    built(0, format!("--cache-to {main},mode=max"));
    let again = built(1, format!("--cache-from {branch} --cache-to {branch},mode=max"));
    assert!(again.contains("CACHED"), "{again}");
    let main_keys = service.keys().iter().filter(|key| key.starts_with("index-app-1-")).count();
    assert_eq!(main_keys, 2, "{:?}", service.keys());
    // What changes is written under the next number.
    built(0, format!("--cache-to {main},mode=max"));
    assert!(service.keys().iter().any(|key| key.ends_with("#2")), "{:?}", service.keys());
    built(2, format!("--cache-from {main}"));
    assert_eq!(id(&daemons[0]), id(&daemons[2]));
    let other = main.replace("scope=app", "scope=other");
    let unknown = build(&daemons[2].dray(), &files(&daemons[2]), &format!("--no-cache --cache-from {other}"));
    assert!(unknown.expect_success().stdout.contains("gha:other: no cache"));
}

#[test]
fn a_service_that_fails_is_said_and_no_token_is_kept() {
    let service = ActionsService::start();
    let daemon = Daemon::spawn_with_flags(&["--log-level", "debug"]);
    daemon.load(&dray_harness::fixture::busybox());
    let token = service.token(&["refs/heads/main"]);
    let good = flags(&service, 2, &token);
    let folder = files(&daemon);
    build(&daemon.dray(), &folder, &format!("--cache-to {good}")).expect_success();
    service.damage();
    let other = Daemon::start();
    let built =
        build(&other.dray(), &files(&other), &format!("-t cached --cache-from {good}")).expect_success();
    assert!(built.stdout.contains("WARNING: cache gha:app:"), "{}", built.stdout);
    for client in [daemon.dray(), buildx(&daemon)] {
        let refused = |flags: &str, text: &str| {
            let failed = build(&client, &folder, flags).expect_code(1);
            assert!(failed.stderr.contains(text), "{text}: {}", failed.stderr);
        };
        let old = good.replace(&token, "e30.eyJuYmYiOjEsImV4cCI6MiwiYWMiOiJbXSJ9.s");
        refused(&format!("--cache-to {old}"), "cache token expired at");
        build(&client, &folder, &format!("--cache-to {old},ignore-error=true")).expect_success();
        build(&client, &folder, &format!("--cache-from {old}")).expect_success();
        let reader = good.replace(&token, "e30.eyJuYmYiOjEsImV4cCI6NDAwMDAwMDAwMCwiYWMiOiJbXSJ9.s");
        refused(&format!("--cache-to {reader}"), "the token is for reading only");
        let nobody = good.replace(service.url(), "http://127.0.0.1:1");
        refused(&format!("--cache-to {nobody},timeout=3s"), "github actions cache");
    }
    for root in [daemon.data_root(), daemon.run_root()] {
        let found = Command::new("grep").args(["-rlasF", &token]).arg(&root).output().expect("grep");
        assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    }
    assert!(!daemon.log().contains(&token));
}
