//! Bad input: each is refused with a text that names the thing and the place.

use std::fs;

use tempfile::TempDir;

use super::compose;

/// Writes files and asks for `config`; what it says.
fn refused(files: &[(&str, &str)]) -> String {
    let folder = TempDir::with_prefix("dray-compose-").expect("a folder");
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    let finished = compose(folder.path(), &["config", "-q"]);
    assert_eq!(finished.code, 1, "{}", finished.stderr);
    finished.stderr.replace(&folder.path().display().to_string(), "")
}

fn says(text: &str, parts: &[&str]) {
    let said = refused(&[("compose.yaml", text)]);
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
}

#[test]
fn unknown_names_with_near_ones() {
    says(
        "services:\n  web:\n    image: x\n    prots: ['80:80']\n",
        &[
            "services.web additional properties 'prots' not allowed",
            "/compose.yaml:4:5",
            "prots: ['80:80']",
            "did you mean 'ports'?",
        ],
    );
}

#[test]
fn wrong_types_with_line_and_column() {
    says(
        "services:\n  web:\n    image: [a]\n",
        &["services.web.image must be a string", "compose.yaml:3:12"],
    );
    says(
        "services:\n  web:\n    image: x\n    ports: 80\n",
        &["services.web.ports must be a array", ":4:12"],
    );
    says("services:\n  web: {image: x, healthcheck: {interval: often}}\n", &["invalid duration", ":2:43"]);
    says("services:\n  web: {image: x, mem_limit: lots}\n", &["invalid size: 'lots'", ":2:30"]);
}

#[test]
fn text_that_is_no_yaml() {
    says("services:\n  web:\n   image: x\n  bad\n", &["yaml:", "compose.yaml:"]);
    says("services:\n  a: {image: x}\n  a: {image: y}\n", &["\"a\" already defined at line 2", ":3:3"]);
    says("[]\n", &["top-level object must be a mapping"]);
    says("a: *nothing\n", &["yaml:"]);
}

#[test]
fn cycles() {
    says(
        "services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, depends_on: [a]}\n",
        &["dependency cycle detected: a -> b -> a", ":3:"],
    );
    says("services:\n  a: {extends: b}\n  b: {extends: a}\n", &["Circular reference:", "extends"]);
    let said = refused(&[
        ("compose.yaml", "include: [other.yaml]\nservices: {a: {image: x}}\n"),
        ("other.yaml", "include: [compose.yaml]\nservices: {b: {image: x}}\n"),
    ]);
    assert!(said.contains("include cycle detected"), "{said}");
    assert!(said.contains("/other.yaml:1:"), "{said}");
}

#[test]
fn references_that_lead_nowhere() {
    says("services: {a: {image: x, networks: [n]}}\n", &["\"a\" refers to undefined network n", ":1:"]);
    says("services: {a: {image: x, volumes: ['vol:/v']}}\n", &["\"a\" refers to undefined volume vol"]);
    says("services: {a: {image: x, depends_on: [b]}}\n", &["\"a\" depends on undefined service \"b\""]);
    says("services: {a: {image: x, secrets: [s]}}\n", &["\"a\" refers to undefined secret s"]);
    says("services: {a: {image: x, extends: {service: b}}}\n", &["service \"b\" not found", ":1:"]);
    says("services: {a: {image: x, extends: {file: no.yaml, service: b}}}\n", &["no.yaml", "no such file"]);
    says("include: [no.yaml]\n", &["no.yaml", "no such file", ":1:"]);
    says("services: {a: {image: x, env_file: no.env}}\n", &["env file /no.env not found"]);
    says("services: {a: {}}\n", &["neither an image nor a build context", ":1:"]);
}

#[test]
fn variables() {
    says(
        "services:\n  a:\n    image: ${NONE:?say which}\n",
        &["required variable NONE is missing a value: say which", ":3:12"],
    );
    says("services:\n  a:\n    image: ${\n", &["invalid interpolation format for services.a.image", ":3:12"]);
    says("services: {a: {image: x, scale: '${N:-many}'}}\n", &["services.a.scale", "failed to cast"]);
}

