//! What every back end of the metadata must do; each back end's tests call [`run`] with an empty one.

use bytes::Bytes;
use dray_spec::{Digest, Hasher};

use super::*;

const DAY: Millis = 24 * 60 * 60 * 1000;
const NOW: Millis = 1_700_000_000_000;
const OLD: Millis = NOW - 10 * DAY;

/// Checks a back end.
pub(crate) async fn run(m: &dyn Metadata) {
    m.check().await.expect("it works");
    small_blobs_are_found_where_they_are(m).await;
    uploads_move_only_from_where_they_are(m).await;
    an_object_that_holds_nothing_is_made_anew(m).await;
    a_committed_upload_is_a_blob(m).await;
    the_same_blob_twice_is_kept_once(m).await;
    mounts_need_a_source(m).await;
    manifests_need_what_they_name(m).await;
    conditions_hold_or_nothing_happens(m).await;
    what_is_needed_stays(m).await;
    lists_are_in_byte_order(m).await;
    referrers_are_filtered_and_paged(m).await;
    only_the_old_and_unneeded_is_collected(m).await;
    untagged_manifests_are_collected_if_wanted(m).await;
    quotas_bound_what_is_held(m).await;
    what_is_kept_for_others_is_noted(m).await;
    copies_are_brought_up_to_date_by_one_at_a_time(m).await;
    robots_come_and_go(m).await;
    shared_values_are_made_once(m).await;
}

fn name(text: &str) -> Repository {
    Repository::parse(text).expect("a name")
}

fn digest(text: &str) -> Digest {
    Digest::sha256_of(text.as_bytes())
}

/// Puts a blob whose content is `text`.
async fn blob(m: &dyn Metadata, repository: &Repository, text: &str, now: Millis) -> Digest {
    let content = Bytes::copy_from_slice(text.as_bytes());
    let put = m.put_small(repository, &digest(text), content, &[], now).await.expect("put_small");
    assert_eq!(put, Put::Stored);
    digest(text)
}

/// A manifest whose content is `text`, which needs `blobs`.
pub(crate) fn manifest(repository: &Repository, text: &str, blobs: &[&str], tags: &[&str]) -> NewManifest {
    NewManifest {
        repository: repository.clone(),
        digest: digest(text),
        media_type: "application/vnd.oci.image.manifest.v1+json".into(),
        content: Bytes::copy_from_slice(text.as_bytes()),
        subject: None,
        artifact_type: None,
        annotations: None,
        blobs: blobs.iter().map(|blob| (digest(blob), blob.len() as u64)).collect(),
        optional_blobs: Vec::new(),
        manifests: Vec::new(),
        sparse: false,
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        immutable: Vec::new(),
        expect: Expect::Anything,
        now: NOW,
    }
}

fn index(repository: &Repository, text: &str, children: &[&str]) -> NewManifest {
    NewManifest {
        manifests: children.iter().map(|child| digest(child)).collect(),
        ..manifest(repository, text, &[], &[])
    }
}

async fn put(m: &dyn Metadata, new: &NewManifest) -> Put {
    m.put_manifest(new).await.expect("put_manifest")
}

fn upload(repository: &Repository) -> Upload {
    Upload {
        id: UploadId::random(),
        repository: repository.clone(),
        offset: 0,
        hasher: Hasher::new().save(),
        buffer: Bytes::new(),
        key: None,
        state: Vec::new(),
        updated: NOW,
    }
}

/// An upload that has an object of `size` bytes.
async fn stored(m: &dyn Metadata, repository: &Repository, size: u64) -> Upload {
    let begun = upload(repository);
    m.begin_upload(&begun).await.expect("begin");
    let moved = Upload { key: Some(Key::random()), offset: size, state: b"state".to_vec(), ..begun };
    assert!(m.advance_upload(&moved, 0).await.expect("advance"));
    moved
}

