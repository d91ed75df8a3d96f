//! `examples/rust-service`, `go-service` and `c-program`: compilers from Debian's packages, results FROM scratch or
//! with the one library that is needed.

use std::process::Command;

use dray_harness::fixture;

use super::{Project, argument};

fn project(name: &str, settings: Vec<String>) -> Project {
    Project::new(name, &[fixture::debian()], settings)
}

/// Builds, runs, asks; looks at what the image holds.
fn serves_alone_in_its_image(project: &Project, name: &str) {
    project.fetch(name, "1");
    let client = project.daemon.docker();
    let address = project.start(&client, "counter", name, 8080);
    let ask = || {
        let answer = Command::new("curl").args(["-fsS", "-m", "20", &address]).output().expect("curl");
        String::from_utf8_lossy(&answer.stdout).trim_end().to_owned()
    };
    assert!(ask().starts_with("visit 1") && ask().starts_with("visit 2"), "it counts");
    assert!(client.sh("logs counter").expect_success().output().contains("listening on "));
    assert_eq!(files(project), [name]);
    client.ok("rm -f counter");
}

/// The files of an image.
fn files(project: &Project) -> Vec<String> {
    let tar = project.daemon.scratch("files").join("files.tar");
    let output = format!("type=tar,dest={}", tar.display());
    project.daemon.dray().run(project.arguments(&["--quiet", "--output", &output])).expect_success();
    let file = std::fs::File::open(tar).expect("the archive");
    let mut archive = tar::Archive::new(file);
    let entries = archive.entries().expect("entries").map(|entry| entry.expect("an entry"));
    entries.map(|entry| entry.path().expect("a path").display().to_string()).collect()
}

#[test]
fn a_rust_service_is_one_static_file() {
    serves_alone_in_its_image(&project("rust-service", Vec::new()), "rust-service");
}

#[test]
fn a_go_service_is_one_static_file() {
    let project = project("go-service", argument("GOPROXY").into_iter().collect());
    serves_alone_in_its_image(&project, "go-service");
    // Modules and what was compiled of them are in cache mounts: the network is not needed again.
    project.change("main.go", "visit %d", "call %d");
    let client = project.daemon.dray();
    let offline = project.arguments(&["--progress=plain", "--network=none", "-t", "changed"]);
    client.run(offline).expect_success();
}

#[test]
fn a_program_in_c_takes_its_library_along() {
    let project = project("c-program", Vec::new());
    project.fetch("words", "1");
    let text = b"a rose is a rose is a rose\n";
    for client in project.daemon.clients() {
        let said = client.run_with_input(["run", "-i", "--rm", "words", "2"], text).expect_success();
        assert_eq!(said.stdout, "3 a\n3 rose\n");
    }
    let client = project.daemon.dray();
    let compiler = ["run", "--rm", "--entrypoint", "sh", "words", "-c", "command -v gcc"];
    client.run(compiler).expect_code(127);
}
