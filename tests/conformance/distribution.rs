//! The registry server against the conformance suite of the OCI distribution specification, with every category on.
//!
//! The suite is the specification's own program, built from the Go module proxy at a fixed version. Everything that
//! it knows is asked for: the API of the specification's next version (digest headers, tags as parameters, giving
//! uploads up), and manifests whose content is not there.

use std::process::Command;

use dray_harness::golang;
use dray_harness::registry::DrayRegistry;

const SUITE: &str =
    "github.com/opencontainers/distribution-spec/conformance@v0.0.0-20260831232431-97274622c111";

/// Runs the suite and gives what it printed.
fn suite(registry: &DrayRegistry, settings: &[(&str, &str)]) -> (bool, String) {
    let folder = tempfile::tempdir().expect("a folder for the suite's reports");
    let output = Command::new(golang::program(SUITE))
        .current_dir(folder.path())
        .env("OCI_REGISTRY", format!("127.0.0.1:{}", registry.port()))
        .env("OCI_TLS", "disabled")
        .env("OCI_VERSION", "dev")
        .envs(settings.iter().copied())
        .output()
        .expect("the conformance suite");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The number after a status in the suite's summary.
fn count(report: &str, status: &str) -> Option<u32> {
    let summary = report.split("OCI Conformance Result:").nth(1)?;
    let line = summary.lines().find(|line| line.trim_start().starts_with(&format!("{status}.")))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[track_caller]
fn expect_all_passed(passed: bool, report: &str) {
    let failed: Vec<&str> =
        report.lines().filter(|line| line.contains("FAIL") || line.contains("Error")).collect();
    assert!(passed && report.contains("OCI Conformance Result: Pass"), "{failed:#?}\n{report}");
    for status in ["Disabled", "Skip", "FAIL", "Error"] {
        assert_eq!(count(report, status), Some(0), "{status}\n{report}");
    }
    assert!(count(report, "Pass").is_some_and(|passed| passed > 1000), "{report}");
}

#[test]
fn every_category_passes() {
    let registry = DrayRegistry::start(&["--sparse"]);
    let (passed, report) = suite(&registry, &[("OCI_DATA_SPARSE", "true")]);
    expect_all_passed(passed, &report);
}

#[test]
fn it_passes_for_users_with_tokens() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("users");
    let line = Command::new("htpasswd").args(["-Bbn", "ann", "secret"]).output().expect("htpasswd").stdout;
    std::fs::write(&file, line).expect("the password file");
    let registry = DrayRegistry::start(&["--sparse", "--htpasswd", file.to_str().expect("a path")]);
    let user = [("OCI_USERNAME", "ann"), ("OCI_PASSWORD", "secret"), ("OCI_DATA_SPARSE", "true")];
    let (passed, report) = suite(&registry, &user);
    expect_all_passed(passed, &report);
    let (passed, report) = suite(&registry, &[("OCI_DATA_SPARSE", "true")]);
    assert!(
        !passed && !report.contains("OCI Conformance Result: Pass"),
        "strangers must be kept out\n{report}"
    );
}