async fn small_blobs_are_found_where_they_are(m: &dyn Metadata) {
    let (here, there) = (name("small/here"), name("small/there"));
    let of = blob(m, &here, "content", NOW).await;
    let found = m.blob(&here, &of).await.unwrap().expect("it is there");
    assert_eq!(
        (found.size, found.place, found.touched),
        (7, Place::Inline(Bytes::from_static(b"content")), NOW)
    );
    assert_eq!(m.blob(&there, &of).await.unwrap(), None);
    assert_eq!(m.holders(&of, 10).await.unwrap(), ["small/here"]);
    assert!(m.touch(&here, &of, NOW + 5).await.unwrap());
    assert_eq!(m.blob(&here, &of).await.unwrap().unwrap().touched, NOW + 5);
    assert!(m.touch(&here, &of, NOW).await.unwrap(), "time does not go back");
    assert_eq!(m.blob(&here, &of).await.unwrap().unwrap().touched, NOW + 5);
    assert!(!m.touch(&there, &of, NOW).await.unwrap());
    let empty = blob(m, &here, "", NOW).await;
    assert_eq!(m.blob(&here, &empty).await.unwrap().unwrap().place, Place::Inline(Bytes::new()));
    assert_eq!(m.unlink(&here, &of).await.unwrap(), Deleted::Deleted);
    assert_eq!(m.unlink(&here, &of).await.unwrap(), Deleted::Missing);
    assert_eq!(m.unlink(&name("small/none"), &of).await.unwrap(), Deleted::Missing);
}

async fn uploads_move_only_from_where_they_are(m: &dyn Metadata) {
    let (here, there) = (name("upload/here"), name("upload/there"));
    let begun = upload(&here);
    m.begin_upload(&begun).await.unwrap();
    assert_eq!(m.upload(&here, &begun.id).await.unwrap().as_ref(), Some(&begun));
    assert_eq!(m.upload(&there, &begun.id).await.unwrap(), None, "another repository's");
    let moved = Upload { offset: 5, buffer: Bytes::from_static(b"hello"), updated: NOW + 1, ..begun.clone() };
    assert!(m.advance_upload(&moved, 0).await.unwrap());
    assert!(!m.advance_upload(&moved, 0).await.unwrap(), "it is at 5 now");
    let named = Upload { key: Some(Key::random()), state: vec![1, 2], ..moved.clone() };
    assert!(m.advance_upload(&named, 5).await.unwrap());
    let other = Upload { key: Some(Key::random()), ..named.clone() };
    assert!(!m.advance_upload(&other, 5).await.unwrap(), "its object has a name already");
    assert_eq!(m.upload(&here, &begun.id).await.unwrap(), Some(named.clone()));
    assert!(!m.cancel_upload(&there, &begun.id).await.unwrap());
    assert!(m.cancel_upload(&here, &begun.id).await.unwrap());
    assert!(!m.cancel_upload(&here, &begun.id).await.unwrap());
    let garbage = m.garbage(100).await.unwrap();
    assert_eq!(garbage, [Garbage { key: named.key.clone().unwrap(), state: vec![1, 2] }]);
    assert_eq!(m.unknown_keys(&[named.key.clone().unwrap()]).await.unwrap(), []);
    m.forget_garbage(&[named.key.clone().unwrap()]).await.unwrap();
    assert_eq!(m.garbage(100).await.unwrap(), []);
    assert_eq!(m.unknown_keys(&[named.key.clone().unwrap()]).await.unwrap(), [named.key.unwrap()]);
}

async fn an_object_that_holds_nothing_is_made_anew(m: &dyn Metadata) {
    let here = name("anew/here");
    let begun = Upload { offset: 3, buffer: Bytes::from_static(b"abc"), ..upload(&here) };
    m.begin_upload(&begun).await.unwrap();
    let first = Upload { key: Some(Key::random()), ..begun.clone() };
    let second = Upload { key: Some(Key::random()), ..begun.clone() };
    assert!(m.advance_upload(&first, 3).await.unwrap());
    assert!(m.advance_upload(&second, 3).await.unwrap(), "nothing is recorded of the first object");
    let first_key = first.key.clone().unwrap();
    assert_eq!(m.garbage(100).await.unwrap(), [Garbage { key: first_key.clone(), state: Vec::new() }]);
    m.forget_garbage(&[first_key]).await.unwrap();
    let more = |upload: &Upload| Upload { offset: 70_000, buffer: Bytes::new(), ..upload.clone() };
    assert!(
        !m.advance_upload(&more(&Upload { key: Some(Key::random()), ..begun.clone() }), 2).await.unwrap()
    );
    assert_eq!(m.commit_upload(&more(&first), &digest("anew"), &[], NOW).await.unwrap(), Put::Gone);
    assert!(m.advance_upload(&more(&second), 3).await.unwrap());
    let third = Upload { key: Some(Key::random()), ..more(&second) };
    assert!(!m.advance_upload(&third, 70_000).await.unwrap(), "the second object holds something");
    assert_eq!(m.commit_upload(&more(&second), &digest("anew"), &[], NOW).await.unwrap(), Put::Stored);
    assert_eq!(m.garbage(100).await.unwrap(), []);
}

