//! Docker's rules of removal, case by case.

use super::*;
use crate::images::tests::{Fixture, diff_id};

fn nobody(_: &Digest) -> Vec<ContainerUse> {
    Vec::new()
}

fn one(running: bool) -> impl Fn(&Digest) -> Vec<ContainerUse> {
    move |_| vec![ContainerUse { id: "c0ffee".repeat(10), running }]
}

fn lines(removed: &[Removed]) -> Vec<String> {
    removed
        .iter()
        .map(|removed| match removed {
            Removed::Untagged(name) => format!("Untagged: {name}"),
            Removed::Deleted(id) => format!("Deleted: {id}"),
        })
        .collect()
}

fn message<T: std::fmt::Debug>(result: Result<T>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn the_last_name_takes_the_image_with_it() {
    let fixture = Fixture::new();
    let image = fixture.image(1, &["base", "top"], &["app"]);
    let manifest = diff_id("m");
    fixture.images.store().tags().set(&"app".parse().unwrap(), &image.id, Some(&manifest)).unwrap();
    let removed = fixture.images.remove("app", false, true, &nobody).unwrap();
    let ids = &image.config.rootfs.diff_ids;
    assert_eq!(
        lines(&removed),
        [
            "Untagged: app:latest".to_string(),
            format!("Untagged: app@{manifest}"),
            format!("Deleted: {}", image.id),
            format!("Deleted: {}", chain_id(ids)),
            format!("Deleted: {}", ids[0]),
        ]
    );
    assert!(fixture.images.list().unwrap().is_empty());
    assert!(fixture.images.store().layers().list().unwrap().is_empty());
}

#[test]
fn one_name_of_several_only_untags() {
    let fixture = Fixture::new();
    let image = fixture.image(1, &["a"], &["app:v1", "app:v2", "other"]);
    let removed = fixture.images.remove("app:v1", false, true, &one(true)).unwrap();
    assert_eq!(lines(&removed), ["Untagged: app:v1"]);
    let error = message(fixture.images.remove(image.id.short(), false, true, &nobody));
    let short = image.id.short();
    assert_eq!(
        error,
        format!(
            "conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
        )
    );
    let removed = fixture.images.remove(short, true, true, &nobody).unwrap();
    assert_eq!(lines(&removed)[..2], ["Untagged: app:v2", "Untagged: other:latest"]);
    assert_eq!(removed.len(), 4);
}

#[test]
fn containers_keep_their_image() {
    let fixture = Fixture::new();
    let image = fixture.image(1, &["a"], &["app"]);
    let (images, short) = (&fixture.images, image.id.short());
    let container = "c0ffeec0ffee";
    assert_eq!(
        message(images.remove("app", false, true, &one(false))),
        format!(
            "conflict: unable to remove repository reference \"app\" (must force) - container {container} is using its referenced image {short}"
        )
    );
    assert_eq!(
        message(images.remove(short, false, true, &one(false))),
        format!(
            "conflict: unable to delete {short} (must be forced) - image is being used by stopped container {container}"
        )
    );
    assert_eq!(
        message(images.remove(short, true, true, &one(true))),
        format!(
            "conflict: unable to delete {short} (cannot be forced) - image is being used by running container {container}"
        )
    );
    // Forced by name under a running container: the name goes, the image stays.
    let removed = images.remove("app", true, true, &one(true)).unwrap();
    assert_eq!(lines(&removed), ["Untagged: app:latest"]);
    assert!(images.get(&image.id).unwrap().is_some());
}

#[test]
fn a_name_that_goes_to_another_image_meanwhile_is_that_ones() {
    let fixture = Fixture::new();
    let images = &fixture.images;
    let (first, second) = (fixture.image(1, &["a"], &["app"]), fixture.image(2, &["b"], &["other"]));
    let name: Reference = "app".parse().unwrap();
    // Whoever is asked for the containers of the first image names the second one.
    let retag = |id: &Digest| {
        if *id == first.id {
            images.tag(&second, &name).unwrap();
        }
        Vec::new()
    };
    assert_eq!(lines(&images.remove("app", false, true, &retag).unwrap()), ["Untagged: app:latest"]);
    assert_eq!(images.get(&second.id).unwrap().unwrap().tags, ["other:latest".parse().unwrap()]);
    assert!(
        images.get(&first.id).unwrap().is_some(),
        "its name was taken away by the tag, not by the removal"
    );
    let untag = |_: &Digest| {
        images.untag(&"other".parse().unwrap()).unwrap();
        Vec::new()
    };
    assert_eq!(message(images.remove("other", false, true, &untag)), "No such image: other:latest");
}

#[test]
fn a_stopped_containers_layers_outlive_the_image() {
    let fixture = Fixture::new();
    let image = fixture.image(1, &["a", "b"], &["app"]);
    fixture.images.store().layers().hold("container/1", &image.layers).unwrap();
    let removed = fixture.images.remove("app", true, true, &one(false)).unwrap();
    assert_eq!(lines(&removed), ["Untagged: app:latest".to_string(), format!("Deleted: {}", image.id)]);
    assert_eq!(fixture.images.store().layers().list().unwrap().len(), 2);
}

#[test]
fn shared_layers_stay() {
    let fixture = Fixture::new();
    let image = fixture.image(1, &["base", "a"], &["a"]);
    fixture.image(2, &["base", "b"], &["b"]);
    let removed = fixture.images.remove("a", false, true, &nobody).unwrap();
    let chain = chain_id(&image.config.rootfs.diff_ids);
    assert_eq!(
        lines(&removed),
        ["Untagged: a:latest".to_string(), format!("Deleted: {}", image.id), format!("Deleted: {chain}")]
    );
    assert_eq!(fixture.images.store().layers().list().unwrap().len(), 2);
}

#[test]
fn parents_go_with_the_last_child_unless_named() {
    let fixture = Fixture::new();
    let base = fixture.image(1, &["base"], &["base"]);
    let middle = fixture.child(Some(&base), 2, &["base", "m"], &[]);
    let top = fixture.child(Some(&middle), 3, &["base", "m", "t"], &["app"]);
    let short = middle.id.short();
    assert_eq!(
        message(fixture.images.remove(short, true, true, &nobody)),
        format!("conflict: unable to delete {short} (cannot be forced) - image has dependent child images")
    );
    let removed = lines(&fixture.images.remove("app", false, true, &nobody).unwrap());
    assert!(removed.contains(&format!("Deleted: {}", top.id)));
    assert!(removed.contains(&format!("Deleted: {}", middle.id)));
    assert!(fixture.images.get(&base.id).unwrap().is_some());
    assert_eq!(fixture.images.store().layers().list().unwrap().len(), 1);
}

#[test]
fn no_prune_keeps_the_parents() {
    let fixture = Fixture::new();
    let base = fixture.image(1, &["base"], &[]);
    fixture.child(Some(&base), 3, &["base", "t"], &["app"]);
    fixture.images.remove("app", false, false, &nobody).unwrap();
    assert_eq!(fixture.images.list().unwrap().len(), 1);
}

#[test]
fn prune_takes_nameless_images_or_all_unused() {
    let fixture = Fixture::new();
    let base = fixture.image(1, &["base"], &[]);
    let used = fixture.child(Some(&base), 2, &["base", "used"], &["used"]);
    fixture.image(3, &["dangling"], &[]);
    fixture.image(4, &["named"], &["named"]);
    let users = |id: &Digest| if *id == used.id { one(false)(id) } else { Vec::new() };

    let pruned = fixture.images.prune(&Filter::default(), &users).unwrap();
    assert_eq!((pruned.removed.len(), pruned.reclaimed), (2, 8));
    assert_eq!(fixture.images.list().unwrap().len(), 3);

    let filter = Filter { dangling: Some(false), ..Filter::default() };
    let old = Filter { until: Some("2025-01-01T00:00:00Z".parse().unwrap()), ..filter.clone() };
    assert_eq!(fixture.images.prune(&old, &users).unwrap(), Pruned::default());
    let pruned = fixture.images.prune(&filter, &users).unwrap();
    assert_eq!(lines(&pruned.removed)[0], "Untagged: named:latest");
    let left: Vec<_> = fixture.images.list().unwrap().into_iter().map(|image| image.id).collect();
    assert_eq!(left, [used.id, base.id]);
}

#[test]
fn single_references() {
    let parse =
        |names: &[&str]| -> Vec<Reference> { names.iter().map(|name| name.parse().unwrap()).collect() };
    let pinned = format!("a@{}", diff_id("x"));
    assert!(!is_single(&[]));
    assert!(is_single(&parse(&["a:1"])));
    assert!(is_single(&parse(&["a:1", &pinned])));
    assert!(!is_single(&parse(&["a:1", "a:2"])));
    assert!(!is_single(&parse(&["b:1", &pinned])));
}

/// Makes and names images while others are pruned without a rest.
fn beside_prunes(dangling: bool, images: &Images, work: impl FnOnce()) {
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let pruner = scope.spawn(|| {
            let filter = Filter { dangling: Some(dangling), ..Filter::default() };
            while !done.load(Ordering::Acquire) {
                images.prune(&filter, &nobody).unwrap();
            }
        });
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        done.store(true, Ordering::Release);
        pruner.join().unwrap();
        worked.unwrap();
    });
}

#[test]
fn an_image_that_is_pruned_at_once_was_made_all_the_same() {
    let fixture = Fixture::new();
    beside_prunes(false, &fixture.images, || {
        for n in 0..200 {
            let lease = fixture.images.lease();
            let image = fixture.image(n % 60, &["a"], &["app"]);
            assert_eq!(image.tags.len(), 1);
            drop(lease);
        }
    });
}

#[test]
fn what_has_got_a_name_meanwhile_is_not_dangling() {
    let fixture = Fixture::new();
    let images = &fixture.images;
    beside_prunes(true, images, || {
        for n in 0..200 {
            let lease = images.lease();
            // Named at once, named later, and named anew as pulls do it: what was acknowledged stays.
            let name: Reference = "app".parse().unwrap();
            fixture.image(n % 60, &["a"], &["app"]);
            let (dangling, claim) = images.claim("app", "c").unwrap();
            images.untag(&name).unwrap();
            drop(claim);
            let again = images.store().tags().set(&name, &dangling.id, None).is_ok();
            drop(lease);
            std::thread::yield_now();
            assert_eq!(images.resolve("app").is_ok(), again, "round {n}");
            if again {
                images.remove("app", true, true, &nobody).unwrap();
            }
        }
    });
}
