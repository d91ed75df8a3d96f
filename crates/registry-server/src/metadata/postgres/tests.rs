//! The back end against Debian's server: the contract, several instances at once, and a server that goes away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dray_harness::postgres::Postgres as Server;
use dray_spec::Digest;
use tokio::task::JoinSet;

use super::*;
use crate::metadata::{Expect, contract};

const NOW: Millis = 1_700_000_000_000;

async fn started() -> (Server, String) {
    let server = tokio::task::spawn_blocking(Server::start).await.unwrap();
    let address = server.address();
    (server, address)
}

fn name(text: &str) -> Repository {
    Repository::parse(text).unwrap()
}

fn of(text: &str) -> Digest {
    Digest::sha256_of(text.as_bytes())
}

/// A manifest whose content is `text`, which needs these blobs.
fn manifest(repository: &str, text: &str, blobs: &[String], tags: &[&str]) -> NewManifest {
    let blobs: Vec<&str> = blobs.iter().map(String::as_str).collect();
    contract::manifest(&name(repository), text, &blobs, tags)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_contract() {
    let (_server, address) = started().await;
    contract::run(&Postgres::open(&address).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_begin_at_once_make_the_tables_once_and_later_ones_are_refused() {
    let (server, address) = started().await;
    let mut opened = JoinSet::new();
    for _ in 0..8 {
        let address = address.clone();
        opened.spawn(async move { Postgres::open(&address).await.map(drop) });
    }
    while let Some(done) = opened.join_next().await {
        done.unwrap().unwrap();
    }
    server.sql("UPDATE dray_schema SET version = 99").unwrap();
    assert!(matches!(Postgres::open(&address).await, Err(Error::SchemaTooNew { found: 99, .. })));
}

/// Two instances push, delete and collect without any grace; what was stored must be whole until it is deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn collectors_of_several_servers_take_nothing_that_is_needed() {
    const PUSHERS: usize = 6;
    const IMAGES: usize = 25;
    let (_server, address) = started().await;
    let instances = [
        Arc::new(Postgres::open(&address).await.unwrap()),
        Arc::new(Postgres::open(&address).await.unwrap()),
    ];
    let (done, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut collectors = JoinSet::new();
    for instance in &instances {
        let (instance, done) = (instance.clone(), done.clone());
        collectors.spawn(async move {
            let mut links = 0;
            while !done.load(Ordering::Relaxed) {
                let cutoff = Cutoff { blobs: NOW + 1, uploads: NOW + 1, untagged: None };
                links += instance.collect(&cutoff, 50).await.unwrap().links;
            }
            links
        });
    }
    let mut pushers = JoinSet::new();
    for pusher in 0..PUSHERS {
        let (m, refused) = (instances[pusher % 2].clone(), refused.clone());
        pushers.spawn(async move {
            for image in 0..IMAGES {
                // Layers that others push too, and into the same repository.
                let blobs: Vec<String> = (0..3).map(|n| format!("layer {}", (image * 2 + n) % 11)).collect();
                let new = manifest("stress/app", &format!("{pusher} {image}"), &blobs, &[]);
                loop {
                    for blob in &blobs {
                        let bytes = Bytes::copy_from_slice(blob.as_bytes());
                        let put = m.put_small(&new.repository, &of(blob), bytes, &[], NOW).await.unwrap();
                        assert_eq!(put, Put::Stored);
                    }
                    match m.put_manifest(&new).await.unwrap() {
                        Put::Stored => break,
                        // A collector was faster than we, as it may be without a grace.
                        Put::Missing(_) => refused.fetch_add(1, Ordering::Relaxed),
                        other => panic!("{other:?}"),
                    };
                }
                for blob in &blobs {
                    let found = m.blob(&new.repository, &of(blob)).await.unwrap();
                    assert!(found.is_some(), "{blob} of a manifest that is stored");
                }
                assert_eq!(m.delete_manifest(&new.repository, &new.digest).await.unwrap(), Deleted::Deleted);
            }
        });
    }
    while let Some(pushed) = pushers.join_next().await {
        pushed.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    let collected: u64 = collectors.join_all().await.into_iter().sum();
    assert!(collected > 0, "the collectors were in the way now and then");
    let cutoff = Cutoff { blobs: NOW + 1, uploads: NOW + 1, untagged: None };
    while !instances[0].collect(&cutoff, 50).await.unwrap().is_empty() {}
    let usage = instances[1].usage("").await.unwrap();
    assert_eq!((usage.repositories, usage.bytes), (0, 0), "the sums are right after all that");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_at_once_conditions_let_one_through_and_quotas_what_fits() {
    let (_server, address) = started().await;
    let instances = [
        Arc::new(Postgres::open(&address).await.unwrap()),
        Arc::new(Postgres::open(&address).await.unwrap()),
    ];
    let mut puts = JoinSet::new();
    for n in 0..16 {
        let m = instances[n % 2].clone();
        puts.spawn(async move {
            let fresh = NewManifest {
                expect: Expect::Absent,
                ..manifest("race/app", &format!("fresh {n}"), &[], &["fresh"])
            };
            let fixed = NewManifest {
                immutable: vec!["fixed".into()],
                ..manifest("race/app", &format!("fixed {n}"), &[], &["fixed"])
            };
            let quota = [Quota { prefix: "quota".into(), bytes: 50 }];
            let bytes = Bytes::from(format!("{n:010}"));
            let digest = Digest::sha256_of(&bytes);
            let here = name(&format!("quota/{}", n % 3));
            let small = m.put_small(&here, &digest, bytes, &quota, NOW).await.unwrap();
            [m.put_manifest(&fresh).await.unwrap(), m.put_manifest(&fixed).await.unwrap(), small]
                .map(|put| usize::from(put == Put::Stored))
        });
    }
    let stored = puts
        .join_all()
        .await
        .into_iter()
        .fold([0; 3], |sum: [usize; 3], one| [sum[0] + one[0], sum[1] + one[1], sum[2] + one[2]]);
    assert_eq!(stored, [1, 1, 5]);
    assert_eq!(instances[0].usage("quota").await.unwrap().bytes, 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_restarted_is_waited_for() {
    let (mut server, address) = started().await;
    let m = Arc::new(Postgres::open(&address).await.unwrap());
    let kept = manifest("kept/app", "kept", &[], &["v1"]);
    assert_eq!(m.put_manifest(&kept).await.unwrap(), Put::Stored);
    for crash in [false, true] {
        server = tokio::task::spawn_blocking(move || {
            if crash {
                server.crash()
            } else {
                server.stop()
            };
            server
        })
        .await
        .unwrap();
        let error = m.check().await.unwrap_err();
        assert!(error.is_unavailable(), "{error}");
        let (reading, writing) = (m.clone(), m.clone());
        let read = tokio::spawn(async move { reading.tagged(&name("kept/app"), "v1").await });
        let write = tokio::spawn(async move {
            let text = format!("written {crash}");
            writing.put_manifest(&manifest("kept/app", &text, &[], &["v2"])).await
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!read.is_finished() && !write.is_finished(), "they wait");
        server = tokio::task::spawn_blocking(move || {
            server.start_again();
            server
        })
        .await
        .unwrap();
        assert_eq!(read.await.unwrap().unwrap().unwrap().digest, kept.digest);
        assert_eq!(write.await.unwrap().unwrap(), Put::Stored);
        m.check().await.unwrap();
    }
}

#[tokio::test]
async fn who_is_not_there_is_named_without_a_password() {
    let address = "postgres://dray:secret@127.0.0.1:1/registry?sslmode=disable";
    let pool = Pool::new(Address::parse(address).unwrap());
    let error = pool.session().await.err().unwrap();
    assert!(error.is_unavailable());
    let text = error.to_string();
    assert!(text.starts_with("metadata: connect to postgres://dray@127.0.0.1:1/registry: "), "{text}");
    assert!(text.contains("refused") && !text.contains("secret"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_spoken_and_verified_where_that_is_asked_for() {
    let made = |host: &str| rcgen::generate_simple_self_signed(vec![host.to_owned()]).unwrap();
    let (own, other) = (made("localhost"), made("localhost"));
    let (cert, key) = (own.cert.pem(), own.signing_key.serialize_pem());
    let server = tokio::task::spawn_blocking(move || Server::with_tls(&cert, &key)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, certificate: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, certificate).unwrap();
        path.display().to_string()
    };
    let (right, wrong) = (file("right.pem", &own.cert.pem()), file("wrong.pem", &other.cert.pem()));
    let session = |parameters: String| {
        let address = server.tcp_address(&parameters);
        async move { Pool::new(Address::parse(&address)?).session().await.map(drop) }
    };
    session("sslmode=prefer".into()).await.unwrap();
    session("sslmode=require".into()).await.unwrap();
    session(format!("sslmode=verify-full&sslrootcert={right}")).await.unwrap();
    let error = session(format!("sslmode=verify-full&sslrootcert={wrong}")).await.unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
    let error = session("sslmode=disable".into()).await.unwrap_err().to_string();
    assert!(error.contains("no encryption"), "{error}");
}
