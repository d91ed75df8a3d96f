//! Each rule finds what it is for, and nothing else.

use std::collections::BTreeMap;
use std::sync::Mutex;

use dray_spec::{ImageConfig, Platform};

use super::*;
use crate::builder::{check_options, planned};
use crate::dockerfile::parse;
use crate::dockerignore::Patterns;
use crate::request::BuildRequest;

/// What is found in a Dockerfile, and how checking it ends. Any image has `HOME` in its environment.
fn checked(text: &str, request: &BuildRequest) -> (Vec<Warning>, Result<(), String>) {
    let dockerfile = parse(text, "Dockerfile").unwrap_or_else(|error| panic!("{error}"));
    let found = Mutex::new(Vec::new());
    let options = check_options(&dockerfile, request).expect("options");
    let linter = Linter::new(options, |warning| found.lock().expect("lock").push(warning));
    linter.file(&dockerfile);
    let result = planned(&dockerfile, request, &linter).and_then(|plan| {
        let around = Surroundings { escape: plan.escape, args: &plan.args, ignore: request.ignore.as_ref() };
        let image = |name: &str, platform: &Platform| {
            let platform =
                if name == "armed" { &Platform::new("linux", "arm", Some("v7")) } else { platform };
            let mut config = ImageConfig::for_platform(platform);
            config.config.get_or_insert_default().env = Some(vec!["HOME=/root".to_owned()]);
            Ok(config)
        };
        walk(&linter, &plan, around, |_| true, image)?;
        linter.verdict()
    });
    drop(linter);
    (found.into_inner().expect("lock"), result.map_err(|error| error.to_string()))
}

fn found(text: &str) -> Vec<String> {
    checked(text, &BuildRequest::default()).0.iter().map(Warning::short).collect()
}

/// Dockerfile, lines parted by `|` → rules with their lines.
const FINDINGS: &[(&str, &[&str])] = &[
    ("FROM a AS Base", &["StageNameCasing: Stage name 'Base' should be lowercase (line 1)"]),
    ("FROM a as b", &["FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)"]),
    ("from a as b", &[]),
    ("FROM a|RUN a \\||  b", &["NoEmptyContinuation: Empty continuation line (line 4)"]),
    (
        "FROM a|run b|RUN c|Run d",
        &[
            "ConsistentInstructionCasing: Command 'run' should match the case of the command majority (uppercase) (line 2)",
            "ConsistentInstructionCasing: Command 'Run' should match the case of the command majority (uppercase) (line 4)",
        ],
    ),
    (
        "FROM a AS x|FROM b AS x",
        &["DuplicateStageName: Duplicate stage name \"x\", stage names should be unique (line 2)"],
    ),
    (
        "FROM a AS scratch",
        &[
            "ReservedStageName: Stage name should not use the same name as reserved stage \"scratch\" (line 1)",
        ],
    ),
    (
        "FROM a|ENTRYPOINT b|CMD c",
        &[
            "JSONArgsRecommended: JSON arguments recommended for ENTRYPOINT to prevent unintended behavior related to OS signals (line 2)",
            "JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals (line 3)",
        ],
    ),
    ("FROM a|SHELL [\"/bin/bash\"]|CMD c", &[]),
    (
        "FROM a|MAINTAINER me",
        &["MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2)"],
    ),
    (
        "ARG VERSION=1|FROM a:${VERSIO}1",
        &["UndefinedArgInFrom: FROM argument 'VERSIO' is not declared (did you mean VERSION?) (line 2)"],
    ),
    ("ARG VERSION|FROM a:1$VERSION", &[]),
    (
        "FROM a|WORKDIR b|WORKDIR c",
        &[
            "WorkdirRelativePath: Relative workdir \"b\" can have unexpected results if the base image changes (line 2)",
        ],
    ),
    ("FROM a AS b|WORKDIR /b|FROM b|WORKDIR c", &[]),
    (
        "FROM a|ENV DATA=1|COPY $DAT $HOME|RUN echo $NOTHING",
        &["UndefinedVar: Usage of undefined variable '$DAT' (did you mean $DATA?) (line 3)"],
    ),
    ("FROM a|ARG X|COPY $X.txt /|EXPOSE $NOTHING", &[]),
    ("FROM a AS b|ARG X=1|FROM b|COPY $X.txt /", &[]),
    (
        "FROM a|RUN --mount=type=cache,target=$CACHE|WORKDIR /$CACHE",
        &[
            "UndefinedVar: Usage of undefined variable '$CACHE' (line 2)",
            "UndefinedVar: Usage of undefined variable '$CACHE' (line 3)",
        ],
    ),
    (
        "FROM a|CMD [\"a\"]|CMD [\"b\"]|HEALTHCHECK NONE|HEALTHCHECK CMD x",
        &[
            "MultipleInstructionsDisallowed: Multiple CMD instructions should not be used in the same stage because only the last one will be used (line 2)",
            "MultipleInstructionsDisallowed: Multiple HEALTHCHECK instructions should not be used in the same stage because only the last one will be used (line 4)",
        ],
    ),
    (
        "FROM a|ENV A b|LABEL c d",
        &[
            "LegacyKeyValueFormat: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format (line 2)",
            "LegacyKeyValueFormat: \"LABEL key=value\" should be used instead of legacy \"LABEL key value\" format (line 3)",
        ],
    ),
    (
        "FROM --platform=$TARGETPLATFORM a",
        &[
            "RedundantTargetPlatform: Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior (line 1)",
        ],
    ),
    (
        "FROM --platform=linux/s390x a",
        &[
            "FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value \"linux/s390x\" (line 1)",
        ],
    ),
    ("FROM --platform=linux/s390x a AS build_s390x", &[]),
    (
        "FROM a|ARG GITHUB_TOKEN|ENV API_KEY=x PUBLIC_KEY=y",
        &[
            "SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ARG \"GITHUB_TOKEN\") (line 2)",
            "SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ENV \"API_KEY\") (line 3)",
        ],
    ),
    (
        "FROM a|EXPOSE 80/TCP 127.0.0.1:1:2 3:4",
        &[
            "ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '127.0.0.1:1:2' (line 2)",
            "ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '3:4' (line 2)",
            "ExposeProtoCasing: Defined protocol '80/TCP' in EXPOSE instruction should be lowercase (line 2)",
        ],
    ),
    (
        "FROM a AS b|ONBUILD COPY $MISSING /|FROM b",
        &["UndefinedVar: Usage of undefined variable '$MISSING' (line 3)"],
    ),
    ("# check=skip=StageNameCasing|FROM a AS B", &[]),
    ("# check=skip=all|FROM a as B", &[]),
    ("FROM a|# check=skip=UndefinedVar|COPY $MISSING /", &[]),
    (
        "# check=experimental=all|# what it is|ARG A=1|# B is well described|ARG B|FROM a$A",
        &[
            "InvalidDefinitionDescription: Comment for ARG should follow the format: `# A <description>` (line 3)",
        ],
    ),
];

