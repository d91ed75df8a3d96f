use super::*;
use crate::named::{ContextSource, Contexts, NamedContextError};

#[test]
fn only_needed_stages_run_and_independent_ones_at_once() {
    let world = World::new();
    let outcome = world.build(
        "FROM base AS a\nRUN sleep 200; write a A\nFROM base AS b\nRUN sleep 200; write b B\nFROM base AS unused\n\
         RUN exit 1\nFROM scratch\nCOPY --from=a /a /\nCOPY --from=1 /b /copy\n",
        &[],
    );
    let image = outcome.image();
    assert_eq!(world.read(image, "a").as_deref(), Some("A"));
    assert_eq!(world.read(image, "copy").as_deref(), Some("B"));
    assert_eq!(image.layers.len(), 2);
    assert_eq!(world.runner.most_at_once.load(Ordering::SeqCst), 2);
    assert!(outcome.text.starts_with("Step 1/7 : FROM base AS a\n"));
    let steps: Vec<&str> = outcome.text.lines().filter(|line| line.starts_with("Step")).collect();
    assert_eq!(steps.len(), 7, "{steps:?}");
    assert!(steps.is_sorted(), "{steps:?}");
}

#[test]
fn a_stage_can_begin_with_another() {
    let world = World::new();
    let outcome = world.build(
        "FROM base AS one\nENV A=1\nRUN write x 1\nFROM one AS two\nRUN write y $A\nFROM TWO\nCMD [\"c\"]\n",
        &[],
    );
    let image = outcome.image();
    assert_eq!(world.read(image, "x").as_deref(), Some("1"));
    assert_eq!(image.layers.len(), 3);
    assert!(outcome.config().env.expect("env").contains(&"A=1".to_owned()));
    assert_eq!(outcome.history().len(), 4);
}

#[test]
fn the_target_stops_the_build_there() {
    let world = World::new();
    let text = "FROM base AS one\nRUN write x 1\nFROM one AS two\nRUN exit 1\n";
    let outcome = world.build_with(text, &[], |request| request.target = "One".to_owned());
    assert_eq!(outcome.ran, ["write x 1"]);
    outcome.image();
    let outcome = world.build_with(text, &[], |request| request.target = "none".to_owned());
    assert_eq!(outcome.error(), "target stage \"none\" could not be found (did you mean one?)");
}

#[test]
fn arguments_of_a_stage_are_those_of_what_begins_with_it() {
    let world = World::new();
    let text = "FROM base AS one\nARG WHAT=x\nFROM one\nLABEL what=$WHAT\nFROM base\nLABEL what=$WHAT\n";
    let outcome = world.build_with(text, &[], |request| request.target = "1".to_owned());
    assert_eq!(outcome.config().labels.expect("labels")["what"], "x");
    assert_eq!(world.build(text, &[]).config().labels.expect("labels")["what"], "");
}

/// A client with one directory.
struct Client(std::path::PathBuf);

impl ContextSource for Client {
    fn directory(&self, name: &str, shown: &str, _: &Cancel) -> Result<ContextDir, NamedContextError> {
        if name != "dir" {
            return Err(NamedContextError::NoDirectory(shown.to_owned()));
        }
        let context = ContextDir::create(&self.0).expect("context");
        std::fs::write(context.path().join("file"), "of the context").expect("file");
        Ok(context)
    }
}

#[test]
fn a_named_context_takes_the_place_of_what_has_its_name() {
    let world = World::new();
    let named = |text: &str, contexts: &[(&str, &str)]| {
        let contexts = contexts.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let source: Arc<dyn ContextSource> = Arc::new(Client(world.builder.context_parent()));
        let contexts = Contexts::new(contexts.collect(), Some(source));
        world.build_with(text, &[], |request| request.contexts = contexts)
    };
    // Instead of a stage, an image, and what both lack.
    for text in [
        "FROM base AS there\nRUN exit 1\nFROM scratch\nCOPY --from=there file /f\n",
        "FROM scratch\nCOPY --from=there:latest file /f\n",
        "FROM there\nCOPY --from=there file /f\n",
    ] {
        let outcome = named(text, &[("there", "local:dir")]);
        assert_eq!(world.read(outcome.image(), "f").as_deref(), Some("of the context"), "{text}");
    }
    let outcome =
        named("FROM other\nCOPY --from=other /etc/passwd /p\n", &[("other", "docker-image://base")]);
    assert!(world.read(outcome.image(), "p").expect("copied").contains("node"));
    let error = |value: &str| named("FROM x\nCOPY a /\n", &[("x", value)]).error();
    assert_eq!(error("local:nowhere"), "context x: the client offers no directory of this name");
    assert_eq!(error("zip://a"), "unsupported context source zip for x");
    assert_eq!(error("nonsense"), "invalid context specifier nonsense for x");
    assert_eq!(world.left_over(), Vec::<String>::new());
}

#[test]
fn a_failure_in_one_stage_stops_the_others() {
    let world = World::new();
    let outcome = world
        .build("FROM base AS a\nRUN hang\nFROM base AS b\nRUN exit 7\nFROM a\nCOPY --from=b /x /\n", &[]);
    assert_eq!(outcome.error(), "The command '/bin/sh -c exit 7' returned a non-zero code: 7");
    assert_eq!(world.left_over(), Vec::<String>::new());
}

#[test]
fn files_come_from_images_too_and_bad_names_are_errors() {
    let world = World::new();
    let outcome = world.build("FROM scratch\nCOPY --from=base /etc/passwd /\n", &[]);
    assert!(world.read(outcome.image(), "passwd").expect("copied").contains("node"));
    let error = |from: &str| world.build(&format!("FROM base AS a\nCOPY --from={from} /x /\n"), &[]).error();
    assert_eq!(error("0"), "circular dependency detected on stage: a");
    assert_eq!(error("5"), "invalid stage index 5");
    assert_eq!(error("ghost"), "No such image: ghost:latest");
    let outcome = world.build("FROM base AS a\nFROM base\nCOPY --from=a /nothing /\n", &[]);
    assert_eq!(outcome.error(), "COPY failed: stat nothing: file does not exist");
}

#[test]
fn copies_from_stages_are_found_in_the_cache_without_reading() {
    let world = World::new();
    let text = "FROM base AS a\nRUN write f 1\nFROM base\nCOPY --from=a /f /g\nRUN one\n";
    let first = world.build(text, &[]);
    let second = world.build(text, &[]);
    assert_eq!(first.image().id, second.image().id);
    assert!(second.ran.is_empty());
    // Another way to the same file: the copy is the same.
    let other = text.replace("write f 1", "nothing; write f 1");
    let third = world.build(&other, &[]);
    assert_eq!(third.ran, ["nothing; write f 1"]);
    assert_eq!(first.image().id, third.image().id);
}
