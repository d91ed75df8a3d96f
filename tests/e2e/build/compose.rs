//! `docker compose build`: through buildx bake, through Compose's own BuildKit client, and with the classic builder.

use std::fs;
use std::path::Path;

use dray_harness::{Client, Daemon, client, compose, fixture};

use super::context;

const PROJECT: &str = r#"
name: built
services:
  app:
    image: built-app
    build:
      context: app
      target: final
      args: {WHO: compose}
      secrets: [token]
      additional_contexts: {assets: ./assets}
  other:
    image: built-other
    build:
      dockerfile_inline: |
        FROM busybox
        RUN echo inline > /greeting
secrets:
  token: {file: ./token}
"#;

const UPON: &str = r#"
name: upon
services:
  base:
    image: upon-base
    build:
      dockerfile_inline: |
        FROM busybox
        RUN echo base > /made
  app:
    image: upon-app
    build:
      additional_contexts: {base: "service:base"}
      dockerfile_inline: |
        FROM base
        RUN cat /made > /seen
"#;

const DOCKERFILE: &str = "FROM busybox AS final\nARG WHO\nRUN echo hello $WHO > /greeting\n\
                          COPY --from=assets page /page\n\
                          RUN --mount=type=secret,id=token test \"$(cat /run/secrets/token)\" = secret\n\
                          FROM final AS unused\nRUN exit 1\n";

fn project(daemon: &Daemon) -> std::path::PathBuf {
    let files = [
        ("app/Dockerfile", DOCKERFILE),
        ("assets/page", "page"),
        ("token", "secret"),
        ("compose.yaml", PROJECT),
    ];
    context(daemon, "project", "", &files)
}

fn run(daemon: &Daemon, folder: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> client::Finished {
    let config = daemon.scratch("compose-config");
    let plugins = config.join("cli-plugins");
    fs::create_dir_all(&plugins).expect("plugins");
    let _ = std::os::unix::fs::symlink(fixture::buildx(), plugins.join("docker-buildx"));
    let mut command = Client::new(compose::reference(), daemon.host(), &config).command(arguments);
    command.current_dir(folder).env_remove("DOCKER_BUILDKIT").envs(variables.iter().copied());
    client::finish(command, b"")
}

#[test]
fn services_are_built_whichever_way() {
    let daemon = Daemon::start();
    let folder = project(&daemon);
    let client = daemon.docker();
    for variables in [
        [("DOCKER_BUILDKIT", "1"), ("COMPOSE_BAKE", "true")],
        [("DOCKER_BUILDKIT", "1"), ("COMPOSE_BAKE", "false")],
    ] {
        run(&daemon, &folder, &variables, &["build"]).expect_success();
        assert_eq!(
            client.ok("run --rm built-app cat /greeting /page"),
            "hello compose\npage",
            "{variables:?}"
        );
        assert_eq!(client.ok("run --rm built-other cat /greeting"), "inline", "{variables:?}");
        client.ok("rmi built-app built-other");
        client.ok("builder prune -af");
    }
    let up = run(&daemon, &folder, &[("DOCKER_BUILDKIT", "1")], &["up", "--build", "--no-start"]);
    up.expect_success();
    assert_eq!(client.ok("ps -aq --filter label=com.docker.compose.project=built").lines().count(), 2);
    run(&daemon, &folder, &[], &["down", "--rmi", "all"]).expect_success();
    assert_eq!(client.ok("images -q built-app"), "");
}

#[test]
fn a_service_is_built_upon_another() {
    let daemon = Daemon::start();
    let folder = project(&daemon);
    fs::write(folder.join("compose.yaml"), UPON).expect("the project");
    run(&daemon, &folder, &[("COMPOSE_BAKE", "true")], &["build"]).expect_success();
    assert_eq!(daemon.docker().ok("run --rm upon-app cat /seen"), "base");
}

#[test]
fn what_fails_is_said_with_its_lines() {
    let daemon = Daemon::start();
    let folder = project(&daemon);
    fs::write(folder.join("app/Dockerfile"), "FROM busybox AS final\nRUN echo before; \\\n  exit 7\n")
        .expect("the Dockerfile");
    for bake in ["true", "false"] {
        let failed =
            run(&daemon, &folder, &[("DOCKER_BUILDKIT", "1"), ("COMPOSE_BAKE", bake)], &["build", "app"]);
        let said = failed.output();
        assert_ne!(failed.code, 0, "{said}");
        assert!(said.contains("exit code: 7"), "{said}");
    }
}
