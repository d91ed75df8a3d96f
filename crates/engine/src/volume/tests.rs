//! Volumes over a store in a folder of its own.

use super::*;

struct Fixture {
    service: Arc<Service>,
    in_use: Arc<Mutex<Vec<String>>>,
    _dir: tempfile::TempDir,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let in_use = Arc::new(Mutex::new(Vec::<String>::new()));
    let used = Arc::clone(&in_use);
    let users: Users = Arc::new(move |name| {
        let used = used.lock().unwrap();
        used.iter().filter(|volume| *volume == name).map(|_| "c1".to_owned()).collect()
    });
    Fixture { service: Service::open(store, EventBus::new(), users, Plugins::default()), in_use, _dir: dir }
}

fn named(name: &str) -> VolumeCreateRequest {
    VolumeCreateRequest { name: name.to_owned(), ..Default::default() }
}

#[test]
fn create_inspect_remove() {
    let f = fixture();
    let volume = f.service.create(named("data")).unwrap();
    assert!(volume.mountpoint.ends_with("/volumes/data/_data"));
    assert!(std::path::Path::new(&volume.mountpoint).is_dir());
    assert_eq!(f.service.create(named("data")).unwrap(), volume, "a second create gives the same");
    assert_eq!(f.service.inspect("data").unwrap().options, None);

    f.in_use.lock().unwrap().push("data".into());
    let error = f.service.remove("data", true).unwrap_err();
    assert_eq!(error.to_string(), "remove data: volume is in use - [c1]");
    f.in_use.lock().unwrap().clear();
    f.service.remove("data", false).unwrap();
    assert!(!std::path::Path::new(&volume.mountpoint).exists());
    assert_eq!(f.service.remove("data", false).unwrap_err().to_string(), "get data: no such volume");
    f.service.remove("data", true).unwrap();
}

#[test]
fn what_a_removal_has_left_behind_is_not_in_the_next_volume() {
    let f = fixture();
    // The record is gone, the folder is not: a daemon that was killed between them.
    let left = f.service.data("data");
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(left.join("old"), "old").unwrap();
    f.service.create(named("data")).unwrap();
    assert_eq!(std::fs::read_dir(&left).unwrap().count(), 0);
    std::fs::write(left.join("kept"), "kept").unwrap();
    f.service.create(named("data")).unwrap();
    assert_eq!(std::fs::read_dir(&left).unwrap().count(), 1, "one that is there is left as it is");
    f.service.remove("data", false).unwrap();
    assert_eq!(std::fs::read_dir(f.service.store.volumes_dir()).unwrap().count(), 0);
}

#[test]
fn what_a_creation_has_left_behind_goes_at_the_start() {
    let f = fixture();
    f.service.create(named("kept")).unwrap();
    std::fs::create_dir_all(f.service.data("unborn")).unwrap();
    std::fs::create_dir_all(f.service.data("full").join("of something")).unwrap();
    f.service.sweep_drafts();
    let left = std::fs::read_dir(f.service.store.volumes_dir()).unwrap().flatten();
    let mut left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    left.sort();
    assert_eq!(left, ["full", "kept"]);
}

#[test]
fn what_has_got_a_user_meanwhile_is_not_pruned() {
    let f = fixture();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut all = Filters::default();
            all.add("all", "true");
            while !done.load(std::sync::atomic::Ordering::Acquire) {
                f.service.prune(&all).unwrap();
            }
        });
        let work = || {
            for round in 0..200 {
                let container = format!("c{round}");
                let request = VolumeRequest {
                    name: Some("data".into()),
                    container: container.clone(),
                    ..VolumeRequest::default()
                };
                let (record, _) = f.service.find_or_make(&request).unwrap();
                std::fs::write(f.service.data(&record.name).join("kept"), "kept").unwrap();
                f.service.settle(&container);
            }
        };
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        done.store(true, std::sync::atomic::Ordering::Release);
        worked.unwrap();
    });
}

