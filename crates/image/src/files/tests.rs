//! Trees, differences and squashed images of layers made by hand.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use dray_spec::{History, ImageConfig, RootFs};

use super::*;
use crate::NewImage;
use crate::images::tests::Fixture;
use crate::layer::tests::tars::Tar;
use crate::layer::{self, Options};

/// An image of these tars, each with a step of the history.
fn image(fixture: &Fixture, name: &str, tars: &[Vec<u8>]) -> Image {
    let store = fixture.images.store();
    let (mut layers, mut diff_ids, mut history) = (Vec::new(), Vec::new(), Vec::new());
    for (n, tar) in tars.iter().enumerate() {
        let draft = store.layers().begin().unwrap();
        let unpacked = layer::unpack(&tar[..], draft.path(), &Options::default()).unwrap();
        layers.push(draft.commit(&unpacked.diff_id, unpacked.size).unwrap());
        diff_ids.push(unpacked.diff_id);
        history.push(History { created_by: format!("step {n}"), ..History::default() });
        history.push(History { created_by: "ENV".into(), empty_layer: true, ..History::default() });
    }
    let rootfs = RootFs { diff_ids, ..RootFs::default() };
    let config = ImageConfig { os: "linux".into(), rootfs, history, ..ImageConfig::default() };
    let names = vec![name.parse().unwrap()];
    fixture
        .images
        .create(NewImage { config: config.to_bytes(), layers, names, ..NewImage::default() })
        .unwrap()
}

fn base() -> Vec<u8> {
    Tar::new()
        .folder("etc")
        .file("etc/passwd", b"root")
        .file("etc/shadow", b"secret!")
        .folder("opt")
        .file("opt/a", &[1; 1000])
        .file("opt/b", &[2; 500])
        .link(b'1', "opt/also-a", "opt/a")
        .file("same", b"same")
        .end()
}

fn second() -> Vec<u8> {
    Tar::new()
        .file("etc/passwd", b"root and more")
        .file("etc/.wh.shadow", b"")
        .folder("opt")
        .file("opt/.wh..wh..opq", b"")
        .file("opt/new", &[3; 30])
        .with(b'0', "run", b"#!", |header| header.set_mode(0o4755))
        .link(b'2', "link", "etc/passwd")
        .end()
}

fn third() -> Vec<u8> {
    Tar::new().file("opt/.wh.new", b"").folder("srv").file(".wh.same", b"").end()
}

fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

#[test]
fn a_tree_tells_what_each_layer_wastes() {
    let fixture = Fixture::new();
    let image = image(&fixture, "app", &[base(), second(), third()]);
    let tree = fixture.images.tree(&image).unwrap();
    assert_eq!(tree.layers.len(), 6);
    let of = |n: usize| &tree.layers[n];
    assert_eq!((of(0).created_by.as_str(), of(0).size, of(0).files), ("step 0", 1515, 8));
    assert_eq!((of(1).created_by.as_str(), of(1).diff_id.is_none()), ("ENV", true));
    // Replaced: passwd. Removed: shadow, what was in opt, in the end `same`.
    assert_eq!(of(0).wasted, 4 + 7 + 1000 + 500 + 4);
    assert_eq!(of(2).hides, 4 + 7 + 1500);
    assert_eq!((of(2).size, of(2).wasted), (13 + 30 + 2, 30));
    assert_eq!((of(4).size, of(4).hides, of(4).files), (0, 34, 2));
    assert_eq!((tree.size, tree.wasted), (1560, 1545));
    assert!((tree.efficiency() - 15.0 / 1560.0).abs() < 1e-9);
    let worst = &tree.replaced[0];
    assert_eq!((text(&worst.path).as_str(), worst.bytes, worst.removed), ("/opt/a", 1000, true));
    let passwd = tree.replaced.iter().find(|replaced| replaced.path == b"/etc/passwd").unwrap();
    assert_eq!((passwd.times, passwd.removed), (1, false));
}

