//! Golden trees of the corpus, the errors with their places, and arbitrary input.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

/// Every Dockerfile of the corpus against the tree beside it. `UPDATE_GOLDEN=1` writes the trees anew; look at
/// what changed before it is committed.
#[test]
fn corpus_parses_to_its_golden_trees() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut seen = 0;
    for entry in fs::read_dir(corpus()).expect("corpus") {
        let path = entry.expect("entry").path();
        if path.extension().is_some_and(|extension| extension == "tree") {
            continue;
        }
        seen += 1;
        let text = fs::read_to_string(&path).expect("Dockerfile");
        let dockerfile = parse(&text, "Dockerfile").unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let tree = tree(&dockerfile);
        let golden = path.with_added_extension("tree");
        if update {
            fs::write(&golden, &tree).expect("golden");
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(tree, expected, "{}", golden.display());
    }
    assert!(seen >= 25, "only {seen} Dockerfiles");
}

fn tree(dockerfile: &Dockerfile) -> String {
    let mut out = String::new();
    if dockerfile.escape != '\\' {
        let _ = writeln!(out, "escape {:?}", dockerfile.escape);
    }
    if let Some(syntax) = &dockerfile.syntax {
        let _ = writeln!(out, "syntax {syntax:?}");
    }
    for arg in &dockerfile.global_args {
        let _ = writeln!(out, "{}", line(arg));
    }
    for stage in &dockerfile.stages {
        let _ = write!(out, "{}: FROM {:?}", stage.line, stage.base);
        if let Some(name) = &stage.name {
            let _ = write!(out, " AS {name:?}");
        }
        if let Some(platform) = &stage.platform {
            let _ = write!(out, " platform={platform:?}");
        }
        out.push('\n');
        for instruction in &stage.instructions {
            let _ = writeln!(out, "  {}", line(instruction));
        }
    }
    for warning in &dockerfile.warnings {
        let _ = writeln!(out, "warning {warning:?}");
    }
    out
}

fn line(instruction: &Instruction) -> String {
    let place = match instruction.line == instruction.last_line {
        true => instruction.line.to_string(),
        false => format!("{}-{}", instruction.line, instruction.last_line),
    };
    format!("{place}: {}{}", instruction.command.name(), arguments(&instruction.command))
}