#[test]
fn ports_and_mounts() {
    says("services: {a: {image: x, ports: ['99999:1']}}\n", &["invalid hostPort: 99999", ":1:34"]);
    says("services: {a: {image: x, ports: ['1-3:1-2']}}\n", &["invalid ranges specified"]);
    says(
        "services: {a: {image: x, volumes: ['/a:/x', '/b:/x', {type: tmpfs, target: /y}], tmpfs: /y}}\n",
        &["already mounted"],
    );
    says(
        "services: {a: {image: x, container_name: cc}, b: {image: x, container_name: cc}}\n",
        &["container name \"cc\" is already in use"],
    );
}

#[test]
fn aliases_that_blow_up() {
    let mut text = String::from("x0: &x0 [a, a, a, a, a, a, a, a, a, a]\n");
    for i in 1..12 {
        let aliases = vec![format!("*x{}", i - 1); 10].join(", ");
        text.push_str(&format!("x{i}: &x{i} [{aliases}]\n"));
    }
    says(&text, &["document contains excessive aliasing", "compose.yaml:"]);
    says(&("a: ".to_owned() + &"[".repeat(100_000)), &["yaml:"]);
}

#[test]
fn files_that_cost_more_than_they_look() {
    let doubling: String = (1..64).map(|i| format!("A{i}=$A{0}$A{0}\n", i - 1)).collect();
    let said = refused(&[
        (".env", &format!("A0=ab\n{doubling}")),
        ("compose.yaml", "services: {a: {image: $A63}}\n"),
    ]);
    assert!(said.contains("failed to read /.env: variables bring more than 64 MiB into values"), "{said}");
    let words: String = (0..10_000).map(|i| format!("  L{i}: $LONG\n")).collect();
    let said = refused(&[
        (".env", &format!("LONG={}\n", "x".repeat(10_000))),
        ("compose.yaml", &format!("x-words:\n{words}services: {{a: {{image: x}}}}\n")),
    ]);
    assert!(said.contains("error while interpolating x-words.L"), "{said}");
    assert!(said.contains(": variables bring more than 64 MiB into values"), "{said}");

    let ports: String = (0..4).map(|i| format!("      - \"127.0.0.{i}:1-65535:1-65535\"\n")).collect();
    says(
        &format!("services:\n  a:\n    image: x\n    ports:\n{ports}"),
        &["services have more than 200000 ports", "compose.yaml:8:9"],
    );

    let values: String = (0..1000).map(|i| format!("      V{i}: x\n")).collect();
    let many: String = (0..6000).map(|i| format!("  s{i}: {{extends: base}}\n")).collect();
    says(
        &format!("services:\n  base:\n    image: x\n    environment:\n{values}{many}"),
        &["services that extend others take over more than 5000000 values"],
    );
}

#[test]
fn files_that_are_none() {
    for (file, why) in [("/dev/zero", "open /dev/zero: larger than 16 MiB"), ("folder", "is a directory")] {
        let services = "services: {a: {image: x}}\n";
        let text = [
            format!("include: [{file}]\n{services}"),
            format!("include: [{{path: fine.yaml, env_file: {file}}}]\n{services}"),
            format!("services: {{a: {{image: x, env_file: {file}}}}}\n"),
            format!("services: {{a: {{extends: {{file: {file}, service: a}}}}}}\n"),
        ];
        for text in text {
            let said = refused(&[("compose.yaml", &text), ("fine.yaml", services), ("folder/x", "")]);
            assert!(said.contains(why), "{text}{said}");
        }
    }
}

#[test]
fn pipes_are_read_once_and_only_if_somebody_writes() {
    let folder = TempDir::with_prefix("dray-compose-").expect("a folder");
    let pipe = folder.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).expect("a pipe");
    fs::write(folder.path().join("compose.yaml"), "include: [pipe]\n").expect("a file");
    let said = compose(folder.path(), &["config", "-q"]);
    assert_eq!(said.code, 1);
    assert!(said.stderr.contains("pipe: nobody writes to this pipe"), "{}", said.stderr);
    let line = "$0 compose -f <(sleep 1; echo 'services: {a: {image: $WHICH}}') --env-file <(echo WHICH=that) config --images";
    let mut bash = std::process::Command::new("bash");
    let said = super::run(bash.args(["-c", line]).arg(dray_harness::dray_binary()), folder.path());
    assert_eq!(said.stdout, "that\n", "{}", said.stderr);
}