#[test]
fn a_difference_is_told_file_by_file() {
    let fixture = Fixture::new();
    let (old, new) =
        (image(&fixture, "old", &[base()]), image(&fixture, "new", &[base(), second(), third()]));
    let changes = fixture.images.diff(&old, &new).unwrap();
    let shown: Vec<String> = changes
        .iter()
        .map(|change| {
            let aspects: Vec<&str> = change.aspects.iter().map(|aspect| aspect.name()).collect();
            format!("{:?} {} {}", change.happened, text(&change.path), aspects.join(","))
        })
        .collect();
    assert_eq!(
        shown,
        [
            "Changed /etc/passwd content",
            "Removed /etc/shadow ",
            "Added /link ",
            "Removed /opt/a ",
            "Removed /opt/also-a ",
            "Removed /opt/b ",
            "Added /run ",
            "Removed /same ",
            "Added /srv ",
        ]
    );
    let run = changes.iter().find(|change| change.path == b"/run").unwrap().new.unwrap();
    assert_eq!((run.kind, run.mode, run.size), (FileKind::File, 0o4755, 2));
    assert_eq!(fixture.images.diff(&new, &new).unwrap(), []);
}

#[test]
fn the_same_files_from_other_layers_do_not_differ() {
    let fixture = Fixture::new();
    let at = |time: u64| {
        let file = |tar: Tar, name: &str, data: &[u8]| tar.with(b'0', name, data, |h| h.set_mtime(time));
        file(file(Tar::new(), "a", b"1"), "b", b"2").end()
    };
    let (one, two) = (image(&fixture, "one", &[at(1000)]), image(&fixture, "two", &[at(2000)]));
    assert_ne!(one.id, two.id);
    assert_eq!(fixture.images.diff(&one, &two).unwrap(), [], "times are no difference");
    let kind = Tar::new().folder("a").with(b'0', "b", b"3", |header| header.set_uid(7)).end();
    let three = image(&fixture, "three", &[kind]);
    let changes = fixture.images.diff(&one, &three).unwrap();
    assert_eq!(changes[0].aspects, [Aspect::Kind]);
    assert_eq!(changes[1].aspects, [Aspect::Owner, Aspect::Content]);
}

fn seen(fixture: &Fixture, image: &Image) -> Vec<(String, u32, u64, u64)> {
    let merged = fixture.images.merged(image).unwrap();
    merged.nodes.iter().map(|(path, node)| (text(path), node.mode, node.size, node.device)).collect()
}

fn top(fixture: &Fixture, image: &Image) -> PathBuf {
    fixture.images.store().layers().folders(*image.layers.last().unwrap()).remove(0)
}

#[test]
fn a_squashed_image_has_the_same_files_in_one_layer() {
    let fixture = Fixture::new();
    let full = image(&fixture, "app", &[base(), second(), third()]);
    let squash = Squash { names: vec!["app:small".parse().unwrap()], ..Squash::default() };
    let small = fixture.images.squash(&full, squash).unwrap();
    assert_eq!((small.layers.len(), small.size), (1, 15));
    assert_eq!(seen(&fixture, &small), seen(&fixture, &full));
    assert_eq!(fixture.images.diff(&full, &small).unwrap(), []);
    assert_eq!(fixture.images.resolve("app:small").unwrap().id, small.id);
    let history = &small.config.history;
    assert!(history[..6].iter().all(|step| step.empty_layer) && !history[6].empty_layer);
    assert_eq!(history[6].comment, format!("create new from {}", full.id));
    let (passwd, old) = (top(&fixture, &small).join("etc/passwd"), top(&fixture, &full));
    assert_eq!(passwd.metadata().unwrap().mtime(), 1_700_000_000);
    assert!(!old.join("etc/passwd").exists(), "the squashed one is as it was");
    // What was made is a layer like any other: it can be saved.
    fixture.images.save(&["app:small".into()], None, std::io::sink()).unwrap();
}

