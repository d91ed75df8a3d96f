//! Build checks: `--check` and its kin, warnings of builds, and the lines of what fails.

use dray_harness::Daemon;

use super::{build, buildx, context};

const UNWISE: &str = "FROM busybox as Base\nENV A b\nCOPY $MISSIN .\nCMD echo hi\n";
const RULES: [&str; 5] =
    ["StageNameCasing", "FromAsCasing", "LegacyKeyValueFormat", "UndefinedVar", "JSONArgsRecommended"];

#[test]
fn a_check_tells_what_is_unwise_and_builds_nothing() {
    let daemon = Daemon::start();
    let folder = context(&daemon, "unwise", UNWISE, &[("big", "x")]);
    let good = context(&daemon, "good", "FROM busybox\nCMD [\"true\"]\n", &[]);
    let path = folder.to_string_lossy();
    for client in [daemon.dray(), buildx(&daemon)] {
        let done = client.run(["build", "--check", path.as_ref()]).expect_code(1);
        for rule in RULES {
            assert!(
                done.stdout.contains(&format!("WARNING: {rule} - https://")),
                "{rule}: {}",
                done.output()
            );
        }
        for text in [
            "5 warnings have been found!",
            "Usage of undefined variable '$MISSIN'",
            "Dockerfile:3\n--------------------\n",
            "   3 | >>> COPY $MISSIN .",
        ] {
            assert!(done.stdout.contains(text), "{text}: {}", done.output());
        }
        let done = build(&client, &good, "--call=check").expect_success();
        assert!(done.stdout.contains("Check complete, no warnings found."), "{}", done.output());
        let json = client.run(["build", "--call=check,format=json", path.as_ref()]);
        let json: serde_json::Value = serde_json::from_str(&json.expect_code(1).stdout).expect("JSON");
        assert_eq!(json["warnings"].as_array().map(Vec::len), Some(5), "{json}");
        assert_eq!(json["sources"][0]["filename"], "Dockerfile");
    }
    assert_eq!(daemon.dray().ok("images -q"), daemon.dray().ok("images -q busybox"));
}

#[test]
fn a_check_tells_what_ends_the_build() {
    let daemon = Daemon::start();
    for (name, dockerfile, message) in [
        ("typo", "FROM busybox\nRUNN x\n", "unknown instruction: RUNN (did you mean RUN?)"),
        ("stages", "FROM busybox AS a\nCOPY --from=a / /\n", "circular dependency detected on stage: a"),
        ("blank", "ARG X\nFROM $X\n", "base name ($X) should not be blank"),
    ] {
        let folder = context(&daemon, name, dockerfile, &[]);
        for client in [daemon.dray(), buildx(&daemon)] {
            let done = build(&client, &folder, "--check").expect_code(1);
            assert!(done.output().contains(message), "{name}: {}", done.output());
            assert!(done.output().contains("Dockerfile:2"), "{name}: {}", done.output());
        }
    }
}

#[test]
fn targets_and_parameters_are_listed() {
    let daemon = Daemon::start();
    let dockerfile = "# V the version\nARG V=1\n# base is the ground\nFROM busybox:latest AS base\nARG V\n\
                      FROM base AS app\n# MODE how it is built\nARG MODE=fast\n\
                      RUN --mount=type=secret,id=token,required --mount=type=ssh true\n";
    let folder = context(&daemon, "parameters", dockerfile, &[]);
    for client in [daemon.dray(), buildx(&daemon)] {
        let listed = build(&client, &folder, "--call=targets").expect_success();
        assert!(listed.stdout.contains("base          is the ground"), "{}", listed.output());
        assert!(listed.stdout.contains("app (default)"), "{}", listed.output());
        let outline = build(&client, &folder, "--call=outline").expect_success().stdout;
        for text in ["TARGET: app", "BUILD ARG   VALUE", "MODE", "fast", "how it is built", "the version"] {
            assert!(outline.contains(text), "{text}: {outline}");
        }
        assert!(outline.contains("token    true") && outline.contains("default"), "{outline}");
    }
}

#[test]
fn builds_tell_of_warnings_with_their_lines() {
    let daemon = Daemon::start();
    let folder = context(&daemon, "warned", "FROM busybox\nENV A b\nWORKDIR w\n", &[]);
    let built = build(&daemon.dray(), &folder, "--progress=plain").expect_success();
    for text in ["2 warnings found", "WARNING: LegacyKeyValueFormat", "   3 | >>> WORKDIR w"] {
        assert!(built.stdout.contains(text), "{text}: {}", built.output());
    }
    let built = build(&buildx(&daemon), &folder, "--progress=plain").expect_success();
    for text in ["WARN: LegacyKeyValueFormat", "WARN: WorkdirRelativePath", "(line 3)", "2 warnings found"] {
        assert!(built.stderr.contains(text), "{text}: {}", built.output());
    }
    // The classic builder does not check.
    let classic = build(&daemon.docker(), &folder, "").expect_success();
    assert!(!classic.output().contains("LegacyKeyValueFormat"), "{}", classic.output());
}

#[test]
fn warnings_end_the_build_where_they_shall() {
    let daemon = Daemon::start();
    let dockerfile = "# check=error=true\nFROM busybox\nRUN touch /ran\nENV A b\n";
    let folder = context(&daemon, "strict", dockerfile, &[]);
    let skipping = format!("# check=skip=LegacyKeyValueFormat;error=true\n{}", &dockerfile[19..]);
    let skipped = context(&daemon, "skipped", &skipping, &[]);
    for client in [daemon.dray(), buildx(&daemon)] {
        let done = build(&client, &folder, "-t strict").expect_code(1);
        assert!(
            done.output().contains("lint violation found for rules: LegacyKeyValueFormat"),
            "{}",
            done.output()
        );
        build(&client, &skipped, "").expect_success();
        build(&client, &folder, "--build-arg BUILDKIT_DOCKERFILE_CHECK=skip=all").expect_success();
    }
    assert_eq!(daemon.dray().ok("images -q strict"), "");
}

#[test]
fn failures_show_their_lines() {
    let daemon = Daemon::start();
    for (name, dockerfile, marked) in [
        ("step", "FROM busybox\nRUN true\nRUN echo before && \\\n  exit 3\n", "   4 | >>>   exit 3"),
        ("copy", "FROM busybox\nCOPY nosuch /\n", "   2 | >>> COPY nosuch /"),
        ("base", "FROM busybox\nFROM ${NOTHING}\n", "   2 | >>> FROM ${NOTHING}"),
        (
            "later",
            "FROM busybox AS a\nCOPY --from=b / /\nFROM busybox AS b\nFROM a\n",
            "   2 | >>> COPY --from=b / /",
        ),
    ] {
        let folder = context(&daemon, name, dockerfile, &[]);
        for client in [daemon.dray(), buildx(&daemon)] {
            let failed = build(&client, &folder, "--progress=plain");
            assert!(failed.code != 0 && failed.output().contains(marked), "{name}: {}", failed.output());
        }
    }
}