fn arguments(command: &Command) -> String {
    let words = |words: &[String]| words.iter().map(|word| format!(" {word:?}")).collect::<String>();
    let flag = |name: &str, value: &Option<String>| {
        value.as_ref().map(|value| format!(" {name}={value:?}")).unwrap_or_default()
    };
    let flags = |name: &str, values: &[String]| {
        values.iter().map(|value| format!(" {name}={value:?}")).collect::<String>()
    };
    let on = |name: &str, on: bool| if on { format!(" {name}") } else { String::new() };
    let pairs = |pairs: &[KeyValue]| {
        let pair = |pair: &KeyValue| {
            format!(" {:?}{}{:?}", pair.key, if pair.delimited { "=" } else { " " }, pair.value)
        };
        pairs.iter().map(pair).collect::<String>()
    };
    let files = |files: &[SourceFile]| {
        let file =
            |f: &SourceFile| format!(" <<{:?}{} {:?}", f.name, if f.expand { "" } else { " raw" }, f.content);
        files.iter().map(file).collect::<String>()
    };
    let command_line = |line: &CommandLine| {
        let mut out = words(&line.words);
        out.insert_str(0, if line.shell { " shell" } else { " exec" });
        for heredoc in &line.heredocs {
            let _ = write!(out, " {}<<{:?}", heredoc.fd, heredoc.name);
            out.push_str(if heredoc.chomp { " chomp" } else { "" });
            out.push_str(if heredoc.expand { "" } else { " raw" });
            let _ = write!(out, " {:?}", heredoc.text());
        }
        out
    };
    match command {
        Command::Arg(list) => {
            let pair = |pair: &ArgPair| match &pair.value {
                Some(value) => format!(" {:?}={value:?}", pair.key),
                None => format!(" {:?}", pair.key),
            };
            list.iter().map(pair).collect()
        }
        Command::Env(list) | Command::Label(list) => pairs(list),
        Command::Cmd(line) | Command::Entrypoint(line) => command_line(line),
        Command::Expose(list) | Command::Shell(list) | Command::Volume(list) => words(list),
        Command::Maintainer(text)
        | Command::Onbuild(text)
        | Command::StopSignal(text)
        | Command::User(text)
        | Command::Workdir(text) => format!(" {text:?}"),
        Command::Healthcheck(check) => format!(
            "{} interval={} timeout={} start-period={} start-interval={} retries={}",
            words(&check.test),
            duration_text(check.interval),
            duration_text(check.timeout),
            duration_text(check.start_period),
            duration_text(check.start_interval),
            check.retries
        ),
        Command::Run(run) => format!(
            "{}{}{}{}{}",
            command_line(&run.line),
            flags("mount", &run.mounts),
            flag("network", &run.network),
            on("insecure", run.security == Security::Insecure),
            run.devices.iter().map(|device| format!(" {device:?}")).collect::<String>()
        ),
        Command::Copy(copy) => format!(
            "{}{} -> {:?}{}{}{}{}{}{}",
            words(&copy.sources),
            files(&copy.files),
            copy.dest,
            flag("from", &copy.from),
            flag("chown", &copy.chown),
            flag("chmod", &copy.chmod),
            on("link", copy.link),
            on("parents", copy.parents),
            flags("exclude", &copy.exclude)
        ),
        Command::Add(add) => format!(
            "{}{} -> {:?}{}{}{}{}{}{}{}",
            words(&add.sources),
            files(&add.files),
            add.dest,
            flag("chown", &add.chown),
            flag("chmod", &add.chmod),
            on("link", add.link),
            flag("checksum", &add.checksum),
            flag("keep-git-dir", &add.keep_git_dir.map(|on| on.to_string())),
            flag("unpack", &add.unpack.map(|on| on.to_string())),
            flags("exclude", &add.exclude)
        ),
    }
}

fn error(text: &str) -> ParseError {
    parse(text, "Dockerfile").expect_err(text)
}

#[test]
fn errors_show_the_place() {
    let shown = |text: &str| error(text).to_string();
    assert_eq!(
        shown("FROM a\n\n  FORM busybox\n"),
        "dockerfile parse error on line 3: unknown instruction: FORM (did you mean FROM?)\n \
         --> Dockerfile:3:3\n  |\n3 |   FORM busybox\n  |   ^^^^"
    );
    assert_eq!(
        shown("FROM a\nCOPY \\\n\t--chwon=x \\\n  a b\n"),
        "dockerfile parse error on line 2: unknown flag: --chwon (did you mean chown?)\n \
         --> Dockerfile:3:2\n  |\n3 | \t--chwon=x \\\n  | \t^^^^^^^^^"
    );
    assert_eq!(
        shown("FROM a\nENV A=1 B\\\n  C=2 oops\n"),
        "failed to parse Dockerfile: Syntax error - can't find = in \"B\". Must be of the form: name=value\n \
         --> Dockerfile:2:9\n  |\n2 | ENV A=1 B\\\n  |         ^"
    );
    let padded = format!("FROM a\n{}FORM b", "\n".repeat(97));
    assert!(
        shown(&padded)
            .ends_with("\n   --> Dockerfile:99:1\n   |\n99 | FORM b\n   | ^^^^".trim_start_matches("\n "))
    );
}

