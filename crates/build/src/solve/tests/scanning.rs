//! What is looked through beside the result.

use super::*;

const STATUS: &str = "write /var/lib/dpkg/status Package:zlib1g";
const PACKAGE: (&str, &str) =
    ("app/node_modules/express/package.json", r#"{"name":"express","version":"1.0.0"}"#);

/// The names of what a build has looked through.
fn scanned(world: &World, dockerfile: &str, scan: bool, args: &[(&str, &str)]) -> Vec<String> {
    let given = |(key, value): &(&str, &str)| ((*key).to_owned(), Some((*value).to_owned()));
    let request = BuildRequest {
        context: Some(world.context(&[PACKAGE])),
        dockerfile: DockerfileSource::Text { name: "Dockerfile".into(), text: dockerfile.into() },
        build_args: args.iter().map(given).collect(),
        scan,
        ..BuildRequest::default()
    };
    let built = world.builder.build(request, &|_| {}).expect("builds");
    built.scanned.keys().cloned().collect()
}

#[test]
fn stages_and_the_context_are_looked_through_where_it_is_asked_for() {
    let world = World::new();
    let dockerfile = format!(
        "ARG BUILDKIT_SBOM_SCAN_CONTEXT=true\nFROM base AS one\nARG BUILDKIT_SBOM_SCAN_STAGE=true\nRUN {STATUS}\n\
         FROM base\nARG BUILDKIT_SBOM_SCAN_STAGE=true\nCOPY --from=one /var /\n\
         FROM base AS unused\nARG BUILDKIT_SBOM_SCAN_STAGE=true\nRUN exit 1\n\
         FROM base AS plain\nRUN write /a b\n\
         FROM base AS last\nARG BUILDKIT_SBOM_SCAN_STAGE=true\nCOPY --from=1 /etc /\nCOPY --from=plain /a /\n"
    );
    // All of it comes from the cache the second time.
    for _ in 0..2 {
        assert_eq!(scanned(&world, &dockerfile, true, &[]), ["context", "one", "stage-1"]);
    }
    let given = [("BUILDKIT_SBOM_SCAN_CONTEXT", "a,b"), ("BUILDKIT_SBOM_SCAN_STAGE", "one")];
    assert_eq!(scanned(&world, &dockerfile, true, &given), ["one"]);
    assert!(scanned(&world, &dockerfile, false, &[]).is_empty(), "nobody wants to know");
    let stage = "FROM base AS one\nRUN write /a b\nFROM base\nCOPY --from=one /a /\n";
    let given = [("BUILDKIT_SBOM_SCAN_STAGE", "true")];
    assert!(scanned(&world, stage, true, &given).is_empty(), "it is declared nowhere");
}

#[test]
fn what_steers_the_scan_is_no_variable() {
    let world = World::new();
    let dockerfile = "FROM base\nARG BUILDKIT_SBOM_SCAN_STAGE=true\nARG V=${BUILDKIT_SBOM_SCAN_STAGE:-unset}\nLABEL v=$V\nRUN env";
    let outcome = world.build(dockerfile, &[]);
    assert_eq!(outcome.config().labels.expect("labels")["v"], "unset");
    let env = outcome.text.lines().find(|line| line.starts_with("PATH=")).expect("an environment");
    assert!(!env.contains("SCAN_STAGE"), "{env}");
    let undefined =
        |event: &BuildEvent| matches!(event, BuildEvent::Check { rule, .. } if rule == "UndefinedVar");
    assert!(!outcome.events.iter().any(undefined), "{:?}", outcome.events);
}
