use dray_spec::Platform;

use super::*;
use crate::event::PlannedStage;

/// A build for this machine's platform and for another one.
fn build_both(world: &World, text: &str) -> (Result<Vec<crate::Built>, BuildError>, Vec<BuildEvent>) {
    let events = Mutex::new(Vec::new());
    let request = BuildRequest {
        context: Some(world.context(&[("x", "x")])),
        dockerfile: DockerfileSource::Text { name: "Dockerfile".into(), text: text.into() },
        ..BuildRequest::default()
    };
    let platforms = [Platform::host(), Platform::new("linux", "s390x", None)];
    let listener = |event: BuildEvent| events.lock().expect("lock").push(event);
    let built = world.builder.build_platforms(request, &platforms, &listener);
    (built, events.into_inner().expect("lock"))
}

fn planned(events: &[BuildEvent]) -> Vec<PlannedStage> {
    let plans = events.iter().filter_map(|event| match event {
        BuildEvent::Plan { stages, .. } => Some(stages.clone()),
        _ => None,
    });
    let plans: Vec<_> = plans.collect();
    assert_eq!(plans.len(), 1, "one plan of all");
    plans.concat()
}

#[test]
fn platforms_are_one_build_and_share_what_does_not_depend_on_them() {
    let world = World::new();
    let text = "ARG X=1\nFROM --platform=$BUILDPLATFORM base AS tool\nRUN write t x\nARG TARGETARCH\nRUN env; write u x\n\
                FROM scratch\nARG TARGETARCH\nLABEL arch=$TARGETARCH\nCOPY --from=tool /t /u /\n";
    let (built, events) = build_both(&world, text);
    let built = built.expect("built");
    let host = Platform::host();
    for (built, platform) in built.iter().zip([host.architecture.as_str(), "s390x"]) {
        assert_eq!(built.content.config.architecture, platform);
        assert_eq!(built.content.config.labels().expect("labels")["arch"], platform);
        assert_eq!(built.content.layers.len(), 1);
    }
    assert_eq!(built[0].content.layers, built[1].content.layers, "the same files are one layer");
    let ran = world.runner.ran.lock().expect("lock").clone();
    assert_eq!(ran.iter().filter(|command| *command == "write t x").count(), 1, "{ran:?}");
    assert_eq!(ran.iter().filter(|command| command.starts_with("env")).count(), 2, "{ran:?}");
    let stages = planned(&events);
    assert_eq!(
        stages.iter().map(|stage| stage.steps).collect::<Vec<_>>(),
        [(2, 6), (6, 10), (10, 14), (14, 18)]
    );
    let crossing = format!("{host}->s390x");
    let host = host.to_string();
    assert_eq!(stages[0].platforms, [&host; 4].map(String::clone));
    assert_eq!(stages[2].platforms, [&host, &host, &crossing, &crossing].map(String::clone));
    assert_eq!(stages[3].platforms, ["linux/s390x"; 4]);
    let begun = |stage: &str| {
        let is = |event: &&BuildEvent| matches!(event, BuildEvent::Step { stage: of, .. } if of == stage);
        events.iter().filter(is).count()
    };
    assert_eq!((begun(&format!("{crossing} tool")), begun("linux/s390x"), begun("")), (2, 4, 1));
    let built_events = events.iter().filter(|event| matches!(event, BuildEvent::Built { .. })).count();
    assert_eq!(built_events, 0);
    assert!(world.left_over().is_empty(), "{:?}", world.left_over());
}

#[test]
fn steps_are_cached_by_their_platform() {
    let world = World::new();
    let (built, _) = build_both(&world, "FROM scratch\nCOPY x /\nRUN write y 1\n");
    built.expect("built");
    assert_eq!(world.runner.ran.lock().expect("lock").len(), 2, "the same files, but other programs");
}

#[test]
fn the_first_failure_ends_all() {
    let world = World::new();
    let text = "FROM base\nARG TARGETARCH\nLABEL a=$TARGETARCH\nRUN env; exit 3\n";
    let (built, events) = build_both(&world, text);
    let error = built.expect_err("fails");
    assert!(matches!(error.cause(), BuildError::Command { code: 3, .. }), "{error}");
    assert!(events.iter().any(|event| matches!(event, BuildEvent::StepFailed { .. })));
    assert!(world.left_over().is_empty(), "{:?}", world.left_over());
    let (built, events) = build_both(&world, "FROM scratch\nMAINTAINER x\n");
    built.expect("built");
    let checks = events.iter().filter(|event| matches!(event, BuildEvent::Check { .. })).count();
    assert_eq!(checks, 1, "what is unwise in a text is so once");
}