async fn a_committed_upload_is_a_blob(m: &dyn Metadata) {
    let here = name("commit/here");
    let moved = stored(m, &here, 100_000).await;
    let of = digest("large");
    assert_eq!(m.commit_upload(&moved, &of, &[], NOW).await.unwrap(), Put::Stored);
    let found = m.blob(&here, &of).await.unwrap().unwrap();
    assert_eq!((found.size, found.place), (100_000, Place::Stored(moved.key.clone().unwrap())));
    assert_eq!(m.unknown_keys(&[moved.key.clone().unwrap()]).await.unwrap(), []);
    assert_eq!(m.upload(&here, &moved.id).await.unwrap(), None);
    assert_eq!(m.commit_upload(&moved, &of, &[], NOW).await.unwrap(), Put::Gone);
    let small = Upload { offset: 2, buffer: Bytes::from_static(b"hi"), ..upload(&here) };
    m.begin_upload(&small).await.unwrap();
    assert_eq!(m.commit_upload(&small, &digest("hi"), &[], NOW).await.unwrap(), Put::Stored);
    let place = m.blob(&here, &digest("hi")).await.unwrap().unwrap().place;
    assert_eq!(place, Place::Inline(Bytes::from_static(b"hi")));
}

async fn the_same_blob_twice_is_kept_once(m: &dyn Metadata) {
    let (one, two) = (name("twice/one"), name("twice/two"));
    let (first, second) = (stored(m, &one, 50_000).await, stored(m, &two, 50_000).await);
    let of = digest("the same");
    assert_eq!(m.commit_upload(&first, &of, &[], NOW).await.unwrap(), Put::Stored);
    assert_eq!(m.commit_upload(&second, &of, &[], NOW).await.unwrap(), Put::Stored);
    let place = Place::Stored(first.key.clone().unwrap());
    for repository in [&one, &two] {
        assert_eq!(m.blob(repository, &of).await.unwrap().unwrap().place, place);
    }
    let second = second.key.unwrap();
    assert_eq!(m.garbage(100).await.unwrap().iter().map(|g| &g.key).collect::<Vec<_>>(), [&second]);
    m.forget_garbage(&[second]).await.unwrap();
}

async fn mounts_need_a_source(m: &dyn Metadata) {
    let (from, to) = (name("mount/from"), name("mount/to"));
    let of = blob(m, &from, "mounted", NOW).await;
    assert_eq!(m.mount(&from, &to, &of, &[], NOW).await.unwrap(), Mounted::Mounted);
    assert_eq!(m.mount(&from, &to, &of, &[], NOW).await.unwrap(), Mounted::Mounted, "again");
    assert!(m.blob(&to, &of).await.unwrap().is_some());
    assert_eq!(m.mount(&from, &to, &digest("none"), &[], NOW).await.unwrap(), Mounted::Missing);
    assert_eq!(m.mount(&name("mount/none"), &to, &of, &[], NOW).await.unwrap(), Mounted::Missing);
    m.unlink(&from, &of).await.unwrap();
    assert!(m.blob(&to, &of).await.unwrap().is_some(), "the source is not needed any more");
}

