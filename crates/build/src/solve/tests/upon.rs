//! Copies of large folders upon earlier ones: as if everything had been copied, in a layer that has only what differs.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use dray_store::Layer;
use rustix::fs::{FileType, Timespec, Timestamps};

use super::*;

/// Enough files for a comparison.
const FILES: usize = 520;
const DOCKERFILE: &str = "FROM base\nCOPY . /data/app\n";

/// What a file is in an image: mode, owner, time, and content or target.
type Shown = (u32, (u32, u32), i64, Vec<u8>);

/// A folder of sources, changed by and by.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        let folder = Folder(tempfile::tempdir().expect("temp dir"));
        for n in 0..FILES {
            folder.write(&format!("d{}/f{n}", n % 20), &format!("content {n}"));
        }
        std::os::unix::fs::symlink("d1/f1", folder.at("link")).expect("link");
        folder
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, content: &str) {
        let at = self.at(path);
        std::fs::create_dir_all(at.parent().expect("parent")).expect("dirs");
        std::fs::write(at, content).expect("file");
    }

    /// Copies it into a context, times and all.
    fn fill(&self, context: &Path) {
        let status = std::process::Command::new("cp").arg("-a").arg(self.at(".")).arg(context).status();
        assert!(status.expect("cp").success());
    }
}

impl World {
    fn copied(&self, dockerfile: &str, folder: &Folder, adjust: impl FnOnce(&mut BuildRequest)) -> Outcome {
        self.build_with(dockerfile, &[], |request| {
            folder.fill(request.context.as_ref().expect("context").path());
            adjust(request);
        })
    }

    /// The image's last layer.
    fn top(&self, image: &Image) -> Layer {
        self.images.store().layers().get(*image.layers.last().expect("layers")).expect("layer")
    }

    /// All files of an image, by path.
    fn all(&self, image: &Image) -> BTreeMap<Vec<u8>, Shown> {
        let rootfs = self.images.rootfs(image).expect("rootfs");
        let tree = self.view(image);
        let mut all = BTreeMap::new();
        let mut visit = |entry: dray_image::export::RootfsEntry| {
            let content = match FileType::from_raw_mode(entry.stat.st_mode) {
                FileType::RegularFile => tree.read(&entry.path, 1 << 20)?,
                _ => entry.target.clone(),
            };
            let stat = entry.stat;
            // What RUN has written has the time of its build.
            let time = match content.as_slice() {
                b"below" | b"../real" => 0,
                _ => stat.st_mtime * 1_000_000_000 + stat.st_mtime_nsec as i64,
            };
            let shown = (stat.st_mode, (stat.st_uid, stat.st_gid), time, content);
            all.insert(entry.path.as_os_str().as_bytes().to_vec(), shown);
            Ok(())
        };
        rootfs.walk(&mut visit).expect("walk");
        all
    }

    /// Builds with what was copied before, and in a world where nothing was: the same must come out. Gives the layer.
    fn same_as_whole(&self, dockerfile: &str, folder: &Folder) -> Layer {
        let outcome = self.copied(dockerfile, folder, |_| {});
        let whole = World::new();
        let other = whole.copied(dockerfile, folder, |_| {});
        let (mut found, mut expected) = (self.all(outcome.image()), whole.all(other.image()));
        // The folder that is copied into has the time of the build, those that hold it too.
        for at in ["data/app", "data", "", "etc"] {
            for all in [&mut found, &mut expected] {
                all.entry(at.into()).and_modify(|shown| shown.2 = 0);
            }
        }
        let of_base =
            |path: &Vec<u8>, _: &mut Shown| !path.starts_with(b"etc") && path != b"old" && path != b"link";
        found.retain(of_base);
        expected.retain(of_base);
        assert!(found == expected, "{}", differences(&found, &expected));
        let (layer, whole_layer) = (self.top(outcome.image()), whole.top(other.image()));
        assert_eq!(layer.size, whole_layer.size);
        assert_eq!(whole_layer.base, None);
        layer
    }
}

fn differences(found: &BTreeMap<Vec<u8>, Shown>, expected: &BTreeMap<Vec<u8>, Shown>) -> String {
    let paths = found.keys().chain(expected.keys()).filter(|path| found.get(*path) != expected.get(*path));
    let line = |path: &Vec<u8>| {
        format!("{}: {:?} {:?}\n", String::from_utf8_lossy(path), found.get(path), expected.get(path))
    };
    paths.take(10).map(line).collect()
}