/// Text of a Dockerfile behind `FROM a` | Docker's message
const MESSAGES: &str = r#"
FORM b                    | unknown instruction: FORM (did you mean FROM?)
BANANA b                  | unknown instruction: BANANA
FROM                      | FROM requires either one or three arguments
FROM a b                  | FROM requires either one or three arguments
FROM a AS                 | FROM requires either one or three arguments
FROM a AS 1b              | invalid name for build stage: "1b", name can't start with a number or contain symbols
COPY a                    | COPY requires at least two arguments, but only one was provided. Destination could not be determined
ADD                       | ADD requires at least two arguments, but only one was provided. Destination could not be determined
COPY --from               | COPY requires at least two arguments, but only one was provided. Destination could not be determined
COPY --from a b           | missing a value on flag: --from
COPY --link=maybe a b     | expecting boolean value for flag --link, not: maybe
COPY --link= a b          | missing a value on flag: --link
COPY --from=a --from=b c d | duplicate flag specified: --from
RUN --mont=type=x y       | unknown flag: --mont (did you mean mount?)
RUN --mount=type=x y      | unsupported mount type "x"
RUN --mount=type=cash,target=/x y | unsupported mount type "cash" (did you mean cache?)
RUN --mount=target y      | invalid field 'target' must be a key=value pair
RUN --mount=tarjet=/x y   | unexpected key 'tarjet' in 'tarjet=/x' (did you mean target?)
RUN --mount=type=bind,size=1m,target=/x y | unexpected key 'size' for mount type 'bind'
RUN --mount=from=$x,target=/x y | 'from' doesn't support variable expansion, define alias stage instead
RUN --network=x y         | invalid network mode "x"
ENV                       | ENV requires at least one argument
ENV =x                    | ENV names can not be blank
ARG                       | ARG requires at least one argument
ARG =x                    | ARG names can not be blank
LABEL =x                  | LABEL names can not be blank
EXPOSE                    | EXPOSE requires at least one argument
VOLUME                    | VOLUME requires at least one argument
VOLUME [""]               | VOLUME specified can not be an empty string
USER                      | USER requires exactly one argument
WORKDIR                   | WORKDIR requires exactly one argument
WORKDIR --x /y            | unknown flag: --x
STOPSIGNAL                | STOPSIGNAL requires exactly one argument
MAINTAINER                | MAINTAINER requires exactly one argument
SHELL                     | SHELL requires at least one argument
SHELL []                  | SHELL requires at least one argument
SHELL /bin/sh             | SHELL requires the arguments to be in JSON form
ONBUILD                   | ONBUILD requires at least one argument
ONBUILD ONBUILD RUN x     | Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed
ONBUILD from x            | FROM isn't allowed as an ONBUILD trigger
HEALTHCHECK               | HEALTHCHECK requires at least one argument
HEALTHCHECK NONE x        | HEALTHCHECK NONE takes no arguments
HEALTHCHECK CMD           | Missing command after HEALTHCHECK CMD
HEALTHCHECK WHAT x        | Unknown type "WHAT" in HEALTHCHECK (try CMD)
HEALTHCHECK --interval=5 CMD x | time: missing unit in duration "5"
HEALTHCHECK --interval=1us CMD x | Interval "interval" cannot be less than 1ms
HEALTHCHECK --retries=x CMD x | strconv.ParseInt: parsing "x": invalid syntax
HEALTHCHECK --retries=-1 CMD x | --retries cannot be negative (-1)
COPY a <<EOF              | COPY cannot accept a heredoc as a destination
"#;

#[test]
fn messages_are_dockers() {
    for line in MESSAGES.lines().filter(|line| !line.is_empty()) {
        let (text, expected) = line.split_once('|').expect("a column");
        let text = format!("FROM a\n{}\n{}", text.trim(), if text.contains("<<EOF") { "EOF\n" } else { "" });
        let expected = format!("dockerfile parse error on line 2: {}", expected.trim());
        assert_eq!(error(&text).message(), expected, "for {text:?}");
    }
}