async fn manifests_need_what_they_name(m: &dyn Metadata) {
    let here = name("manifest/here");
    let new = manifest(&here, "m1", &["config", "layer"], &["v1", "latest"]);
    assert_eq!(put(m, &new).await, Put::Missing(vec![digest("config"), digest("layer")]));
    assert_eq!(m.tagged(&here, "v1").await.unwrap(), None, "nothing of it has happened");
    blob(m, &here, "config", NOW).await;
    blob(m, &name("manifest/there"), "layer", NOW).await;
    assert_eq!(
        put(m, &new).await,
        Put::Missing(vec![digest("layer")]),
        "another repository's blob is not ours"
    );
    blob(m, &here, "layer", NOW).await;
    assert_eq!(put(m, &new).await, Put::Stored);
    assert_eq!(put(m, &new).await, Put::Stored, "again");
    let found = m.manifest(&here, &digest("m1")).await.unwrap().unwrap();
    assert_eq!((&found.content[..], found.media_type), (&b"m1"[..], new.media_type.clone()));
    for tag in ["v1", "latest"] {
        assert_eq!(m.tagged(&here, tag).await.unwrap().unwrap().digest, digest("m1"));
    }
    let wrong = NewManifest { blobs: vec![(digest("config"), 5)], ..manifest(&here, "m2", &[], &[]) };
    let size = Put::WrongSize { digest: digest("config"), actual: 6, stated: 5 };
    assert_eq!(put(m, &wrong).await, size);
    let sparse = NewManifest { sparse: true, ..manifest(&here, "m3", &["nowhere"], &["sparse"]) };
    assert_eq!(put(m, &sparse).await, Put::Stored);
    let list = index(&here, "i1", &["m1", "nowhere"]);
    assert_eq!(put(m, &list).await, Put::Missing(vec![digest("nowhere")]));
    assert_eq!(put(m, &index(&here, "i2", &["m1", "m3"])).await, Put::Stored);
}

async fn conditions_hold_or_nothing_happens(m: &dyn Metadata) {
    let here = name("condition/here");
    let with = |text: &str, expect: Expect| NewManifest { expect, ..manifest(&here, text, &[], &["t"]) };
    assert_eq!(put(m, &with("a", Expect::Present)).await, Put::Unexpected);
    assert_eq!(put(m, &with("a", Expect::Absent)).await, Put::Stored);
    assert_eq!(put(m, &with("b", Expect::Absent)).await, Put::Unexpected);
    assert_eq!(put(m, &with("b", Expect::OneOf(vec![digest("x")]))).await, Put::Unexpected);
    assert_eq!(m.tagged(&here, "t").await.unwrap().unwrap().digest, digest("a"));
    assert_eq!(put(m, &with("b", Expect::OneOf(vec![digest("x"), digest("a")]))).await, Put::Stored);
    let fixed = |text: &str| NewManifest { immutable: vec!["t".into()], ..with(text, Expect::Anything) };
    assert_eq!(put(m, &fixed("b")).await, Put::Stored, "to what it is already");
    assert_eq!(put(m, &fixed("c")).await, Put::Immutable("t".into()));
    assert_eq!(m.tagged(&here, "t").await.unwrap().unwrap().digest, digest("b"));
    let tags = m.tag_records(&here).await.unwrap();
    assert_eq!(tags, [TagRecord { name: "t".into(), digest: digest("b"), updated: NOW }]);
    let moved = TagRecord { updated: NOW - 1, ..tags[0].clone() };
    assert_eq!(m.expire_tag(&here, &moved).await.unwrap(), Deleted::Missing, "it has been set since");
    assert_eq!(m.expire_tag(&here, &tags[0]).await.unwrap(), Deleted::Deleted);
    assert_eq!(m.expire_tag(&here, &tags[0]).await.unwrap(), Deleted::Missing);
}

async fn what_is_needed_stays(m: &dyn Metadata) {
    let here = name("needed/here");
    let of = blob(m, &here, "needed", NOW).await;
    let elsewhere =
        NewManifest { optional_blobs: vec![digest("spare")], ..manifest(&here, "m", &["needed"], &["t"]) };
    assert_eq!(put(m, &elsewhere).await, Put::Stored);
    let spare = blob(m, &here, "spare", NOW).await;
    assert_eq!(m.unlink(&here, &of).await.unwrap(), Deleted::Needed(digest("m")));
    assert_eq!(
        m.unlink(&here, &spare).await.unwrap(),
        Deleted::Needed(digest("m")),
        "it is named, if not needed"
    );
    assert_eq!(put(m, &index(&here, "i", &["m"])).await, Put::Stored);
    assert_eq!(m.delete_manifest(&here, &digest("m")).await.unwrap(), Deleted::Needed(digest("i")));
    assert_eq!(m.delete_manifest(&here, &digest("i")).await.unwrap(), Deleted::Deleted);
    assert_eq!(m.delete_manifest(&here, &digest("i")).await.unwrap(), Deleted::Missing);
    assert_eq!(m.delete_manifest(&here, &digest("m")).await.unwrap(), Deleted::Deleted);
    assert_eq!(m.tagged(&here, "t").await.unwrap(), None, "its tags go with it");
    assert_eq!(m.delete_tag(&here, "t").await.unwrap(), Deleted::Missing);
    assert_eq!(m.unlink(&here, &of).await.unwrap(), Deleted::Deleted);
}

