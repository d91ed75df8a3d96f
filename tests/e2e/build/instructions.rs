//! Every instruction, by what the image then is.

use dray_harness::{Daemon, client};

use super::{build, context};

#[test]
fn a_multi_stage_build_gives_a_working_image() {
    let daemon = Daemon::start();
    let dockerfile = r#"ARG BASE=busybox
FROM ${BASE} AS make
ARG GREETING=hello
WORKDIR /src
COPY input.txt ./
RUN sed "s/X/$GREETING/" input.txt > output.txt && chmod 640 output.txt

FROM busybox
LABEL maintainer="someone" version=1
ENV NAME=world PATH=$PATH:/extra
COPY --from=make --chown=nobody:staff /src/output.txt /app/
WORKDIR /app
USER nobody
EXPOSE 80 53/udp
VOLUME /data
STOPSIGNAL SIGINT
HEALTHCHECK --interval=9s CMD true
ENTRYPOINT ["sh", "-c"]
CMD ["cat output.txt; echo $NAME; stat -c '%U:%G %a' output.txt"]
"#;
    for client in daemon.clients() {
        let folder = context(&daemon, &client.name(), dockerfile, &[("input.txt", "X there\n")]);
        build(&client, &folder, "-t multi:v1 -t multi:latest --build-arg GREETING=bye --label extra=yes")
            .expect_success();
        assert_eq!(client.ok("run --rm multi:v1"), "bye there\nworld\nnobody:staff 640");
        let field = |template: &str| {
            client.run(["image", "inspect", "-f", template, "multi"]).expect_success().stdout
        };
        assert_eq!(
            field("{{.Config.User}} {{.Config.WorkingDir}} {{.Config.StopSignal}}").trim(),
            "nobody /app SIGINT"
        );
        assert_eq!(field("{{.Config.Labels.version}} {{.Config.Labels.extra}}").trim(), "1 yes");
        let ports = field("{{json .Config.ExposedPorts}}");
        assert!(ports.contains("80/tcp") && ports.contains("53/udp"), "{ports}");
        assert!(field("{{json .Config.Healthcheck}}").contains("9000000000"));
        client.ok("rmi multi:v1 multi:latest");
    }
}

#[test]
fn heredocs_run_and_copy() {
    let daemon = Daemon::start();
    let dockerfile = "FROM busybox\nRUN <<EOF\necho one > /file\necho two >> /file\nEOF\nCOPY <<\"EOF\" /raw\n$HOME stays\nEOF\n";
    for client in daemon.clients() {
        let folder = context(&daemon, &client.name(), dockerfile, &[]);
        build(&client, &folder, "-t heredoc").expect_success();
        assert_eq!(client.ok("run --rm heredoc cat /file /raw"), "one\ntwo\n$HOME stays");
    }
}

#[test]
fn target_stops_at_a_stage_and_unneeded_stages_do_not_run() {
    let daemon = Daemon::start();
    let dockerfile = "FROM busybox AS first\nRUN echo first > /stage\nFROM busybox AS broken\nRUN false\nFROM first AS last\nRUN echo last > /stage\n";
    for client in daemon.clients() {
        let folder = context(&daemon, &client.name(), dockerfile, &[]);
        build(&client, &folder, "--target first -t staged").expect_success();
        assert_eq!(client.ok("run --rm staged cat /stage"), "first");
        build(&client, &folder, "-t staged").expect_success();
        assert_eq!(client.ok("run --rm staged cat /stage"), "last");
        build(&client, &folder, "--target nosuch").expect_code(1).expect_error("nosuch");
    }
}

#[test]
fn onbuild_runs_in_the_child() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        let parent = context(
            &daemon,
            "parent",
            "FROM busybox\nONBUILD COPY given /given\nONBUILD RUN echo ran > /ran\n",
            &[],
        );
        build(&client, &parent, "-t parent").expect_success();
        client.sh("run --rm parent ls /ran").expect_code(1);
        let child = context(&daemon, "child", "FROM parent\n", &[("given", "g")]);
        build(&client, &child, "-t child").expect_success();
        assert_eq!(client.ok("run --rm child cat /given /ran"), "gran");
        client.ok("rmi child parent");
    }
}

#[test]
fn add_unpacks_archives_and_copy_does_not() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    let folder = context(
        &daemon,
        "add",
        "FROM busybox\nADD a.tar.gz /add/\nCOPY a.tar.gz /copy/\n",
        &[("inner/file", "in")],
    );
    let made =
        std::process::Command::new("tar").args(["czf", "a.tar.gz", "inner"]).current_dir(&folder).status();
    assert!(made.expect("tar").success());
    build(&client, &folder, "-t add").expect_success();
    assert_eq!(client.ok("run --rm add cat /add/inner/file"), "in");
    assert_eq!(client.ok("run --rm add ls /copy"), "a.tar.gz");
}

#[test]
fn from_scratch_holds_only_what_is_copied() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    let dockerfile = "FROM busybox AS b\nFROM scratch\nCOPY --from=b /bin/busybox /busybox\nCMD [\"/busybox\", \"echo\", \"alone\"]\n";
    let folder = context(&daemon, "scratch", dockerfile, &[]);
    build(&client, &folder, "-t alone").expect_success();
    assert_eq!(client.ok("run --rm alone"), "alone");
}

#[test]
fn packages_install_over_the_network() {
    let daemon = Daemon::with_flags(&["--trust-host-ca"]);
    daemon.load(&dray_harness::fixture::debian());
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let example = examples.join("docker-workflow.sh");
    let webapp = examples.join("webapp").display().to_string();
    // The scripts find these steps in the cache.
    client::fetch(|| daemon.dray().command(["build", "--quiet", &webapp])).expect_success();
    for client in daemon.clients() {
        let command = client.command(Vec::<&str>::new());
        let mut script = std::process::Command::new(&example);
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                script.env(name, value);
            }
        }
        script.env("DOCKER", command.get_program());
        script.env("PORT", dray_harness::registry::free_port().to_string());
        let output = script.stdin(std::process::Stdio::null()).output().expect("the example");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        for part in [
            "Building image",
            "Container started: webapp (id: ",
            "Application running at http://localhost:",
            "It says: Hello from ",
            "Stopped and removed",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }
    let client = daemon.dray();
    let layers = client.ok("run --rm --env SSL_CERT_FILE= myapp:v1 sh -c env");
    assert!(
        !client.ok("image inspect myapp:v1").contains("SSL_CERT_FILE"),
        "the host's CA is in the image: {layers}"
    );
}
