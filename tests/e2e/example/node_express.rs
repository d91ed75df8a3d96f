//! `examples/node-express`: built, run, looked at, versioned, published, changed and published again.

use dray_harness::registry::Registry;
use dray_harness::{Client, fixture};

use super::{Project, argument, curl, is_cached, post, secret};
use crate::build::buildx;

const USER: &str = "course";
const PASSWORD: &str = "of-docker";
const TAGS: [&str; 4] = ["1", "1.0", "1.0.0", "latest"];

fn project() -> Project {
    let settings = [secret("npmrc", &[".npmrc"]), argument("NPM_CONFIG_REGISTRY")];
    let images = [fixture::node(), fixture::node_slim()];
    Project::new("node-express", &images, settings.into_iter().flatten().collect())
}

#[test]
fn from_the_build_to_the_registry_and_the_next_version() {
    let project = project();
    let daemon = &project.daemon;
    project.fetch("node-express:1.0.0", "1.0.0");
    let id = |image: &str| daemon.dray().ok(&format!("image inspect -f {{{{.Id}}}} {image}"));
    let by_them = project.build(&buildx(daemon), "by-docker", "1.0.0");
    assert!(is_cached(&by_them.output(), "npm ci --omit=dev"), "{}", by_them.output());
    assert_eq!(id("by-docker"), id("node-express:1.0.0"), "Docker's client builds the same image");
    the_image_is_small_and_without_privileges(&project);
    for client in daemon.clients() {
        it_serves(&project, &client);
    }
    a_service_that_does_not_answer_is_unhealthy(&project);
    for client in daemon.clients() {
        let registry = Registry::with_user(USER, PASSWORD);
        let name = format!("{}/course/node-express", registry.host());
        publish(&client, &name, registry.port());
        next_version(&project, &client, &name);
        from_the_registry(&project, &client, &name);
        client.ok(&format!("logout {}", registry.host()));
    }
    a_change_that_breaks_a_test_makes_no_image(&project);
}

fn the_image_is_small_and_without_privileges(project: &Project) {
    let client = project.daemon.dray();
    let size = |image: &str| -> u64 {
        client.ok(&format!("image inspect -f {{{{.Size}}}} {image}")).parse().expect("a size")
    };
    assert!(size("node-express:1.0.0") < size("node:18-bookworm") * 2 / 3, "the last stage is small");
    let seen = "id -un; ls; ls node_modules | grep -c supertest; command -v npm; ls /root/.npm 2>&1";
    let seen = client.run(["run", "--rm", "node-express:1.0.0", "sh", "-c", seen]).expect_code(2).output();
    assert!(seen.starts_with("node\napp.js\nhealthcheck.js\nnode_modules\nserver.js\n0\n"), "{seen}");
    let history =
        client.ok("history --no-trunc node-express:1.0.0") + &client.ok("inspect node-express:1.0.0");
    assert!(!history.contains("npmrc") && !history.contains("CERT"), "{history}");
}

