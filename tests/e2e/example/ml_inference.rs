//! `examples/ml-inference`: trained and built, asked with curl, put under load, changed and built again.

use std::fs;
use std::process::Command;

use dray_harness::fixture;

use super::{Project, argument, curl, is_cached, post, secret};
use crate::build::buildx;

const SETOSA: &str = r#"{"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}"#;
const REQUESTS: &str = "400";

#[test]
fn a_model_is_trained_served_and_changed() {
    let settings = [secret("pip", &[".config/pip/pip.conf", ".pip/pip.conf"]), argument("PIP_INDEX_URL")];
    let project =
        Project::new("ml-inference", &[fixture::python()], settings.into_iter().flatten().collect());
    project.fetch("ml-inference:1.0.0", "1.0.0");
    let client = project.daemon.docker();
    let address = project.start(&client, "irises", "ml-inference:1.0.0", 8000);
    it_answers(&address);
    it_bears_load(&project, &address);
    let log = client.ok("logs irises");
    assert!(log.contains("\"POST /predict HTTP/1.1\" 400") && !log.contains("WORKER TIMEOUT"), "{log}");
    assert_eq!(client.ok("exec irises id -un"), "app");
    client.ok("stop irises");
    assert_eq!(client.ok("inspect -f {{.State.ExitCode}} irises"), "0", "gunicorn hears SIGTERM");
    client.ok("rm irises");
    a_change_repeats_neither_packages_nor_training(&project);
}

fn it_answers(address: &str) {
    let (status, health) = curl(&[&format!("{address}/health")]);
    assert!(status == 200 && health["accuracy"].as_f64() > Some(0.9), "{health}");
    let predict = format!("{address}/predict");
    let ask = |body: &str| post(&predict, body);
    let virginica = SETOSA.replace("1.4", "5.6").replace("0.2", "2.3");
    let (status, answer) = ask(&format!("{{\"instances\": [{SETOSA}, {virginica}]}}"));
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["predictions"][0]["class"], "setosa");
    assert_eq!(answer["predictions"][1]["class"], "virginica");
    assert!(answer["predictions"][0]["probability"].as_f64() > Some(0.9), "{answer}");
    let wrong = SETOSA.replace("1.4", "\"long\"");
    for (body, text) in [
        ("{\"instances\": [".to_owned(), "could not understand"),
        ("{\"instances\": []}".to_owned(), "\"instances\" has to be a list"),
        (format!("{{\"instances\": [{wrong}]}}"), "instances[0].petal_length has to be a number"),
    ] {
        let (status, answer) = ask(&body);
        assert_eq!(status, 400, "{body}: {answer}");
        assert!(answer["error"].as_str().is_some_and(|error| error.contains(text)), "{body}: {answer}");
    }
    assert_eq!(curl(&["-d", "x", &predict]).0, 415);
}

fn it_bears_load(project: &Project, address: &str) {
    let body = project.daemon.scratch("load").join("flower.json");
    fs::write(&body, format!("{{\"instances\": [{SETOSA}]}}")).expect("a request");
    let output = Command::new("ab")
        .args(["-q", "-n", REQUESTS, "-c", "8", "-T", "application/json", "-p"])
        .arg(&body)
        .arg(format!("{address}/predict"))
        .output()
        .expect("ab of apache2-utils");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said =
        |name: &str| text.lines().find(|line| line.starts_with(name)).map(|line| line[name.len()..].trim());
    assert_eq!(said("Complete requests:"), Some(REQUESTS), "{text}");
    assert_eq!(said("Failed requests:"), Some("0"), "{text}");
    assert_eq!(said("Non-2xx responses:"), None, "{text}");
}

fn a_change_repeats_neither_packages_nor_training(project: &Project) {
    project.change("app.py", "MOST_INSTANCES = 1000", "MOST_INSTANCES = 2");
    let before = project.layers("ml-inference:1.0.0");
    for (client, tag) in
        [(project.daemon.dray(), "ml-inference:1.1.0"), (buildx(&project.daemon), "by-docker")]
    {
        let built = project.build(&client, tag, "1.1.0").output();
        for step in ["pip install", "train.py model.joblib", "COPY --from=packages", "COPY --from=model"] {
            assert!(is_cached(&built, step), "{step}: {built}");
        }
        let after = project.layers(tag);
        assert_eq!(after.len(), before.len());
        assert_eq!(after[..after.len() - 1], before[..before.len() - 1], "only the last layer is new");
        assert_ne!(after.last(), before.last());
    }
    let client = project.daemon.dray();
    let address = project.start(&client, "changed", "ml-inference:1.1.0", 8000);
    let (status, answer) =
        post(&format!("{address}/predict"), &format!("{{\"instances\": [{SETOSA}, {SETOSA}, {SETOSA}]}}"));
    assert_eq!(status, 400, "{answer}");
    client.ok("rm -f changed");
}
