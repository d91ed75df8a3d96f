use super::*;
use crate::{CachePrune, CacheRecord};

/// Builds twice; gives which commands the second build ran.
fn ran_again(first: (&str, &[(&str, &str)]), second: (&str, &[(&str, &str)])) -> Vec<String> {
    let world = World::new();
    world.build(first.0, first.1).image();
    let outcome = world.build(second.0, second.1);
    outcome.image();
    outcome.ran
}

const STEPS: &str = "FROM base\nARG V=1\nENV E=1\nCOPY f /f\nRUN one\nLABEL l=1\nRUN two\n";

#[test]
fn the_same_build_runs_nothing_and_gives_the_same_image() {
    let world = World::new();
    let first = world.build(STEPS, &[("f", "x")]);
    let second = world.build(STEPS, &[("f", "x")]);
    assert_eq!(first.image().id, second.image().id);
    assert!(second.ran.is_empty());
    assert_eq!(second.text.matches(" ---> Using cache\n").count(), 6);
    assert!(!second.text.contains("Running in"));
}

#[test]
fn what_changes_invalidates_what_follows() {
    let file: &[(&str, &str)] = &[("f", "x")];
    let changed = |from: &str, to: &str| ran_again((STEPS, file), (&STEPS.replace(from, to), file));
    assert_eq!(changed("RUN one", "RUN uno"), ["uno", "two"]);
    assert_eq!(changed("RUN two", "RUN due"), ["due"]);
    assert_eq!(changed("ENV E=1", "ENV E=2"), ["one", "two"]);
    assert_eq!(changed("ARG V=1", "ARG V=2"), ["one", "two"]);
    assert_eq!(changed("/f\n", "/g\n"), ["one", "two"]);
    assert_eq!(changed("LABEL l=1", "LABEL l=2"), Vec::<String>::new(), "a label changes no files");
    assert_eq!(changed("RUN one\n", "USER node\nRUN one\n"), ["one", "two"]);
    assert_eq!(ran_again((STEPS, file), (STEPS, &[("f", "y")])), ["one", "two"]);
    assert_eq!(ran_again((STEPS, file), (STEPS, &[("f", "x"), ("other", "y")])), Vec::<String>::new());
}

#[test]
fn an_argument_counts_from_where_it_is_declared() {
    let world = World::new();
    let text = "FROM base\nRUN before\nARG V\nRUN after\n";
    let with = |value: &str| {
        world.build_with(text, &[], |request| {
            request.build_args.insert("V".to_owned(), Some(value.to_owned()));
            request.build_args.insert("http_proxy".to_owned(), Some(value.to_owned()));
        })
    };
    assert_eq!(with("1").ran, ["before", "after"]);
    assert_eq!(with("2").ran, ["after"]);
    assert!(with("1").ran.is_empty());
}

#[test]
fn a_step_that_wrote_nothing_still_invalidates_what_follows() {
    let first = "FROM base\nARG BUST=1\nRUN echo $BUST\nRUN fetch\n";
    let second = first.replace("BUST=1", "BUST=2");
    assert_eq!(ran_again((first, &[]), (&second, &[])), ["echo $BUST", "fetch"]);
}

#[test]
fn files_are_compared_by_content_mode_and_name_but_not_by_time() {
    let text = "FROM base\nCOPY . /all/\nRUN one\n";
    let world = World::new();
    let build = |adjust: &dyn Fn(&Path)| {
        let outcome = world.build_with(text, &[("a", "1"), ("d/b", "2")], |request| {
            adjust(request.context.as_ref().expect("context").path());
        });
        outcome.image();
        outcome.ran.len()
    };
    assert_eq!(build(&|_| {}), 1);
    let old = std::time::SystemTime::UNIX_EPOCH;
    assert_eq!(
        build(&|dir| std::fs::File::open(dir.join("a")).and_then(|f| f.set_modified(old)).expect("time")),
        0
    );
    use std::os::unix::fs::PermissionsExt;
    let executable = std::fs::Permissions::from_mode(0o755);
    assert_eq!(build(&|dir| std::fs::set_permissions(dir.join("a"), executable.clone()).expect("mode")), 1);
    assert_eq!(build(&|dir| std::fs::rename(dir.join("d/b"), dir.join("d/c")).expect("renamed")), 1);
    assert_eq!(build(&|dir| std::os::unix::fs::symlink("a", dir.join("l")).expect("link")), 1);
    assert_eq!(build(&|_| {}), 0);
}

#[test]
fn no_cache_repeats_everything_and_records_it() {
    let world = World::new();
    let first = world.build(STEPS, &[("f", "x")]);
    let second = world.build_with(STEPS, &[("f", "x")], |request| request.no_cache = true);
    assert_eq!(second.ran, ["one", "two"]);
    assert!(!second.text.contains("Using cache"));
    assert_ne!(first.image().id, second.image().id, "made at another time");
    let third = world.build(STEPS, &[("f", "x")]);
    assert_eq!(third.image().id, second.image().id);
}

#[test]
fn a_remote_file_is_compared_by_content() {
    let world = World::new();
    let text = "FROM base\nADD https://example.com/a/file.txt /dir/\nRUN one\n";
    let first = world.build(text, &[]);
    assert_eq!(world.read(first.image(), "dir/file.txt").as_deref(), Some("remote"));
    assert_eq!(world.stat(first.image(), "dir/file.txt").st_mode & 0o7777, 0o600);
    assert_eq!(world.stat(first.image(), "dir/file.txt").st_mtime, 1_000_000_000);
    assert!(world.build(text, &[]).ran.is_empty());
    "changed".clone_into(&mut world.remote.0.lock().expect("lock"));
    assert_eq!(world.build(text, &[]).ran, ["one"]);
}