#[test]
fn names_and_drivers_are_checked() {
    let f = fixture();
    let message = |request| f.service.create(request).unwrap_err().to_string();
    assert!(message(named("a")).starts_with("create a: volume name is too short"));
    assert!(message(named("../x")).contains("includes invalid characters for a local volume name"));
    let other = VolumeCreateRequest { driver: "foo".into(), ..named("vv") };
    assert_eq!(message(other), "create vv: error looking up volume plugin foo: plugin \"foo\" not found");
}

#[test]
fn prune_takes_anonymous_volumes_that_nobody_has() {
    let f = fixture();
    let anonymous = f.service.create(named("")).unwrap().name;
    assert_eq!(anonymous.len(), 64);
    f.service.create(named("kept")).unwrap();
    let used = f.service.ensure(&VolumeRequest::default()).unwrap();
    assert!(used.created);
    f.in_use.lock().unwrap().push(used.name.clone());
    let report = f.service.prune(&Filters::default()).unwrap();
    assert_eq!(report.volumes_deleted, Some(vec![anonymous]));
    let all = Filters::from_iter([("all".to_owned(), "true".to_owned())]);
    assert_eq!(f.service.prune(&all).unwrap().volumes_deleted, Some(vec!["kept".to_owned()]));
    assert_eq!(f.service.list(&Filters::default()).unwrap().volumes[0].name, used.name);
}

#[test]
fn a_volume_with_a_file_system_is_mounted_while_containers_use_it() {
    let f = fixture();
    let options = [("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=64k")];
    let options = options.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    f.service.create(VolumeCreateRequest { driver_opts: Some(options), ..named("tmp") }).unwrap();
    let path = f.service.mount("tmp", "a").unwrap();
    f.service.mount("tmp", "b").unwrap();
    assert!(local::is_mounted(&path));
    f.service.unmount("tmp", "a");
    assert!(local::is_mounted(&path));
    f.service.unmount("tmp", "b");
    assert!(!local::is_mounted(&path));
}

#[test]
fn dangling_volumes_are_listed() {
    let f = fixture();
    f.service.create(named("aa")).unwrap();
    f.service.create(named("bb")).unwrap();
    f.in_use.lock().unwrap().push("bb".into());
    let list = |dangling: &str| {
        let filters = Filters::from_iter([("dangling".to_owned(), dangling.to_owned())]);
        f.service.list(&filters).unwrap().volumes.into_iter().map(|v| v.name).collect::<Vec<_>>()
    };
    assert_eq!(list("true"), ["aa"]);
    assert_eq!(list("false"), ["bb"]);
}

#[test]
fn a_rename_that_was_cut_off_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let users: Users = Arc::new(|_| Vec::new());
    let open = || {
        Service::open(
            Store::open(dir.path()).unwrap(),
            EventBus::new(),
            Arc::clone(&users),
            Plugins::default(),
        )
    };
    let service = open();
    let volume = service.create(named("old")).unwrap();
    std::fs::write(std::path::Path::new(&volume.mountpoint).join("file"), "kept").unwrap();
    // As after the first step: the new record is there, the folder has the old name.
    let record =
        Record { name: "new".into(), renamed_from: Some("old".into()), ..service.find("old").unwrap() };
    service
        .store
        .records()
        .batch(|tx| {
            tx.delete(KIND, "old")?;
            tx.put(KIND, "new", Some("new"), &record)
        })
        .unwrap();
    std::fs::create_dir(dir.path().join("volumes/.draft-x")).unwrap();
    drop(service);
    let service = open();
    let volume = service.inspect("new").unwrap();
    assert_eq!(std::fs::read_to_string(format!("{}/file", volume.mountpoint)).unwrap(), "kept");
    assert!(service.find("new").unwrap().renamed_from.is_none());
    assert_eq!(std::fs::read_dir(dir.path().join("volumes")).unwrap().count(), 1, "drafts are swept");
}

#[test]
fn what_is_read_can_be_neither_removed_nor_renamed() {
    let f = fixture();
    f.service.create(named("data")).unwrap();
    let reading = f.service.reading("data", "backup").unwrap();
    assert!(f.service.remove("data", false).unwrap_err().to_string().contains("in use - [backup-"));
    assert!(matches!(f.service.rename("data", "other"), Err(Error::InUse { .. })));
    drop(reading);
    f.service.rename("data", "other").unwrap();
    f.service.remove("other", false).unwrap();
}