fn it_serves(project: &Project, client: &Client) {
    let address = project.start(client, "notes", "node-express:1.0.0", 3000);
    assert_eq!(curl(&[&address]).1["version"], "1.0.0");
    let notes = format!("{address}/notes");
    assert_eq!(post(&notes, r#"{"text": "buy milk"}"#).0, 201);
    assert_eq!(post(&notes, r#"{"text": 7}"#).0, 400);
    assert_eq!(post(&notes, "{").0, 400);
    assert_eq!(curl(&[&notes]).1[0]["text"], "buy milk");
    let shown = client.ok("ps --format {{.Names}}|{{.Status}}|{{.Ports}}");
    assert!(shown.starts_with("notes|Up ") && shown.contains("(healthy)|0.0.0.0:"), "{shown}");
    let log = client.ok("logs notes");
    for line in
        ["listening on port 3000, version 1.0.0", "POST /notes 201 ", "POST /notes 400 ", "GET /health 200 "]
    {
        assert!(log.contains(line), "{line:?} is not in\n{log}");
    }
    let stats = client
        .ok("stats --no-stream --format {{.Name}}|{{.CPUPerc}}|{{.MemUsage}}|{{.NetIO}}|{{.PIDs}} notes");
    let fields: Vec<&str> = stats.split('|').collect();
    assert!(fields.len() == 5 && fields[0] == "notes" && fields[1].ends_with('%'), "{stats}");
    assert!(fields[2].contains("MiB / ") && !fields[3].starts_with("0B"), "{stats}");
    assert!(fields[4].parse::<u32>().is_ok_and(|processes| processes > 0), "{stats}");
    client.ok("stop notes");
    assert_eq!(client.ok("inspect -f {{.State.ExitCode}} notes"), "0", "SIGTERM is heard");
    assert!(client.ok("logs notes").ends_with("SIGTERM: closing"));
    client.ok("rm notes");
}

fn a_service_that_does_not_answer_is_unhealthy(project: &Project) {
    let client = project.daemon.docker();
    let flags = "run -d --name sick --health-interval=200ms --health-start-period=1ms --health-retries=2 node-express:1.0.0";
    let hangs = ["node", "-e", "setInterval(() => {}, 1000)"];
    client.run(flags.split_whitespace().chain(hangs)).expect_success();
    project.health("sick", "unhealthy");
    assert!(client.ok("ps --filter health=unhealthy --format {{.Names}}").contains("sick"));
    client.ok("rm -f sick");
}

fn publish(client: &Client, name: &str, port: u16) {
    for tag in TAGS {
        client.ok(&format!("tag node-express:1.0.0 {name}:{tag}"));
    }
    let refused = client.sh(&format!("push {name}:1.0.0")).expect_code(1);
    assert!(refused.stderr.contains("no basic auth credentials"), "{}", refused.stderr);
    let host = name.split('/').next().unwrap_or_default();
    let login = ["login", "-u", USER, "--password-stdin", host];
    client.run_with_input(login, b"wrong").expect_code(1);
    client.run_with_input(login, PASSWORD.as_bytes()).expect_success().expect_output("Login Succeeded");
    client.ok(&format!("push --all-tags {name}"));
    let user = format!("{USER}:{PASSWORD}");
    let at = format!("http://127.0.0.1:{port}/v2/course/node-express/tags/list");
    let (_, list) = curl(&["-u", &user, &at]);
    let mut tags: Vec<&str> =
        list["tags"].as_array().expect("tags").iter().filter_map(|tag| tag.as_str()).collect();
    tags.sort_unstable();
    assert_eq!(tags, TAGS);
}

/// A change of the code: packages come from the cache, and the registry is sent what is new alone.
fn next_version(project: &Project, client: &Client, name: &str) {
    let image = format!("{name}:1.1.0");
    let service = format!("service: 'notes of {}'", client.name());
    project.change("app.js", "service: 'notes'", &service);
    let builder = if client.name() == "docker" { buildx(&project.daemon) } else { client.clone() };
    let built = project.build(&builder, &image, "1.1.0").output();
    assert!(is_cached(&built, "npm ci --omit=dev") && is_cached(&built, "npm ci --no-audit"), "{built}");
    assert!(!is_cached(&built, "npm test"), "{built}");
    project.change("app.js", &service, "service: 'notes'");
    let (before, after) = (project.layers("node-express:1.0.0"), project.layers(&image));
    let new = after.iter().filter(|layer| !before.contains(layer)).count();
    assert_eq!((after.len(), new), (before.len(), 1), "one layer is new");
    let pushed = client.ok(&format!("push {image}"));
    // buildx attaches how it was made, whose empty configuration is there already too.
    let attached = usize::from(client.name() == "docker");
    assert_eq!(pushed.matches(": Layer already exists").count(), after.len() - 1 + attached, "{pushed}");
}

fn from_the_registry(project: &Project, client: &Client, name: &str) {
    for tag in TAGS {
        client.ok(&format!("rmi {name}:{tag}"));
    }
    client.ok(&format!("pull {name}:1.0"));
    let address = project.start(client, "pulled", &format!("{name}:1.0"), 3000);
    assert_eq!(curl(&[&address]).1["version"], "1.0.0");
    client.ok("rm -f pulled");
}

fn a_change_that_breaks_a_test_makes_no_image(project: &Project) {
    let client = project.daemon.dray();
    project.change("app.js", "status: 'ok'", "status: 'fine'");
    let said = client.run(project.arguments(&["--progress=plain", "-t", "broken"])).expect_code(1).output();
    assert!(said.contains("says that it is well") && said.contains(">>> RUN npm test"), "{said}");
    assert_eq!(client.ok("images -q broken"), "");
}
