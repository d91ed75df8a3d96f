//! The store as a whole, and what it finds again after it was killed.

mod crash;

use std::fs;
use std::path::Path;

use dray_spec::{Digest, Reference};
use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, ImageRecord, LayerDraft, LayerId, Store};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Thing {
    size: u32,
}

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

fn layer(store: &Store, content: &str) -> LayerId {
    let draft = store.layers().begin().unwrap();
    fs::write(draft.path().join("file"), content).unwrap();
    draft.commit(&Digest::sha256_of(content.as_bytes()), content.len() as u64).unwrap()
}

fn image(seed: &str, layers: &[LayerId], blobs: &[Digest]) -> ImageRecord {
    ImageRecord {
        id: Digest::sha256_of(seed.as_bytes()),
        config: seed.as_bytes().to_vec(),
        parent: None,
        manifest: None,
        created: "2026-01-01T00:00:00Z".into(),
        size: 1,
        layers: layers.to_vec(),
        blobs: blobs.to_vec(),
    }
}

fn name(text: &str) -> Reference {
    text.parse().unwrap()
}

fn count(path: &Path) -> usize {
    fs::read_dir(path).unwrap().count()
}

#[test]
fn one_process_holds_a_data_root() {
    let (dir, store) = store();
    let error = Store::open(dir.path()).unwrap_err();
    assert!(matches!(error, Error::Locked(_)), "{error}");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    drop(store);
    Store::open(dir.path()).unwrap();
}

#[test]
fn records_are_found_by_id_name_and_prefix() {
    let (_dir, store) = store();
    let records = store.records();
    records.put("thing", "abc", Some("one"), &Thing { size: 1 }).unwrap();
    records.put("thing", "abd", None, &Thing { size: 2 }).unwrap();
    records.put_relaxed("other", "abe", Some("one"), &Thing { size: 3 }).unwrap();
    assert_eq!(records.get::<Thing>("thing", "abc").unwrap(), Some(Thing { size: 1 }));
    assert_eq!(records.get::<Thing>("thing", "ab").unwrap(), None);
    assert_eq!(records.get_by_name::<Thing>("thing", "one").unwrap().unwrap().id, "abc");
    assert_eq!(records.find_prefix("thing", "ab").unwrap(), ["abc", "abd"]);
    assert_eq!(records.find_prefix("thing", "abd").unwrap(), ["abd"]);
    assert_eq!(records.find_prefix("thing", "").unwrap().len(), 2);
    assert!(records.find_prefix("thing", "%").unwrap().is_empty());
    let sizes: Vec<u32> =
        records.list::<Thing>("thing").unwrap().into_iter().map(|record| record.document.size).collect();
    assert_eq!(sizes, [1, 2]);
    assert!(records.delete("thing", "abc").unwrap());
    assert!(!records.delete("thing", "abc").unwrap());
}

#[test]
fn a_name_belongs_to_one() {
    let (_dir, store) = store();
    let records = store.records();
    records.put("thing", "a", Some("web"), &Thing { size: 1 }).unwrap();
    records.put("thing", "a", Some("web"), &Thing { size: 2 }).unwrap();
    match records.put("thing", "b", Some("web"), &Thing { size: 3 }).unwrap_err() {
        Error::NameInUse { holder, name, .. } => assert_eq!((holder.as_str(), name.as_str()), ("a", "web")),
        other => panic!("{other}"),
    }
    records.put("thing", "b", Some("db"), &Thing { size: 3 }).unwrap();
    assert!(matches!(records.rename("thing", "b", Some("web")), Err(Error::NameInUse { .. })));
    records.rename("thing", "a", Some("old")).unwrap();
    records.rename("thing", "b", Some("web")).unwrap();
    assert_eq!(records.get_by_name::<Thing>("thing", "web").unwrap().unwrap().id, "b");
    assert!(matches!(records.rename("thing", "x", None), Err(Error::RecordNotFound { .. })));
}

#[test]
fn a_batch_is_all_or_nothing() {
    let (_dir, store) = store();
    let records = store.records();
    records.put("thing", "a", None, &Thing { size: 1 }).unwrap();
    let result = records.batch(|tx| {
        tx.put("thing", "b", Some("n"), &Thing { size: 2 })?;
        tx.delete("thing", "a")?;
        assert_eq!(tx.get::<Thing>("thing", "b")?.unwrap().size, 2);
        tx.put("thing", "c", Some("n"), &Thing { size: 3 })
    });
    assert!(matches!(result, Err(Error::NameInUse { .. })));
    assert_eq!(records.find_prefix("thing", "").unwrap(), ["a"]);
}