#[test]
fn hard_links_stay_links_and_content_is_copied() {
    let fixture = Fixture::new();
    let full = image(&fixture, "app", &[base(), Tar::new().file("x", b"x").end()]);
    let small = fixture.images.squash(&full, Squash::default()).unwrap();
    let folder = top(&fixture, &small);
    let inode = |name: &str| folder.join(name).metadata().unwrap().ino();
    assert_eq!(inode("opt/a"), inode("opt/also-a"));
    assert_eq!(std::fs::read(folder.join("opt/a")).unwrap(), [1; 1000]);
    assert_eq!(small.size, full.size);
}

#[test]
fn squashed_onto_its_base_it_hides_what_it_hid() {
    let fixture = Fixture::new();
    let onto = image(&fixture, "base", &[base()]);
    let full = image(&fixture, "app", &[base(), second(), third()]);
    let squash = Squash { onto: Some(onto.clone()), comment: "less".into(), ..Squash::default() };
    let small = fixture.images.squash(&full, squash).unwrap();
    assert_eq!(small.layers.len(), 2);
    assert_eq!(small.layers[0], onto.layers[0]);
    assert_eq!(small.parent.as_ref(), Some(&onto.id));
    assert_eq!(fixture.images.diff(&full, &small).unwrap(), []);
    assert_eq!(small.config.history.last().unwrap().comment, "less");
    assert!(!small.config.history[0].empty_layer, "the base's own step has its layer");
    let other = image(&fixture, "other", &[second()]);
    let refused = fixture.images.squash(&full, Squash { onto: Some(other), ..Squash::default() });
    assert!(refused.unwrap_err().to_string().contains("its lowest layers are not those of"));
    let layers = fixture.images.store().layers().list().unwrap().len();
    assert_eq!(layers, 4, "nothing stays of what was refused");
}

#[test]
fn a_folder_made_anew_hides_the_old_one() {
    let fixture = Fixture::new();
    let below = Tar::new().folder("d").file("d/old", b"1").end();
    let onto = image(&fixture, "below", std::slice::from_ref(&below));
    let removed = Tar::new().file(".wh.d", b"").end();
    let anew = Tar::new().folder("d").file("d/new", b"2").end();
    let full = image(&fixture, "full", &[below, removed, anew]);
    let small = fixture.images.squash(&full, Squash { onto: Some(onto), ..Squash::default() }).unwrap();
    let names: Vec<String> = seen(&fixture, &small).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["", "d", "d/new"]);
}

#[test]
fn nothing_is_hidden_that_is_not_there() {
    let fixture = Fixture::new();
    let below = Tar::new().file("kept", b"1").end();
    let onto = image(&fixture, "below", std::slice::from_ref(&below));
    let made = Tar::new().folder("d").file("d/a", b"1").file("d/b", b"2").end();
    let removed = Tar::new().file("d/.wh.a", b"").end();
    let full = image(&fixture, "full", &[below, made, removed]);
    let small = fixture.images.squash(&full, Squash { onto: Some(onto), ..Squash::default() }).unwrap();
    let left: Vec<_> = std::fs::read_dir(top(&fixture, &small).join("d")).unwrap().collect();
    assert_eq!(left.len(), 1, "a whiteout in a folder of one layer would be listed");
}

#[test]
fn folders_in_folders_do_not_use_up_the_stack() {
    let fixture = Fixture::new();
    let name = format!("{}f", "d/".repeat(2000));
    let tar = Tar::new().pax(&[("path", name.as_bytes())]).file("f", b"x").end();
    let image = image(&fixture, "deep", &[tar]);
    let walks = || {
        let tree = fixture.images.tree(&image).unwrap();
        let mut seen = 0;
        let rootfs = fixture.images.rootfs(&image).unwrap();
        let walked = rootfs.walk(&mut |_| {
            seen += 1;
            Ok(())
        });
        walked.unwrap();
        (tree.layers[0].files, seen)
    };
    let found = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(512 << 10);
        thread.spawn_scoped(scope, walks).unwrap().join().unwrap()
    });
    assert_eq!(found, (2001, 2001));
}