#[test]
fn rules_find_what_they_are_for() {
    for (text, expected) in FINDINGS {
        let mut found = found(&text.replace('|', "\n"));
        if found != *expected {
            // Ports of one line are sorted when they are parsed.
            found.sort();
        }
        assert_eq!(found, *expected, "{text}");
    }
}

#[test]
fn an_image_for_another_platform_is_told() {
    let request = BuildRequest { platform: Some("linux/amd64".into()), ..BuildRequest::default() };
    let (found, _) = checked("FROM armed", &request);
    assert_eq!(
        found[0].detail,
        "Base image armed was pulled with platform \"linux/arm/v7\", expected \"linux/amd64\" for current build"
    );
}

#[test]
fn defaults_have_to_make_a_name() {
    let build_args = BTreeMap::from([("TAG".to_owned(), Some("1".to_owned()))]);
    let request = BuildRequest { build_args, ..BuildRequest::default() };
    let (found, result) = checked("ARG TAG\nFROM busybox:$TAG", &request);
    assert_eq!(result, Ok(()));
    assert_eq!(found[0].rule.name, "InvalidDefaultArgInFrom");
    assert_eq!(
        found[0].detail,
        "Default value for ARG busybox:$TAG results in empty or invalid base image name"
    );
}

#[test]
fn ignored_sources_are_told_unless_something_is_taken_back() {
    let ignoring = |text: &str| BuildRequest {
        ignore: Some(Patterns::parse(text).expect("patterns")),
        ..BuildRequest::default()
    };
    let dockerfile = "FROM a\nCOPY ./b.log /\nADD sub/x /\nCOPY . /\nCOPY --from=a b.log /\n";
    let found = |request| -> Vec<String> {
        checked(dockerfile, &request).0.into_iter().map(|warning| warning.detail).collect()
    };
    assert_eq!(
        found(ignoring("*.log\nsub")),
        [
            "Attempting to Copy file \"b.log\" that is excluded by .dockerignore",
            "Attempting to Add file \"sub/x\" that is excluded by .dockerignore",
        ]
    );
    assert!(found(ignoring("*.log\n!b.log")).is_empty());
    assert_eq!(found(ignoring("*")).len(), 3);
}

#[test]
fn warnings_end_the_build_where_they_shall() {
    let (_, result) = checked("# check=error=true\nFROM a as B\n", &BuildRequest::default());
    assert_eq!(result, Err("lint violation found for rules: FromAsCasing, StageNameCasing".to_owned()));
    let request = BuildRequest { check: Some("skip=all".into()), ..BuildRequest::default() };
    assert_eq!(checked("# check=error=true\nFROM a as B\n", &request).1, Ok(()));
}

#[test]
fn what_cannot_be_carried_out_is_told_with_its_lines() {
    let (_, result) = checked("FROM a\nWORKDIR ${x:?is needed}\n", &BuildRequest::default());
    assert!(result.expect_err("required").contains("x: is needed"));
    let (_, result) = checked("FROM a\nEXPOSE 80/icmp\n", &BuildRequest::default());
    assert_eq!(result, Err("invalid proto: icmp".to_owned()));
}