#[test]
fn an_unreadable_document_names_itself() {
    let (_dir, store) = store();
    store.records().put("thing", "a", None, &"text").unwrap();
    let error = store.records().get::<Thing>("thing", "a").unwrap_err().to_string();
    assert!(error.starts_with("record thing/a: "), "{error}");
}

#[test]
fn the_same_layer_twice_is_one() {
    let (dir, store) = store();
    let first = layer(&store, "x");
    assert_eq!(layer(&store, "x"), first);
    assert_eq!(store.layers().find(&Digest::sha256_of(b"x")).unwrap(), Some(first));
    assert_eq!(store.layers().get(first).unwrap().size, 1);
    assert_eq!(fs::read_to_string(store.layers().view(first).unwrap().path().join("file")).unwrap(), "x");
    assert_eq!(count(&dir.path().join("layers")), 1);
    drop(store.layers().begin().unwrap());
    assert_eq!(count(&dir.path().join("layers")), 1);
}

#[test]
fn an_adopted_folder_gets_its_diff_id_later() {
    let (dir, store) = store();
    let upper = dir.path().join("containers/upper");
    fs::create_dir(&upper).unwrap();
    let id = store.layers().adopt(&upper).unwrap().commit_unnamed(3).unwrap();
    assert!(!upper.exists());
    assert_eq!(store.layers().get(id).unwrap().diff_id, None);
    let diff_id = Digest::sha256_of(b"tar");
    assert_eq!(store.layers().name(id, &diff_id).unwrap(), id);
    let again = store.layers().begin().unwrap().commit_unnamed(3).unwrap();
    assert_eq!(store.layers().name(again, &diff_id).unwrap(), id);
}

#[test]
fn images_and_their_names() {
    let (_dir, store) = store();
    let layers = [layer(&store, "a"), layer(&store, "b")];
    let manifest = Digest::sha256_of(b"manifest");
    let record = image("one", &layers, std::slice::from_ref(&manifest));
    store.images().put(&record, &[name("app")]).unwrap();
    assert_eq!(store.images().get(&record.id).unwrap().unwrap(), record);
    assert_eq!(store.tags().get(&name("app:latest")).unwrap(), Some(record.id.clone()));
    let hex = record.id.hex();
    assert_eq!(store.images().find_prefix(&hex[..5]).unwrap(), std::slice::from_ref(&record.id));

    let child = ImageRecord { parent: Some(record.id.clone()), ..image("two", &layers[..1], &[]) };
    store.images().put(&child, &[]).unwrap();
    assert_eq!(store.images().children(&record.id).unwrap(), std::slice::from_ref(&child.id));
    assert_eq!(store.tags().set(&name("app"), &child.id, Some(&manifest)).unwrap(), Some(record.id.clone()));
    let names: Vec<String> = store.tags().of(&child.id).unwrap().iter().map(Reference::familiar).collect();
    assert_eq!(names, ["app:latest".to_string(), format!("app@{manifest}")]);
    assert!(store.tags().of(&record.id).unwrap().is_empty());
    assert!(!store.images().delete_nameless(&child.id).unwrap());
    assert!(!store.tags().remove_of(&record.id, &name("app")).unwrap());
    assert!(store.tags().remove_of(&child.id, &name("app")).unwrap());
    assert!(store.tags().remove(&name(&format!("app@{manifest}"))).unwrap());
    assert!(!store.tags().remove(&name("app")).unwrap());
    assert!(store.images().amend(&child, &[]).unwrap());
    assert!(store.images().delete_nameless(&child.id).unwrap());
    assert!(!store.images().amend(&child, &[name("back")]).unwrap());
    assert!(!store.images().delete(&child.id).unwrap());
    assert!(store.tags().list().unwrap().is_empty());
    let gone = store.tags().set(&name("x"), &child.id, None).unwrap_err();
    assert!(matches!(&gone, Error::ImageNotFound(id) if *id == child.id), "{gone}");
}

#[test]
fn an_image_cannot_name_what_is_not_there() {
    let (_dir, store) = store();
    let error = store.images().put(&image("x", &[LayerId(7)], &[]), &[]).unwrap_err();
    assert!(matches!(error, Error::LayerNotFound(LayerId(7))), "{error}");
    assert!(store.images().list().unwrap().is_empty());
}