/// What the cache holds once no build uses it: one that found everything there is counted a moment after its end.
fn records_at_rest(world: &World) -> Vec<CacheRecord> {
    let mut records = world.builder.cache_records().expect("records");
    for _ in 0..3000 {
        if records.iter().all(|record| !record.in_use) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
        records = world.builder.cache_records().expect("records");
    }
    records
}

#[test]
fn the_cache_survives_the_builder_and_can_be_emptied() {
    let world = World::new();
    let first = world.build(STEPS, &[("f", "x")]);
    let bases = Arc::new(Bases { images: world.images.clone() });
    let another = Builder::new(world.images.clone(), world.runner.clone(), bases, world.remote.clone());
    let world = World { builder: another, ..world };
    assert_eq!(world.build(STEPS, &[("f", "x")]).image().id, first.image().id);
    let records = records_at_rest(&world);
    assert!(records.iter().all(|record| record.shared && !record.in_use), "{records:?}");
    assert!(records.iter().any(|record| record.description.contains("COPY")));
    let pruned = world.builder.prune_cache(&CachePrune::default()).expect("pruned");
    assert_eq!(pruned.ids, Vec::<String>::new(), "the image has all of it");
    assert!(world.build(STEPS, &[("f", "x")]).ran.is_empty());
    records_at_rest(&world);
    let all = CachePrune { all: true, ..CachePrune::default() };
    let pruned = world.builder.prune_cache(&all).expect("pruned");
    assert_eq!((pruned.ids.len(), pruned.bytes), (records.len(), 0));
    assert_eq!(world.builder.cache_records().expect("records"), []);
    assert_eq!(world.build(STEPS, &[("f", "x")]).ran, ["one", "two"]);
}

#[test]
fn the_same_step_in_two_builds_runs_once() {
    let world = World::new();
    let text = "FROM base\nRUN sleep 100; write a b\n";
    let ids: Vec<_> = std::thread::scope(|scope| {
        let build = || {
            let request = BuildRequest {
                dockerfile: DockerfileSource::Text { name: "Dockerfile".into(), text: text.into() },
                ..BuildRequest::default()
            };
            world.builder.build(request, &|_: BuildEvent| {}).expect("built").image
        };
        let builds: Vec<_> = (0..4).map(|_| scope.spawn(build)).collect();
        builds.into_iter().map(|build| build.join().expect("thread")).collect()
    });
    assert_eq!(world.runner.ran.lock().expect("lock").len(), 1);
    assert!(ids.iter().all(|id| *id == ids[0]));
}

#[test]
fn what_no_image_has_is_freed_and_what_a_build_uses_is_not() {
    let world = World::new();
    let cache = "FROM base\nRUN write a b\n";
    let image = world.build(cache, &[]).image().id.to_string();
    let nobody = |_: &dray_spec::Digest| Vec::new();
    world.images.remove(&image, true, true, &nobody).expect("removed");
    let layers = || world.images.store().layers().list().expect("layers").len();
    let before = layers();
    let records = world.builder.cache_records().expect("records");
    let [record] = &records[..] else { panic!("{records:?}") };
    assert!(!record.shared && record.size > 0 && record.uses == 1, "{record:?}");
    // Another build has found it and goes on.
    let used = crate::cache::Used::default();
    let cache = &world.builder.cache;
    let (id, entry) =
        cache.entries().expect("entries").into_iter().find(|(_, e)| e.layer.is_some()).expect("one");
    let bytes: [u8; 32] = hex::decode(id).expect("hex").try_into().expect("a key");
    cache.used(&used, &crate::cache::Key(bytes), &entry, "RUN", None);
    assert!(world.builder.cache_records().expect("records")[0].in_use);
    assert!(world.builder.prune_cache(&CachePrune::default()).expect("pruned").ids.is_empty());
    drop(used);
    let pruned = world.builder.prune_cache(&CachePrune::default()).expect("pruned");
    assert_eq!((pruned.ids, pruned.bytes), (vec![record.id.clone()], record.size));
    assert_eq!(layers(), before - 1, "its layer went at once");
}

#[test]
fn a_stage_can_be_carried_out_anew_with_what_is_upon_it() {
    let world = World::new();
    let dockerfile = "FROM base AS one\nRUN write /a 1\nFROM one AS two\nRUN write /b 2\n\
                      FROM base AS three\nRUN write /c 3\n\
                      FROM base AS four\nCOPY --from=three /c /c\nRUN write /d 4\n\
                      FROM base\nCOPY --from=two /b /b\nRUN --mount=from=three,target=/m write /e 5\n\
                      COPY --from=four /d /d\n";
    let ran = |stages: &[&str]| {
        let stages: Vec<String> = stages.iter().map(|stage| (*stage).to_owned()).collect();
        let outcome = world.build_with(dockerfile, &[], |request| request.no_cache_stages = stages);
        outcome.image();
        let mut ran = outcome.ran;
        ran.sort();
        ran
    };
    assert_eq!(ran(&[]).len(), 5);
    assert_eq!(ran(&[]), Vec::<String>::new());
    // What is copied has the same content, so that what follows is known.
    assert_eq!(ran(&["ONE"]), ["write /a 1", "write /b 2"]);
    assert_eq!(ran(&["two"]), ["write /b 2"]);
    assert_eq!(ran(&["three"]), ["write /c 3", "write /e 5"]);
    assert_eq!(ran(&["four", "nosuch"]), ["write /d 4"]);
    assert_eq!(ran(&[]), Vec::<String>::new());
}
