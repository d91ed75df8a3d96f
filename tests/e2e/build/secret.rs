//! Secrets of `dray build`, and that none is found anywhere afterwards.

use std::fs;
use std::process::Command;

use dray_harness::{Client, Daemon};

use super::{build, buildx, context};

const SECRET: &str = "rather-unlikely-to-be-elsewhere-7f3a";

/// A step that has the secret as a file and as a variable and fails or not; it shows it in no output itself.
fn dockerfile(end: &str) -> String {
    format!(
        "FROM busybox\n\
         RUN --mount=type=secret,id=token,required=true rev /run/secrets/token > /seen\n\
         RUN --mount=type=secret,id=token,env=TOKEN,target=/etc/token,mode=0400 test ${{#TOKEN}} -gt 10 && \
         cmp /etc/token /etc/token && {end}\n\
         RUN test -z \"$TOKEN\" && test ! -s /etc/token && test ! -e /run/secrets/token\n"
    )
}

fn clients(daemon: &Daemon) -> [Client; 2] {
    [daemon.dray(), buildx(daemon)]
}

/// Where the secret is found below what the daemon keeps, and in what it says.
fn found(daemon: &Daemon, texts: &[&str]) -> Vec<String> {
    let mut places = Vec::new();
    for root in [daemon.data_root(), daemon.run_root()] {
        let found = Command::new("grep").args(["-rlasF", SECRET]).arg(&root).output().expect("grep");
        places.extend(String::from_utf8_lossy(&found.stdout).lines().map(str::to_owned));
    }
    let log = daemon.log();
    let said = [log.as_str()].into_iter().chain(texts.iter().copied());
    places.extend(said.filter(|text| text.contains(SECRET)).map(|text| format!("said: {text}")));
    places
}

#[test]
fn a_secret_reaches_its_step_and_nothing_else() {
    let daemon = Daemon::spawn_with_flags(&["--log-level", "debug"]);
    daemon.load(&dray_harness::fixture::busybox());
    let file = daemon.scratch("secrets").join("token");
    fs::write(&file, SECRET).expect("the secret");
    let flags = format!("--secret id=token,src={} -t secret", file.display());
    let docker = daemon.docker();
    for client in clients(&daemon) {
        let folder = context(&daemon, "good", &dockerfile("true"), &[]);
        let built = build(&client, &folder, &format!("{flags} --no-cache --progress=plain")).expect_success();
        assert_eq!(docker.ok("run --rm secret rev /seen").trim(), SECRET);
        let history = docker.ok("history --no-trunc secret");
        let inspected = docker.ok("image inspect secret");
        let archive = daemon.scratch("saved").join("image.tar");
        docker.run(["save", "-o", &archive.to_string_lossy(), "secret"]).expect_success();
        let saved = String::from_utf8_lossy(&fs::read(&archive).expect("archive")).into_owned();
        let texts = [&built.stdout, &built.stderr, &history, &inspected, &saved].map(String::as_str);
        assert_eq!(found(&daemon, &texts), Vec::<String>::new());
        let folder = context(&daemon, "bad", &dockerfile("exit 7"), &[]);
        let failed = build(&client, &folder, &format!("{flags} --no-cache --progress=plain"));
        assert!(failed.code != 0 && failed.output().contains("exit"), "{}", failed.output());
        assert_eq!(found(&daemon, &[&failed.output()]), Vec::<String>::new());
        docker.ok("rmi secret");
    }
}

/// What a step prints goes to its client; what is kept of the build has none of it.
#[test]
fn a_secret_that_a_step_prints_is_not_kept() {
    let daemon = Daemon::spawn_with_flags(&["--log-level", "debug"]);
    daemon.load(&dray_harness::fixture::busybox());
    let file = daemon.scratch("secrets").join("token");
    fs::write(&file, SECRET).expect("the secret");
    let dockerfile = "FROM busybox\n\
         RUN --mount=type=secret,id=token,env=TOKEN echo first; printf 'it is %s\\n' $TOKEN; cat /run/secrets/token; exit 9\n";
    let flags = format!("--secret id=token,src={} --progress=plain", file.display());
    for client in clients(&daemon) {
        let folder = context(
            &daemon,
            "printed",
            &dockerfile.replace("env=TOKEN", "env=TOKEN,target=/run/secrets/token"),
            &[],
        );
        let failed = build(&client, &folder, &flags);
        assert!(
            failed.code != 0 && failed.output().contains(&format!("it is {SECRET}")),
            "{}",
            failed.output()
        );
        assert_eq!(found(&daemon, &[]), Vec::<String>::new());
        let log = daemon.dray().sh("builder history logs").expect_success().stderr;
        assert!(log.contains("it is ***") && log.contains("first"), "{log}");
        let shown = daemon.dray().ok("builder history inspect");
        assert!(shown.contains("> it is ***"), "{shown}");
    }
}

#[test]
fn another_secret_repeats_no_step() {
    let daemon = Daemon::start();
    let dockerfile =
        "FROM busybox\nRUN --mount=type=secret,id=token cat /run/secrets/token | wc -c > /size\n";
    let folder = context(&daemon, "cached", dockerfile, &[]);
    let size = |secret: &str, client: &Client| {
        let mut command = client.command(["build", "--secret", "id=token,env=THE_TOKEN", "-t", "cached"]);
        command.arg(&folder).env("THE_TOKEN", secret);
        dray_harness::client::finish(command, b"").expect_success();
        daemon.docker().ok("run --rm cached cat /size")
    };
    for client in clients(&daemon) {
        assert_eq!((size("four", &client), size("longer", &client)), ("4".into(), "4".into()));
    }
}

#[test]
fn what_is_not_given_is_told_only_where_it_is_needed() {
    let daemon = Daemon::start();
    let optional =
        "FROM busybox\nRUN --mount=type=secret,id=token --mount=type=ssh test ! -e /run/secrets/token\n";
    let folder = context(&daemon, "optional", optional, &[]);
    for client in clients(&daemon) {
        build(&client, &folder, "").expect_success();
    }
    let required = "FROM busybox\nRUN --mount=type=secret,id=token,required=true true\n";
    let folder = context(&daemon, "required", required, &[]);
    for client in clients(&daemon) {
        let failed = build(&client, &folder, "").expect_code(1);
        assert!(failed.output().contains("secret token: not found"), "{}", failed.output());
    }
    let missing = build(&daemon.dray(), &folder, "--secret id=token,src=/no/such/file").expect_code(1);
    missing.expect_error("failed to stat /no/such/file: no such file or directory");
}