async fn lists_are_in_byte_order(m: &dyn Metadata) {
    let here = name("list/here");
    assert_eq!(m.tags(&name("list/none"), None, 10).await.unwrap(), None);
    put(m, &manifest(&here, "m", &[], &["b", "B", "a", "_", "10", "9"])).await;
    let all = ["10", "9", "B", "_", "a", "b"];
    assert_eq!(m.tags(&here, None, 10).await.unwrap().unwrap(), all);
    assert_eq!(m.tags(&here, Some("B"), 2).await.unwrap().unwrap(), ["_", "a"]);
    assert_eq!(m.tags(&here, Some("zz"), 2).await.unwrap().unwrap(), [""; 0]);
    assert_eq!(m.tags(&here, Some("A"), 0).await.unwrap().unwrap(), [""; 0]);
    let names = m.repositories(None, 1000).await.unwrap();
    assert!(names.is_sorted() && names.contains(&"list/here".to_owned()), "{names:?}");
    assert_eq!(m.repositories(Some("list/h"), 1).await.unwrap(), ["list/here"]);
    assert!(m.has_repository(&here).await.unwrap() && !m.has_repository(&name("list/none")).await.unwrap());
}

async fn referrers_are_filtered_and_paged(m: &dyn Metadata) {
    let here = name("referrer/here");
    let about = |text: &str, kind: Option<&str>| NewManifest {
        subject: Some(digest("subject")),
        artifact_type: kind.map(str::to_owned),
        annotations: Some("{\"k\":\"v\"}".into()),
        ..manifest(&here, text, &[], &[])
    };
    for (text, kind) in [("r1", Some("sbom")), ("r2", Some("signature")), ("r3", None)] {
        assert_eq!(put(m, &about(text, kind)).await, Put::Stored);
    }
    let list = |kind: Option<&str>, after: Option<String>, limit| {
        let filter = Filter { artifact_type: kind.map(str::to_owned), after, limit, bytes: u64::MAX };
        let here = here.clone();
        async move { m.referrers(&here, &digest("subject"), &filter).await.unwrap() }
    };
    let all = list(None, None, 10).await;
    assert_eq!(all.len(), 3);
    assert!(all.is_sorted_by_key(|r| r.digest.clone()));
    assert_eq!((all[0].size, all[0].annotations.as_deref()), (2, Some("{\"k\":\"v\"}")));
    assert_eq!(list(None, Some(all[0].digest.to_string()), 1).await, all[1..2]);
    let sbom = list(Some("sbom"), None, 10).await;
    assert_eq!(sbom.iter().map(|r| r.digest.clone()).collect::<Vec<_>>(), [digest("r1")]);
    let bounded = |bytes| {
        let (filter, here) = (Filter { limit: 10, bytes, ..Filter::default() }, here.clone());
        async move { m.referrers(&here, &digest("subject"), &filter).await.unwrap() }
    };
    let length = all[0].annotations.as_ref().unwrap().len() as u64;
    let without: Vec<_> = all.iter().map(|r| Referrer { annotations: None, ..r.clone() }).collect();
    assert_eq!(bounded(length - 1).await, without);
    assert_eq!(bounded(length).await, all[..2], "the one that is too much is the last");
    assert_eq!(bounded(2 * length).await, all);
    let none = list(Some(""), None, 10).await;
    assert_eq!(none.iter().map(|r| r.digest.clone()).collect::<Vec<_>>(), [digest("r3")]);
    assert!(
        m.referrers(&here, &digest("x"), &Filter { limit: 10, ..Filter::default() })
            .await
            .unwrap()
            .is_empty()
    );
}