#[test]
fn a_changed_folder_becomes_a_layer_of_what_has_changed() {
    let (world, folder) = (World::new(), Folder::new());
    let first = world.copied(DOCKERFILE, &folder, |_| {});
    let base = world.top(first.image());
    assert_eq!(base.base, None);

    folder.write("d3/f3", "changed");
    folder.write("d3/new", "new");
    folder.write("other/deep/new", "new");
    std::fs::remove_file(folder.at("d7/f7")).expect("removed");
    std::fs::remove_dir_all(folder.at("d9")).expect("removed");
    std::fs::remove_file(folder.at("link")).expect("removed");
    std::os::unix::fs::symlink("elsewhere", folder.at("link")).expect("link");
    let layer = world.same_as_whole(DOCKERFILE, &folder);
    assert_eq!((layer.base, layer.own), (Some(base.id), "changed".len() as u64 + 6));

    // What comes later lies upon the same one: what came between does not stay.
    folder.write("d3/f3", "content 3");
    folder.write("d7/f7", "content 7 is back");
    std::fs::remove_dir_all(folder.at("other")).expect("removed");
    let layer = world.same_as_whole(DOCKERFILE, &folder);
    assert_eq!(layer.base, Some(base.id));
}

#[test]
fn what_the_layers_below_have_is_seen_again() {
    let world = World::new();
    let folder = Folder::new();
    let dockerfile =
        "FROM base\nRUN write /data/app/d1/f1 below;write /data/app/d2/own below\nCOPY . /data/app\n";
    world.copied(dockerfile, &folder, |_| {});
    std::fs::remove_file(folder.at("d2/f2")).expect("removed");
    assert!(world.same_as_whole(dockerfile, &folder).base.is_some());
    std::fs::remove_file(folder.at("d1/f1")).expect("removed");
    let layer = world.same_as_whole(dockerfile, &folder);
    assert_eq!(layer.base, None, "a whiteout would hide the file below");
    std::fs::remove_dir_all(folder.at("d2")).expect("removed");
    let outcome = world.copied(dockerfile, &folder, |_| {});
    assert_eq!(world.top(outcome.image()).base, None);
    assert_eq!(world.read(outcome.image(), "data/app/d2/own").as_deref(), Some("below"));
}