#[test]
fn collection_takes_what_nobody_names() {
    let (dir, store) = store();
    let (kept, held, free) = (layer(&store, "kept"), layer(&store, "held"), layer(&store, "free"));
    let blob = store.blobs().put(b"kept").unwrap();
    let stray = store.blobs().put(b"stray").unwrap();
    store.images().put(&image("i", &[kept], std::slice::from_ref(&blob)), &[]).unwrap();
    store.layers().hold("container/1", &[held]).unwrap();

    assert!(matches!(store.layers().hold("container/2", &[kept, LayerId(99)]), Err(Error::LayerNotFound(_))));
    assert_eq!(store.layers().held().unwrap(), [held].into());

    let lease = store.lease();
    assert_eq!(store.collect().unwrap().layers, []);
    assert_eq!(count(&dir.path().join("layers")), 3);
    drop(lease);
    assert!(matches!(store.layers().get(free), Err(Error::LayerNotFound(_))));
    assert_eq!((store.blobs().has(&blob), store.blobs().has(&stray)), (true, false));
    assert_eq!(count(&dir.path().join("layers")), 2);

    store.layers().release("container/1").unwrap();
    store.images().delete(&Digest::sha256_of(b"i")).unwrap();
    let collected = store.collect().unwrap();
    assert_eq!((collected.layers.len(), collected.blobs.len(), collected.bytes), (2, 1, 12));
    assert_eq!(count(&dir.path().join("layers")), 0);
    assert_eq!(store.collect().unwrap(), crate::Collected::default());
}

/// A folder with a file in it.
fn draft_with(store: &Store, name: &str, content: &str) -> LayerDraft {
    let draft = store.layers().begin().unwrap();
    fs::write(draft.path().join(name), content).unwrap();
    draft
}

/// A layer of two files, and one upon it that has one of them changed.
fn upon(store: &Store) -> (LayerId, LayerId) {
    let draft = draft_with(store, "a", "a");
    fs::write(draft.path().join("b"), "b").unwrap();
    let base = draft.commit_unnamed(2).unwrap();
    let upper = draft_with(store, "b", "bbb").commit_upon(base, 4, 3).unwrap();
    (base, upper)
}

#[test]
fn a_layer_upon_another_is_seen_as_one() {
    let (dir, store) = store();
    let (base, upper) = upon(&store);
    let check = |store: &Store| {
        let layer = store.layers().get(upper).unwrap();
        assert_eq!((layer.size, layer.own, layer.base), (4, 3, Some(base)));
        assert_eq!(store.layers().folders_of([&upper, &base]).len(), 3);
        let view = store.layers().view(upper).unwrap();
        let read = |name: &str| fs::read_to_string(view.path().join(name)).unwrap();
        assert_eq!((read("a"), read("b")), ("a".to_string(), "bbb".to_string()));
        assert_eq!(fs::read_dir(view.path()).unwrap().count(), 2);
        assert_eq!(fs::read_to_string(store.layers().view(base).unwrap().path().join("b")).unwrap(), "b");
    };
    check(&store);
    let upon_upon = draft_with(&store, "c", "c").commit_upon(upper, 5, 1);
    assert!(matches!(upon_upon, Err(Error::LayerNotFound(id)) if id == upper));
    let upon_nothing = draft_with(&store, "c", "c").commit_upon(LayerId(99), 5, 1);
    assert!(matches!(upon_nothing, Err(Error::LayerNotFound(LayerId(99)))));
    assert_eq!(count(&dir.path().join("layers")), 2);
    drop(store);
    check(&Store::open(dir.path()).unwrap());
}

#[test]
fn a_base_stays_as_long_as_what_lies_upon_it() {
    let (dir, store) = store();
    let (base, upper) = upon(&store);
    store.layers().hold("build-cache:x", &[upper]).unwrap();
    store.images().put(&image("i", &[upper], &[]), &[]).unwrap();
    assert_eq!(store.layers().used_besides("build-cache").unwrap(), [base, upper].into());
    assert_eq!(store.collect().unwrap().layers, []);
    store.images().delete(&image("i", &[upper], &[]).id).unwrap();
    assert_eq!(store.layers().used_besides("build-cache").unwrap(), [].into());
    assert_eq!(store.collect().unwrap().layers, []);
    store.layers().release("build-cache:x").unwrap();
    let collected = store.collect().unwrap();
    assert_eq!((collected.layers.len(), collected.bytes), (2, 5), "both at once, what was theirs");
    assert_eq!(count(&dir.path().join("layers")), 0);
    assert_eq!(store.layers().folders(upper).len(), 1);
}