/// Collects until nothing is found.
async fn collect(m: &dyn Metadata, untagged: Option<Millis>) -> Collected {
    let cutoff = Cutoff { blobs: NOW - DAY, uploads: NOW - DAY, untagged };
    let mut total = Collected::default();
    loop {
        let step = m.collect(&cutoff, 2).await.unwrap();
        if step.is_empty() {
            return total;
        }
        total.add(&step);
    }
}

async fn only_the_old_and_unneeded_is_collected(m: &dyn Metadata) {
    let here = name("collect/here");
    let (needed, old, young) = (
        blob(m, &here, "gc needed", OLD).await,
        blob(m, &here, "gc old", OLD).await,
        blob(m, &here, "gc young", NOW).await,
    );
    put(m, &NewManifest { now: OLD, ..manifest(&here, "gc m", &["gc needed"], &["t"]) }).await;
    let large = stored(m, &here, 123_456).await;
    m.commit_upload(&large, &digest("gc large"), &[], OLD).await.unwrap();
    let resting = Upload { updated: OLD, key: Some(Key::random()), ..upload(&here) };
    m.begin_upload(&resting).await.unwrap();
    let moving = upload(&here);
    m.begin_upload(&moving).await.unwrap();
    let empty = name("collect/empty");
    let gone = blob(m, &empty, "gc gone", NOW).await;
    m.unlink(&empty, &gone).await.unwrap();

    let collected = collect(m, None).await;
    assert!(collected.links >= 2 && collected.blobs >= 3 && collected.uploads == 1, "{collected:?}");
    for (of, there) in [(&needed, true), (&old, false), (&young, true), (&digest("gc large"), false)] {
        assert_eq!(m.blob(&here, of).await.unwrap().is_some(), there, "{of}");
    }
    assert!(m.manifest(&here, &digest("gc m")).await.unwrap().is_some());
    assert!(m.upload(&here, &resting.id).await.unwrap().is_none());
    assert!(m.upload(&here, &moving.id).await.unwrap().is_some());
    assert!(!m.has_repository(&empty).await.unwrap(), "an empty repository goes");
    let mut keys: Vec<Key> = m.garbage(100).await.unwrap().into_iter().map(|g| g.key).collect();
    let mut expected = vec![large.key.unwrap(), resting.key.unwrap()];
    keys.sort();
    expected.sort();
    assert_eq!(keys, expected);
    m.forget_garbage(&keys).await.unwrap();

    // What has been deleted is needed no more, from the moment on when it was last relied on.
    m.delete_manifest(&here, &digest("gc m")).await.unwrap();
    assert_eq!(m.blob(&here, &needed).await.unwrap().map(|b| b.touched), Some(OLD));
    assert_eq!(collect(m, None).await.links, 1);
    assert!(m.blob(&here, &needed).await.unwrap().is_none());
    assert!(collect(m, None).await.is_empty());
}

async fn untagged_manifests_are_collected_if_wanted(m: &dyn Metadata) {
    let here = name("untagged/here");
    let old = |new: NewManifest| NewManifest { now: OLD, ..new };
    put(m, &old(manifest(&here, "ut tagged", &[], &["t"]))).await;
    put(m, &old(manifest(&here, "ut child", &[], &[]))).await;
    put(m, &old(NewManifest { tags: vec!["i".into()], ..index(&here, "ut index", &["ut child"]) })).await;
    put(m, &old(manifest(&here, "ut alone", &[], &[]))).await;
    put(m, &manifest(&here, "ut young", &[], &[])).await;
    let about = |subject: &str, text: &str| NewManifest {
        subject: Some(digest(subject)),
        ..manifest(&here, text, &[], &[])
    };
    put(m, &old(about("ut tagged", "ut signature"))).await;
    put(m, &old(about("ut alone", "ut orphan"))).await;
    assert_eq!(collect(m, None).await.manifests, 0);
    let there = |text: &'static str| {
        let here = here.clone();
        async move { m.manifest(&here, &digest(text)).await.unwrap().is_some() }
    };
    let collected = collect(m, Some(NOW - DAY)).await;
    assert!(collected.manifests >= 2, "{collected:?}");
    for kept in ["ut tagged", "ut child", "ut index", "ut young", "ut signature"] {
        assert!(there(kept).await, "{kept}");
    }
    for gone in ["ut alone", "ut orphan"] {
        assert!(!there(gone).await, "{gone}");
    }
    m.delete_tag(&here, "i").await.unwrap();
    collect(m, Some(NOW - DAY)).await;
    assert!(!there("ut index").await && !there("ut child").await, "an index and then its manifests");
}

