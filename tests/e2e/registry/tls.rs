//! `dray registry serve` with TLS: HTTP/2 as curl speaks it, and SIGHUP after the certificate was replaced.

use std::path::Path;
use std::process::Command;

use dray_harness::client::eventually;
use dray_harness::registry::DrayRegistry;

/// Makes a self-signed certificate for localhost in files of these names.
fn certify(folder: &Path, name: &str) {
    let output = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout"])
        .arg(folder.join(format!("{name}.key")))
        .arg("-out")
        .arg(folder.join(format!("{name}.pem")))
        .output()
        .expect("openssl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What curl says of `GET /v2/` with this certificate as the only authority: protocol and status.
fn ask(folder: &Path, authority: &str, port: u16) -> Option<String> {
    let output = Command::new("curl")
        .args(["-sS", "-o", "/dev/null", "-w", "%{http_version} %{http_code}", "--cacert"])
        .arg(folder.join(format!("{authority}.pem")))
        .args(["--resolve", &format!("localhost:{port}:127.0.0.1"), &format!("https://localhost:{port}/v2/")])
        .output()
        .expect("curl");
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_certificate_is_replaced_by_a_signal() {
    let folder = tempfile::tempdir().expect("a folder");
    certify(folder.path(), "first");
    certify(folder.path(), "second");
    let install = |name: &str| {
        for (from, to) in [("pem", "cert.pem"), ("key", "key.pem")] {
            let draft = folder.path().join("draft");
            std::fs::copy(folder.path().join(format!("{name}.{from}")), &draft).expect("a copy");
            std::fs::rename(draft, folder.path().join(to)).expect("in its place");
        }
    };
    install("first");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let registry = DrayRegistry::start(&["--tls-cert", &path("cert.pem"), "--tls-key", &path("key.pem")]);
    assert_eq!(ask(folder.path(), "first", registry.port()).as_deref(), Some("2 200"));
    assert_eq!(ask(folder.path(), "second", registry.port()), None);
    install("second");
    registry.signal(rustix::process::Signal::HUP);
    eventually("the new certificate is shown", || {
        ask(folder.path(), "second", registry.port()).as_deref() == Some("2 200")
    });
    assert_eq!(ask(folder.path(), "first", registry.port()), None, "and the old one no more");
}