#[test]
fn a_power_cut_that_takes_the_base_takes_what_lies_upon_it() {
    let (dir, store) = store();
    let (base, upper) = upon(&store);
    store.images().put(&image("i", &[upper], &[]), &[name("i")]).unwrap();
    wait_until_flushed(&store, upper);
    store.layers().forget_boot_of(base);
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert!(store.images().list().unwrap().is_empty() && store.layers().list().unwrap().is_empty());
    assert_eq!(count(&dir.path().join("layers")), 0);
}

#[test]
fn a_layers_compressed_form_stays_as_long_as_the_layer() {
    let (_dir, store) = store();
    let blob = store.blobs().put(b"compressed").unwrap();
    let kept = layer(&store, "shared");
    let diff_id = store.layers().get(kept).unwrap().diff_id.unwrap();
    let known = serde_json::json!({ "digest": blob.to_string(), "size": 10 });
    store.records().put("layer-blob", diff_id.as_str(), None, &known).unwrap();
    store.images().put(&image("built upon it", &[kept], &[]), &[]).unwrap();
    store.collect().unwrap();
    assert!(store.blobs().has(&blob));
    store.images().delete(&image("built upon it", &[kept], &[]).id).unwrap();
    store.collect().unwrap();
    assert!(!store.blobs().has(&blob));
    assert_eq!(store.records().get::<serde_json::Value>("layer-blob", diff_id.as_str()).unwrap(), None);
}

#[test]
fn open_sweeps_what_does_not_count() {
    let (dir, store) = store();
    let whole = layer(&store, "whole");
    drop(store);
    fs::create_dir_all(dir.path().join("layers/tmp-9/deep")).unwrap();
    fs::create_dir(dir.path().join("layers/4711")).unwrap();
    fs::write(dir.path().join("ingest/spool-1"), "x").unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(count(&dir.path().join("layers")), 1);
    assert_eq!(count(&dir.path().join("ingest")), 0);
    assert!(store.layers().view(whole).unwrap().path().is_dir());
}

#[test]
fn a_draft_that_cannot_be_removed_keeps_no_store_closed() {
    let (dir, store) = store();
    drop(store);
    // What a step that still runs does to its folder looks like this: it is not empty when it should be.
    let busy = dir.path().join("layers/tmp-3");
    fs::create_dir_all(busy.join("work")).unwrap();
    let mounted = Mounted::on(&busy.join("work"));
    let store = Store::open(dir.path()).unwrap();
    assert!(busy.is_dir());
    let drafts: Vec<LayerDraft> = (0..5).map(|_| store.layers().begin().unwrap()).collect();
    assert!(drafts.iter().all(|draft| draft.path() != busy));
    drop(drafts);
    store.collect().unwrap();
    assert!(busy.is_dir());
    drop(mounted);
    store.collect().unwrap();
    assert!(!busy.exists());
}

/// Something that lies on a folder, so that it cannot be removed.
struct Mounted(std::path::PathBuf);

impl Mounted {
    fn on(path: &Path) -> Self {
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", path, "tmpfs", flags, None::<&std::ffi::CStr>).unwrap();
        Self(path.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}

#[test]
fn a_power_cut_takes_unflushed_layers_and_their_images_as_wholes() {
    let (dir, store) = store();
    let flushed = layer(&store, "flushed");
    store.layers().flush().unwrap();
    let lost = layer(&store, "lost");
    let safe = image("safe", &[flushed], &[]);
    store.images().put(&safe, &[name("safe")]).unwrap();
    let broken = image("broken", &[flushed, lost], &[]);
    store.images().put(&broken, &[name("broken")]).unwrap();
    wait_until_flushed(&store, lost);
    store.layers().forget_boot_of(lost);
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.images().list().unwrap(), [safe]);
    assert_eq!(store.tags().list().unwrap().len(), 1);
    assert!(matches!(store.layers().get(lost), Err(Error::LayerNotFound(_))));
    assert_eq!(count(&dir.path().join("layers")), 1);
}

#[test]
fn putting_an_image_flushes_its_layers_soon() {
    let (_dir, store) = store();
    let id = layer(&store, "x");
    assert!(!store.layers().flushed(id));
    store.images().put(&image("i", &[id], &[]), &[]).unwrap();
    wait_until_flushed(&store, id);
}

fn wait_until_flushed(store: &Store, id: LayerId) {
    let begin = std::time::Instant::now();
    while !store.layers().flushed(id) {
        assert!(begin.elapsed().as_secs() < 60, "never flushed");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