async fn quotas_bound_what_is_held(m: &dyn Metadata) {
    let quota = [Quota { prefix: "quota".into(), bytes: 10 }];
    let (one, two) = (name("quota/one"), name("quota/two"));
    let full = |text: &'static str, repository: &Repository| {
        let (repository, quota) = (repository.clone(), quota.clone());
        async move {
            let bytes = Bytes::from_static(text.as_bytes());
            m.put_small(&repository, &digest(text), bytes, &quota, NOW).await.unwrap()
        }
    };
    assert_eq!(full("123456", &one).await, Put::Stored);
    assert_eq!(full("123456", &one).await, Put::Stored, "what is there already costs nothing");
    assert_eq!(full("12345", &two).await, Put::OverQuota(quota[0].clone()));
    assert_eq!(full("1234", &two).await, Put::Stored);
    assert_eq!(
        m.mount(&one, &two, &digest("123456"), &quota, NOW).await.unwrap(),
        Mounted::OverQuota(quota[0].clone())
    );
    let usage = m.usage("quota").await.unwrap();
    assert_eq!((usage.repositories, usage.bytes), (2, 10));
    assert_eq!(m.usage("quota/one").await.unwrap().bytes, 6);
    assert_eq!(m.usage("quot").await.unwrap().bytes, 0, "a prefix ends at a slash");
    m.unlink(&one, &digest("123456")).await.unwrap();
    assert_eq!(full("12345", &two).await, Put::Stored, "what was deleted is given back");
    let uploaded = stored(m, &two, 5000).await;
    assert_eq!(
        m.commit_upload(&uploaded, &digest("q"), &quota, NOW).await.unwrap(),
        Put::OverQuota(quota[0].clone())
    );
    assert!(m.blob(&two, &digest("q")).await.unwrap().is_none());
    collect(m, None).await;
    assert_eq!(
        m.garbage(9).await.unwrap().into_iter().map(|g| g.key).collect::<Vec<_>>(),
        [uploaded.key.clone().unwrap()]
    );
    m.forget_garbage(&[uploaded.key.unwrap()]).await.unwrap();
}

async fn what_is_kept_for_others_is_noted(m: &dyn Metadata) {
    let here = name("cached/here");
    blob(m, &here, "cached layer", NOW).await;
    for (text, tag) in [("c1", "v1"), ("c2", "v2"), ("c3", "v3")] {
        put(m, &NewManifest { sparse: true, ..manifest(&here, text, &["cached layer", "absent"], &[tag]) })
            .await;
    }
    assert_eq!(m.least_used(NOW + DAY, 10).await.unwrap(), [], "the registry's own are not among them");
    for (text, used) in [("c2", NOW + 5), ("c1", NOW + 7), ("c2", NOW + 1), ("c3", NOW + 9), ("none", NOW)] {
        m.note_use(&here, &digest(text), used).await.unwrap();
    }
    let used = |text: &str, used| CachedManifest { repository: here.clone(), digest: digest(text), used };
    let two = [used("c2", NOW + 5), used("c1", NOW + 7)];
    assert_eq!(m.least_used(NOW + DAY, 2).await.unwrap(), two);
    assert_eq!(m.least_used(NOW + 9, 10).await.unwrap(), two, "before, not at");
    assert_eq!(m.checked(&here, "v1").await.unwrap(), None);
    m.note_check(&here, "v1", NOW).await.unwrap();
    m.note_check(&here, "none", NOW).await.unwrap();
    assert_eq!(m.checked(&here, "v1").await.unwrap(), Some(NOW));
    put(m, &manifest(&here, "c4", &[], &["v1"])).await;
    assert_eq!(m.checked(&here, "v1").await.unwrap(), Some(NOW), "it is of the tag, whatever that is set to");
    m.delete_tag(&here, "v1").await.unwrap();
    assert_eq!(m.checked(&here, "v1").await.unwrap(), None);
    assert_eq!(m.unneeded(&here, 10).await.unwrap(), []);
    assert_eq!(m.unneeded(&name("cached/none"), 10).await.unwrap(), []);
    for text in ["c1", "c2", "c3"] {
        m.delete_manifest(&here, &digest(text)).await.unwrap();
    }
    assert_eq!(m.least_used(NOW + DAY, 10).await.unwrap(), []);
    assert_eq!(m.unneeded(&here, 10).await.unwrap(), [digest("cached layer")]);
}