#[test]
fn files_that_cannot_be_split_fail_to_parse() {
    for (text, expected) in [
        ("", "the Dockerfile (Dockerfile) cannot be empty"),
        ("\n# only a comment\n", "failed to parse Dockerfile: file with no instructions"),
        ("RUN x", "no build stage in current context"),
        ("ARG x", "dockerfile contains no stages to build"),
        ("FROM a\nENV A", "failed to parse Dockerfile: ENV must have two arguments"),
        ("FROM a\nLABEL A", "failed to parse Dockerfile: LABEL must have two arguments"),
        (
            "FROM a\nCMD [1]",
            "failed to parse Dockerfile: when using JSON array syntax, arrays must be comprised of strings only",
        ),
        ("FROM a\nRUN <<EOF\nx", "failed to parse Dockerfile: unterminated heredoc"),
        ("# escape=x\nFROM a", "failed to parse Dockerfile: invalid escape token 'x' does not match ` or \\"),
        (
            "# escape=\\\n# escape=`\nFROM a",
            "failed to parse Dockerfile: only one escape parser directive can be used",
        ),
        // What cannot be split is told first, wherever it is.
        ("FORM a\nENV A", "failed to parse Dockerfile: ENV must have two arguments"),
    ] {
        assert_eq!(error(text).message(), expected, "for {text:?}");
    }
}

#[test]
fn comments_belong_to_what_stands_below_them() {
    let text = "# check=skip=all\n# of the stage\nFROM a AS b\n# lost\n#\n# one\n\n  # two\nRUN x\nRUN y\n";
    let dockerfile = parse(text, "Dockerfile").expect("valid");
    let stage = &dockerfile.stages[0];
    assert_eq!(dockerfile.check.as_deref(), Some("skip=all"));
    assert_eq!(stage.comments, ["of the stage"]);
    assert_eq!(stage.instructions[0].comments, ["one", "# two"]);
    assert!(stage.instructions[1].comments.is_empty());
    assert_eq!((stage.keyword.as_str(), stage.instructions[0].keyword.as_str()), ("FROM", "RUN"));
    let text = "FROM a\nRUN x \\\n\n  y\n";
    assert_eq!(parse(text, "Dockerfile").expect("valid").empty_continuations, [4]);
}

#[test]
fn other_frontends_are_told_from_ours() {
    for ours in ["docker/dockerfile", "docker/dockerfile:1.7-labs", "docker.io/docker/dockerfile:1 --opt"] {
        assert!(is_own_frontend(ours), "{ours}");
    }
    for other in ["", "r2d4/mockerfile", "example.org/docker/dockerfile:1"] {
        assert!(!is_own_frontend(other), "{other}");
    }
}

#[test]
fn triggers_are_single_instructions() {
    assert_eq!(parse_trigger("COPY a /b").expect("valid").command.name(), "COPY");
    assert_eq!(parse_trigger("RUN <<EOF\nx\nEOF").expect("valid").command.name(), "RUN");
    assert!(parse_trigger("RUN a\nRUN b").expect_err("two").message().contains("single expression"));
    assert!(parse_trigger("FROM a").is_err());
    assert!(parse_trigger("").is_err());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(500))]

    #[test]
    fn arbitrary_text_never_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
        let text = String::from_utf8_lossy(&bytes);
        if let Err(error) = parse(&text, "Dockerfile") {
            let _ = error.to_string();
        }
    }

    #[test]
    fn likely_text_never_panics(
        lines in proptest::collection::vec(
            "(FROM|RUN|COPY|ADD|ENV|ARG|LABEL|ONBUILD|HEALTHCHECK|# escape=`|SHELL|CMD|VOLUME|)[ ]?[-a=\"'\\\\`$<\\[\\], {}\\t\u{e9}EOF]{0,14}",
            0..8,
        ),
    ) {
        let text = lines.join("\n");
        match parse(&text, "Dockerfile") {
            Ok(dockerfile) => {
                for stage in &dockerfile.stages {
                    for instruction in &stage.instructions {
                        proptest::prop_assert!(instruction.line <= instruction.last_line);
                    }
                }
            }
            Err(error) => {
                let shown = error.to_string();
                proptest::prop_assert!(error.line <= text.lines().count().max(1), "{shown}");
            }
        }
    }
}
