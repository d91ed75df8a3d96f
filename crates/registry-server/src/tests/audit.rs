//! The audit log while what it is written to is slow, or takes nothing.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::fixture::{Fixture, INDEX};
use crate::name::Repository;

const EMPTY: &str =
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;

/// A log whose reader reads when it is told to.
struct Pipe {
    reader: File,
}

impl Pipe {
    fn at(path: &Path) -> Self {
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
        // A pipe that is open both ways is opened without waiting for a writer.
        let reader = File::options().read(true).write(true).open(path).unwrap();
        // The least that there is: a page.
        rustix::pipe::fcntl_setpipe_size(&reader, 1).unwrap();
        Self { reader }
    }

    /// Reads lines as they come, until there have been so many.
    fn read(&mut self, mut enough: impl FnMut(&[Value]) -> bool) -> Vec<Value> {
        let (mut lines, mut text) = (Vec::new(), Vec::new());
        while !enough(&lines) {
            let mut piece = [0; 4096];
            let count = self.reader.read(&mut piece).unwrap();
            text.extend_from_slice(&piece[..count]);
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                lines.push(serde_json::from_slice(&line).unwrap());
            }
        }
        lines
    }
}

async fn with_log(root: TempDir, log: &Path, audit: Value) -> Arc<Fixture> {
    Arc::new(Fixture::at(root, json!({ "audit-log": log, "audit": audit })).await)
}

/// A figure of the server's.
async fn figure(f: &Fixture, name: &str) -> u64 {
    let text = f.get("/metrics").await.expect(200).body;
    let text = String::from_utf8(text.to_vec()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("dray_registry_{name} ")));
    line.expect(name).parse().unwrap()
}

fn is(line: &Value, action: &str) -> bool {
    line["action"] == action
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_wait_for_a_slow_log_and_no_line_is_lost() {
    let root = tempfile::tempdir().unwrap();
    let log = root.path().join("audit");
    let mut pipe = Pipe::at(&log);
    let f = with_log(root, &log, json!({ "queue": 4, "patience": "1h" })).await;
    let pushes: Vec<_> = (0..100)
        .map(|n| {
            let f = f.clone();
            let push = async move { f.put_manifest("a", &format!("v{n}"), INDEX, EMPTY).await };
            tokio::spawn(push)
        })
        .collect();
    while figure(&f, "audit_waiting").await == 0 {
        tokio::task::yield_now().await;
    }
    // Those who wait have changed nothing yet.
    let tags = f.get("/v2/a/tags/list").await.expect(200).json();
    assert!(tags["tags"].as_array().unwrap().len() < 100, "{tags}");
    let reading = tokio::task::spawn_blocking(move || pipe.read(|lines| lines.len() == 100));
    for push in pushes {
        push.await.unwrap().expect(201);
    }
    let lines = reading.await.unwrap();
    assert!(lines.iter().all(|line| is(line, "push")));
    let tags: std::collections::BTreeSet<_> = lines.iter().map(|line| line["tags"][0].to_string()).collect();
    assert_eq!(tags.len(), 100, "each is told once");
    assert_eq!((figure(&f, "audit_waiting").await, figure(&f, "audit_lost_total").await), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_may_be_lost_but_they_are_counted() {
    let root = tempfile::tempdir().unwrap();
    let log = root.path().join("audit");
    let mut pipe = Pipe::at(&log);
    let f = with_log(root, &log, json!({ "overflow": "drop", "queue": 4 })).await;
    let mut pushed: u64 = 0;
    while figure(&f, "audit_lost_total").await < 3 {
        f.put_manifest("a", "v1", INDEX, EMPTY).await.expect(201);
        pushed += 1;
    }
    let lost = figure(&f, "audit_lost_total").await;
    // The next line that there is room for comes behind what is said of those that are lost.
    let reading = tokio::task::spawn_blocking(move || {
        pipe.read(|lines| lines.last().is_some_and(|line| is(line, "delete")))
    });
    while !reading.is_finished() {
        f.put_manifest("a", "v1", INDEX, EMPTY).await.expect(201);
        pushed += 1;
        f.delete("/v2/a/manifests/v1").await.expect(202);
    }
    let lines = reading.await.unwrap();
    let told: u64 =
        lines.iter().filter(|line| is(line, "lost")).map(|line| line["count"].as_u64().unwrap()).sum();
    assert!(told >= lost, "{told} of {lost}");
    let written = lines.iter().filter(|line| is(line, "push")).count() as u64;
    assert!(written + told <= 2 * pushed, "{written} and {told} of {pushed}");
}

#[tokio::test]
async fn nothing_happens_that_cannot_be_written_down() {
    let root = tempfile::tempdir().unwrap();
    // Every write fails for want of room.
    let f = with_log(root, Path::new("/dev/full"), json!({ "queue": 1, "patience": "0s" })).await;
    f.put_manifest("a", "v1", INDEX, EMPTY).await.expect(201);
    let refused = f.put_manifest("a", "v2", INDEX, EMPTY).await.refused(503, "TOOMANYREQUESTS");
    assert_eq!(refused.header("retry-after"), "1");
    f.get("/v2/a/manifests/v1").await.expect(503);
    f.delete("/v2/a/manifests/v1").await.expect(503);
    let metadata = &f.server.registry.metadata;
    let repository = Repository::parse("a").unwrap();
    assert!(metadata.tagged(&repository, "v1").await.unwrap().is_some(), "it was not deleted");
    assert!(metadata.tagged(&repository, "v2").await.unwrap().is_none(), "it was not pushed");
    // An upload can be ended later.
    let begun = f.request(Method::POST, "/v2/a/blobs/uploads/", &[], "").await.expect(202);
    let location = begun.header("location");
    let digest = dray_spec::Digest::sha256_of(b"blob");
    f.request(Method::PUT, &format!("{location}?digest={digest}"), &[], "blob").await.expect(503);
    let reached = f.get(location).await.expect(204);
    assert_eq!(reached.header("range"), "0-3");
    f.get("/healthz").await.expect(200);
}
