//! Killed at each durable write: the child process of each test works on a store and dies at one fault
//! point (as by `kill -9`), after it has printed what had been acknowledged. The parent opens the store and
//! finds all of that, and nothing half done.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use dray_spec::Digest;

use super::{Thing, count, draft_with, image, layer, name};
use crate::fault::{POINTS, VARIABLE};
use crate::{LayerId, Store};

const ROOT: &str = "DRAY_STORE_TEST_ROOT";

/// Says on standard output what the store has acknowledged.
fn acknowledge(what: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "ack {what}").unwrap();
    out.flush().unwrap();
}

/// The work that is killed. Not a test of its own: without the variable it does nothing.
#[test]
fn child() {
    let Some(root) = std::env::var_os(ROOT) else { return };
    let store = Store::open(Path::new(&root)).unwrap();
    for round in 0..3 {
        let text = format!("blob {round}");
        let blob = store.blobs().put(text.as_bytes()).unwrap();
        let relaxed = store.blobs().put_relaxed(format!("relaxed {round}").as_bytes()).unwrap();
        let lease = store.lease();
        acknowledge(&text);
        let content = format!("layer {round}");
        let id = layer(&store, &content);
        acknowledge(&content);
        let content = format!("upon {round}");
        let upon = draft_with(&store, "file", &content).commit_upon(id, 6, 6).unwrap();
        store.layers().name(upon, &Digest::sha256_of(content.as_bytes())).unwrap();
        let record = image(&format!("image {round}"), &[upon], &[blob, relaxed]);
        store.images().put(&record, &[name(&format!("app:{round}"))]).unwrap();
        drop(lease);
        acknowledge(&format!("image {round}"));
        store.records().put("thing", &round.to_string(), Some("latest"), &Thing { size: round }).unwrap();
        acknowledge(&format!("record {round}"));
        store.records().delete("thing", &round.to_string()).unwrap();
        store.records().put("last", "x", None, &Thing { size: round }).unwrap();
        acknowledge(&format!("last {round}"));
        if round == 2 {
            store.images().delete(&Digest::sha256_of(b"image 0")).unwrap();
            acknowledge("delete 0");
            store.collect().unwrap();
            acknowledge("collect 0");
        }
    }
}

#[test]
fn killed_at_every_point() {
    let mut killed = 0;
    for point in POINTS {
        for passing in [0, 1, 5] {
            let dir = tempfile::tempdir().unwrap();
            let output = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "tests::crash::child", "--nocapture", "--test-threads=1"])
                .env(ROOT, dir.path())
                .env(VARIABLE, format!("{point}:{passing}"))
                .output()
                .unwrap();
            let died = !output.status.success();
            assert!(died || passing > 0, "{point} was never passed");
            killed += u32::from(died);
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let acks: Vec<&str> = said.lines().filter_map(|line| line.split("ack ").nth(1)).collect();
            check(dir.path(), &acks, &format!("{point}:{passing}"));
        }
    }
    assert!(killed as usize > POINTS.len());
}

fn check(root: &Path, acks: &[&str], case: &str) {
    let store = Store::open(root).unwrap();
    let gone = |round: &str| round == "0" && acks.contains(&"image 2");
    for ack in acks {
        let (kind, round) = ack.split_once(' ').unwrap();
        match kind {
            "blob" if !gone(round) => {
                assert!(store.blobs().has(&Digest::sha256_of(ack.as_bytes())), "{case}: {ack}");
            }
            "layer" if !gone(round) => {
                let id = store.layers().find(&Digest::sha256_of(ack.as_bytes())).unwrap();
                assert!(id.is_some(), "{case}: {ack}");
            }
            "image" if !gone(round) => {
                let tagged = store.tags().get(&name(&format!("app:{round}"))).unwrap();
                assert_eq!(tagged, Some(Digest::sha256_of(ack.as_bytes())), "{case}: {ack}");
            }
            "last" => {
                let thing = store.records().get::<Thing>("last", "x").unwrap().unwrap();
                assert!(thing.size.to_string().as_str() >= round, "{case}: {ack}");
            }
            "delete" => assert_eq!(store.images().list().unwrap().len(), 2, "{case}: {ack}"),
            _ => {}
        }
    }
    whole(&store, root, case);
}

/// Whatever counts is whole, and nothing else is there.
fn whole(store: &Store, root: &Path, case: &str) {
    for digest in store.blobs().list().unwrap() {
        assert!(digest.verifies(&store.blobs().read(&digest).unwrap()), "{case}: blob {digest}");
    }
    let layers = store.layers().list().unwrap();
    for layer in &layers {
        let content = fs::read(store.layers().view(layer.id).unwrap().path().join("file")).unwrap();
        match &layer.diff_id {
            Some(diff_id) => assert!(diff_id.verifies(&content), "{case}: layer {}", layer.id),
            // Not named yet when it was killed.
            None => {
                assert!(layer.base.is_some() && content.starts_with(b"upon "), "{case}: layer {}", layer.id)
            }
        }
        let has_base = layer.base.is_none_or(|base| layers.iter().any(|other| other.id == base));
        assert!(has_base, "{case}: the base of layer {}", layer.id);
    }
    assert_eq!(count(&root.join("layers")), layers.len(), "{case}: stray layer folders");
    assert_eq!(count(&root.join("ingest")), 0, "{case}: stray ingests");
    for image in store.images().list().unwrap() {
        assert!(image.id.verifies(&image.config), "{case}: image {}", image.id);
        let ids: Vec<LayerId> = layers.iter().map(|layer| layer.id).collect();
        assert!(image.layers.iter().all(|id| ids.contains(id)), "{case}: layers of {}", image.id);
        assert!(image.blobs.iter().all(|blob| store.blobs().has(blob)), "{case}: blobs of {}", image.id);
    }
}