async fn copies_are_brought_up_to_date_by_one_at_a_time(m: &dyn Metadata) {
    let (one, other) = (name("copy/one"), name("copy/other"));
    let claim = async |now| m.claim_replication("dr", now, now + 10).await.unwrap();
    assert_eq!(claim(NOW).await, None);
    m.mark_replication("dr", &other, NOW + 1).await.unwrap();
    m.mark_replication("dr", &one, NOW).await.unwrap();
    m.mark_replication("elsewhere", &one, NOW).await.unwrap();
    let first = claim(NOW + 5).await.expect("it is due");
    assert_eq!((&first.repository, first.attempts, first.upload.clone()), (&one, 0, None));
    let second = claim(NOW + 5).await.expect("the other is due as well");
    assert_eq!(second.repository, other);
    assert_eq!(claim(NOW + 5).await, None, "both are taken");
    let upload = Some((digest("half"), "https://there/upload".to_owned()));
    let first = ReplicationJob { upload: upload.clone(), ..first };
    m.keep_replication(&first, NOW + 30).await.unwrap();
    assert_eq!(claim(NOW + 20).await.expect("nobody has kept it").repository, other);
    m.end_replication(&second, NOW + 21).await.unwrap();
    let again = claim(NOW + 40).await.expect("whoever had it is gone");
    assert_eq!((&again.repository, again.upload.clone()), (&one, upload.clone()));
    m.fail_replication(&again, "no route", NOW + 100).await.unwrap();
    m.mark_replication("dr", &one, NOW + 50).await.unwrap();
    assert_eq!(claim(NOW + 60).await, None, "what fails is not hurried by more changes");
    let listed = m.replications().await.unwrap();
    let state = |repository: &Repository, due, attempts, error: Option<&str>, synced| Replication {
        target: "dr".into(),
        repository: repository.clone(),
        due,
        attempts,
        error: error.map(str::to_owned),
        synced,
    };
    let failing = state(&one, Some(NOW + 100), 1, Some("no route"), None);
    assert_eq!(listed[..2], [failing, state(&other, None, 0, None, Some(NOW + 21))]);
    assert_eq!((listed[2].target.as_str(), listed.len()), ("elsewhere", 3));
    let third = claim(NOW + 100).await.expect("it is time");
    assert_eq!((third.attempts, third.upload.clone()), (1, upload));
    m.mark_replication("dr", &one, NOW + 101).await.unwrap();
    m.end_replication(&third, NOW + 102).await.unwrap();
    let fourth = claim(NOW + 103).await.expect("it has changed since it was taken");
    assert_eq!((fourth.attempts, fourth.upload.clone()), (0, None));
    m.end_replication(&fourth, NOW + 104).await.unwrap();
    assert_eq!(claim(NOW + 200).await, None);
}

async fn robots_come_and_go(m: &dyn Metadata) {
    let robot = |name: &str, expires| Robot {
        name: name.into(),
        secret: vec![1, 2, 3],
        scopes: "repository:a:pull".into(),
        created: NOW,
        expires,
    };
    m.put_robot(&robot("b", 1)).await.unwrap();
    m.put_robot(&robot("a", 1)).await.unwrap();
    m.put_robot(&robot("a", 2)).await.unwrap();
    assert_eq!(m.robot("a").await.unwrap(), Some(robot("a", 2)));
    assert_eq!(m.robots().await.unwrap(), [robot("a", 2), robot("b", 1)]);
    assert!(m.remove_robot("a").await.unwrap() && !m.remove_robot("a").await.unwrap());
    assert_eq!(m.robot("a").await.unwrap(), None);
}

async fn shared_values_are_made_once(m: &dyn Metadata) {
    assert_eq!(m.shared("v", b"first").await.unwrap(), b"first");
    assert_eq!(m.shared("v", b"second").await.unwrap(), b"first");
}