/// A Dockerfile, and what changes before it is built again.
type Case = (&'static str, fn(&Folder));

#[test]
fn what_cannot_be_compared_is_copied_as_a_whole() {
    let cases: [Case; 4] = [
        (DOCKERFILE, |folder| {
            for n in 0..FILES / 3 {
                folder.write(&format!("d{}/f{n}", n % 20), "much has changed");
            }
        }),
        (DOCKERFILE, |folder| {
            std::fs::remove_dir_all(folder.at("d5")).expect("removed");
            folder.write("d5", "a file now");
        }),
        (DOCKERFILE, |folder| {
            std::fs::hard_link(folder.at("d1/f1"), folder.at("d1/again")).expect("linked");
        }),
        ("FROM base\nCOPY --exclude=d3 . /data/app\n", |folder| folder.write("d4/f4", "x")),
    ];
    for (n, (dockerfile, change)) in cases.into_iter().enumerate() {
        let (world, folder) = (World::new(), Folder::new());
        world.copied(dockerfile, &folder, |_| {});
        change(&folder);
        assert_eq!(world.same_as_whole(dockerfile, &folder).base, None, "case {n}");
    }
}

#[test]
fn a_copy_that_was_led_elsewhere_is_none_to_lie_upon() {
    let (world, folder) = (World::new(), Folder::new());
    let dockerfile =
        "FROM base\nRUN write /data/real/x below\nRUN link /data/app/d1 ../real\nCOPY . /data/app\n";
    let first = world.copied(dockerfile, &folder, |_| {});
    assert_eq!(world.read(first.image(), "data/real/f1").as_deref(), Some("content 1"));
    folder.write("d2/f2", "changed");
    assert_eq!(world.same_as_whole(dockerfile, &folder).base, None);
}

#[test]
fn other_instructions_and_other_files_below_have_copies_of_their_own() {
    let (world, folder) = (World::new(), Folder::new());
    let first = world.copied(DOCKERFILE, &folder, |_| {});
    folder.write("d2/f2", "changed");
    for dockerfile in [
        "FROM base\nCOPY --chown=7:8 . /data/app\n",
        "FROM base\nCOPY --chmod=600 . /data/app\n",
        "FROM base\nCOPY . /data/elsewhere\n",
        "FROM base\nRUN write /below x\nCOPY . /data/app\n",
    ] {
        let outcome = world.copied(dockerfile, &folder, |_| {});
        assert_eq!(world.top(outcome.image()).base, None, "{dockerfile}");
    }
    // Without the cache everything is made anew, which others may lie upon then.
    let anew = world.copied(DOCKERFILE, &folder, |request| request.no_cache = true);
    assert_eq!(world.top(anew.image()).base, None);
    folder.write("d2/f2", "changed again");
    let layer = world.same_as_whole(DOCKERFILE, &folder);
    assert!(layer.base.is_some_and(|base| base > world.top(first.image()).id));
    let linked = "FROM base\nCOPY --link . /data/app\n";
    world.copied(linked, &folder, |_| {});
    folder.write("d2/f2", "changed");
    assert!(world.same_as_whole(linked, &folder).base.is_some());
}

#[test]
fn reproducible_builds_give_the_same_upon_an_earlier_copy() {
    let (world, folder) = (World::new(), Folder::new());
    let epoch = |request: &mut BuildRequest| {
        request.build_args.insert("SOURCE_DATE_EPOCH".into(), Some("1700000000".into()));
    };
    world.copied(DOCKERFILE, &folder, epoch);
    folder.write("d3/f3", "changed");
    std::fs::remove_file(folder.at("d7/f7")).expect("removed");
    // A checkout sets all times anew.
    let now = Timespec { tv_sec: 1_600_000_000, tv_nsec: 5 };
    let times = Timestamps { last_access: now, last_modification: now };
    for n in 0..FILES {
        let path = folder.at(&format!("d{}/f{n}", n % 20));
        if path.exists() {
            let flags = rustix::fs::AtFlags::empty();
            rustix::fs::utimensat(rustix::fs::CWD, &path, &times, flags).expect("times");
        }
    }
    let upon = world.copied(DOCKERFILE, &folder, epoch);
    let other = World::new();
    let whole = other.copied(DOCKERFILE, &folder, epoch);
    let ids = |image: &Image| image.config.rootfs.diff_ids.last().cloned();
    assert_eq!(ids(upon.image()), ids(whole.image()));
    assert!(world.top(upon.image()).base.is_some());
}

#[test]
fn an_image_has_no_more_folders_than_an_overlay_takes() {
    let (world, folder) = (World::new(), Folder::new());
    // Linked: what is below has changed too, and only such copies are compared all the same.
    let copies: String = (0..10).map(|n| format!("COPY --link . /data/{n}\n")).collect();
    let upon = || {
        let outcome = world.copied(&format!("FROM base\n{copies}"), &folder, |_| {});
        let layers = world.images.store().layers();
        outcome.image().layers.iter().filter(|layer| layers.base(**layer).is_some()).count()
    };
    assert_eq!(upon(), 0);
    folder.write("d3/f3", "changed");
    assert_eq!(upon(), 8);
}

/// Removes, changes and adds at random, many times.
#[test]
fn whatever_changes_comes_out_as_if_all_had_been_copied() {
    let (world, folder) = (World::new(), Folder::new());
    world.copied(DOCKERFILE, &folder, |_| {});
    let mut seed = 7_u64;
    let mut random = move |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    let mut upon = 0;
    for round in 0..8 {
        for _ in 0..12 {
            let n = random(FILES);
            let file = format!("d{}/f{n}", n % 20);
            match random(6) {
                0 => drop(std::fs::remove_file(folder.at(&file))),
                1 => folder.write(&file, &format!("round {round}")),
                2 => folder.write(&format!("new{}/n{}", random(3), random(9)), "new"),
                3 => drop(std::fs::remove_dir_all(folder.at(&format!("new{}", random(3))))),
                4 => {
                    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o640 + random(8) as u32);
                    drop(std::fs::set_permissions(folder.at(&file), mode));
                }
                _ => {
                    drop(std::fs::remove_file(folder.at(&file)));
                    drop(std::os::unix::fs::symlink(format!("to{round}"), folder.at(&file)));
                }
            }
        }
        upon += usize::from(world.same_as_whole(DOCKERFILE, &folder).base.is_some());
    }
    assert!(upon > 4, "only {upon} of 8 lay upon an earlier copy");
}

#[test]
fn what_is_known_of_copies_goes_with_their_layers() {
    let (world, folder) = (World::new(), Folder::new());
    let first = world.copied(DOCKERFILE, &folder, |_| {});
    folder.write("d3/f3", "changed");
    let second = world.copied(DOCKERFILE, &folder, |_| {});
    let listings = || std::fs::read_dir(world.dir.path().join("build/copied")).expect("folder").count();
    assert_eq!(listings(), 1);
    let base = world.top(first.image()).id;
    let remove = |outcome: &Outcome| {
        world.images.store().images().delete(&outcome.image().id).expect("deleted");
        world.builder.prune_cache(&crate::CachePrune { all: true, ..Default::default() }).expect("pruned")
    };
    remove(&first);
    assert!(world.images.store().layers().get(base).is_ok(), "the second image lies upon it");
    assert_eq!(listings(), 1);
    remove(&second);
    assert!(world.images.store().layers().get(base).is_err());
    assert_eq!(listings(), 0);
    assert_eq!(world.left_over(), Vec::<String>::new());
}
