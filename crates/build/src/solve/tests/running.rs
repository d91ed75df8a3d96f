use super::*;

#[test]
fn steps_make_layers_configuration_and_history() {
    let world = World::new();
    let outcome = world.build(
        "FROM base\nENV A=1\nWORKDIR /app\nRUN write out one\nRUN nothing\nCOPY f .\nLABEL l=v\nEXPOSE 80\n\
         ENTRYPOINT [\"/app/f\"]\n",
        &[("f", "file")],
    );
    let image = outcome.image();
    assert_eq!(image.layers.len(), 4, "base, WORKDIR, RUN, COPY");
    assert_eq!(world.read(image, "out").as_deref(), Some("one"));
    assert_eq!(world.read(image, "app/f").as_deref(), Some("file"));
    let config = outcome.config();
    assert_eq!(config.working_dir, "/app");
    assert_eq!(config.cmd, None, "the inherited command does not go with another entry point");
    assert!(config.env.expect("env").contains(&"A=1".to_owned()));
    let history = outcome.history();
    let (copy, others): (Vec<_>, Vec<_>) = history.into_iter().partition(|line| line.contains("COPY"));
    assert_eq!(
        others,
        [
            "/bin/sh -c #(nop)  ENV A=1",
            "/bin/sh -c #(nop) WORKDIR /app",
            "/bin/sh -c write out one",
            "/bin/sh -c nothing",
            "/bin/sh -c #(nop)  LABEL l=v",
            "/bin/sh -c #(nop)  EXPOSE 80",
            "/bin/sh -c #(nop)  ENTRYPOINT [\"/app/f\"]",
        ]
    );
    assert!(copy[0].starts_with("/bin/sh -c #(nop) COPY file:") && copy[0].ends_with(" in . "), "{copy:?}");
    let empty: Vec<bool> = image.config.history.iter().map(|line| line.empty_layer).collect();
    assert_eq!(empty, [true, false, false, true, false, true, true, true]);
    assert_eq!(image.config.rootfs.diff_ids.len(), 4);
    assert_eq!(world.left_over(), Vec::<String>::new());
}

#[test]
fn the_text_is_that_of_the_classic_builder() {
    let world = World::new();
    let outcome = world.build("FROM base\nRUN echo hello\nCMD [\"x\"]\n", &[]);
    let hex = |text: &str| {
        let mut out = String::new();
        for word in text.split_inclusive([' ', '\n']) {
            let id = word.trim_end();
            let is_id = id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
            out.push_str(&if is_id { word.replace(id, "ID") } else { word.to_owned() });
        }
        out
    };
    assert_eq!(
        hex(&outcome.text),
        "Step 1/3 : FROM base\n ---> ID\nStep 2/3 : RUN echo hello\n ---> Running in ID\nhello\n \
         ---> Removed intermediate container ID\n ---> ID\nStep 3/3 : CMD [\"x\"]\n ---> Running in ID\n \
         ---> Removed intermediate container ID\n ---> ID\nSuccessfully built ID\n"
    );
    let id = outcome.image().id.short().to_owned();
    assert_eq!(outcome.text.matches(&id).count(), 2, "the last step shows the image");
}

#[test]
fn a_failing_command_ends_the_build_with_its_code() {
    let world = World::new();
    let outcome = world.build("FROM base\nRUN exit 3\nRUN echo never\n", &[]);
    assert_eq!(outcome.error(), "The command '/bin/sh -c exit 3' returned a non-zero code: 3");
    assert_eq!(outcome.image.as_ref().expect_err("fails").code(), Some(3));
    assert_eq!(outcome.ran, ["exit 3"]);
    assert!(outcome.events.iter().any(|event| matches!(event, BuildEvent::StepFailed { n: 2, .. })));
    assert_eq!(world.left_over(), Vec::<String>::new());
    let outcome = world.build("FROM base\nRUN [\"missing\"]\n", &[]);
    assert_eq!(outcome.error(), "exec: no such program");
}

#[test]
fn arguments_are_in_the_environment_and_in_history_if_declared() {
    let world = World::new();
    let outcome = world.build_with(
        "ARG G=global\nFROM base\nARG A=default\nARG B=default\nARG G\nENV B=env\nRUN env\n",
        &[],
        |request| {
            request.build_args = BTreeMap::from([
                ("A".to_owned(), Some("given".to_owned())),
                ("http_proxy".to_owned(), Some("p".to_owned())),
                ("X".to_owned(), Some("1".to_owned())),
            ]);
        },
    );
    let seen = &world.runner.seen.lock().expect("lock")[0].0;
    for variable in ["A=given", "B=env", "G=global", "http_proxy=p"] {
        assert!(seen.contains(&variable.to_owned()), "{variable} in {seen:?}");
    }
    assert!(!seen.iter().any(|variable| variable.starts_with("X=")));
    assert_eq!(outcome.history().last().map(String::as_str), Some("|2 A=given G=global /bin/sh -c env"));
    assert!(outcome.text.contains("[Warning] One or more build-args [X] were not consumed\n"));
    assert!(outcome.text.starts_with("Step 1/7 : ARG G=global\nStep 2/7 : FROM base\n"), "{}", outcome.text);
}

#[test]
fn heredocs_are_given_to_the_shell_or_run_as_scripts() {
    let world = World::new();
    let outcome = world.build(
        "FROM base\nRUN <<EOF\necho a;\necho b\nEOF\nRUN <<-\"X\"\n#!/usr/bin/python\n\tprint()\nX\nRUN cat <<Y >/f\nz\nY\n",
        &[],
    );
    outcome.image();
    assert_eq!(outcome.ran, ["echo a;\necho b\n", "/dev/pipes/X", "cat <<Y >/f\nz\nY"]);
    let seen = world.runner.seen.lock().expect("lock");
    assert!(
        matches!(&seen[1].1[..], [StepMount::Bind { target, readonly: true, .. }] if target == "/dev/pipes")
    );
}

#[test]
fn cancelling_stops_everything_and_leaves_nothing() {
    let world = World::new();
    let cancel = Cancel::new();
    let outcome = std::thread::scope(|scope| {
        let stop = cancel.clone();
        scope.spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            stop.cancel();
        });
        world.build_with(
            "FROM base AS a\nRUN hang\nFROM base\nRUN hang\nCOPY --from=a /x /\n",
            &[],
            |request| {
                request.cancel = cancel.clone();
            },
        )
    });
    assert_eq!(outcome.error(), "Build cancelled");
    assert_eq!(outcome.image.as_ref().expect_err("fails").kind(), crate::ErrorKind::Cancelled);
    assert_eq!(world.left_over(), Vec::<String>::new());
}

#[test]
fn mounts_are_resolved() {
    let world = World::new();
    let outcome = world.build(
        "FROM base AS tools\nRUN write bin/tool t\nFROM base\nRUN --mount=target=/src,source=dir \
         --mount=type=cache,target=/cache --mount=type=tmpfs,target=/tmp,size=1m \
         --mount=from=tools,source=bin,target=/tools nothing\n",
        &[("dir/f", "x")],
    );
    outcome.image();
    let seen = world.runner.seen.lock().expect("lock");
    let [
        StepMount::Bind { source, target, readonly: true },
        StepMount::Bind { source: cache, readonly: false, .. },
        StepMount::Tmpfs { size: Some(1_048_576), .. },
        StepMount::Layers { layers, subpath, writable: None, .. },
    ] = &seen[1].1[..]
    else {
        panic!("{:?}", seen[1].1)
    };
    assert!(source.ends_with("dir") && target == "/src");
    assert!(cache.is_dir(), "a cache stays");
    assert_eq!((layers.len(), subpath.as_str()), (2, "bin"));
    drop(seen);
    let escape = "FROM base AS a\nFROM base\nRUN --mount=from=a,source=link/../../..,target=/x nothing\n";
    world.build(escape, &[]).image();
    let seen = world.runner.seen.lock().expect("lock");
    assert!(matches!(&seen[0].1[..], [StepMount::Layers { subpath, .. }] if subpath == "."));
    drop(seen);
    let outcome = world.build("FROM base\nRUN --mount=source=gone,target=/x nothing\n", &[]);
    assert!(outcome.error().contains("stat gone: file does not exist"), "{}", outcome.error());
    let outcome = world.build("FROM base\nRUN --mount=type=secret,id=x nothing\n", &[]);
    assert!(outcome.error().contains("--mount=type=secret option requires BuildKit"));
}

#[test]
fn an_image_without_instructions_is_its_base() {
    let world = World::new();
    let base = world.images.resolve("base").expect("base");
    assert_eq!(world.build("FROM base\n", &[]).image().id, base.id);
    assert_eq!(
        world.build("FROM scratch\n", &[]).error(),
        "No image was generated. Is your Dockerfile empty?"
    );
    assert_eq!(world.build("FROM nothing\n", &[]).error(), "No such image: nothing:latest");
}

#[test]
fn triggers_of_the_base_run_in_the_child() {
    let world = World::new();
    let parent = world.build("FROM base\nONBUILD COPY f /f\nONBUILD RUN echo triggered\n", &[("f", "x")]);
    assert!(parent.ran.is_empty());
    let reference = dray_spec::Reference::parse("parent").expect("name");
    world.images.tag(parent.image(), &reference).expect("tagged");
    let child = world.build("FROM parent\nLABEL a=b\n", &[("f", "child")]);
    assert_eq!(child.ran, ["echo triggered"]);
    assert_eq!(world.read(child.image(), "f").as_deref(), Some("child"));
    assert_eq!(child.config().on_build, None);
    assert!(
        child.text.starts_with("Step 1/2 : FROM parent\n# Executing 2 build triggers\n"),
        "{}",
        child.text
    );
}

#[test]
fn a_dockerfile_takes_no_privileges() {
    let world = World::new();
    let build = |line: &str, mode: &str| {
        world.build_with(&format!("FROM base\n{line}\n"), &[], |request| {
            request.network_mode = mode.to_owned()
        })
    };
    assert_eq!(build("RUN --security=insecure x", "").error(), "security.insecure is not allowed");
    assert_eq!(build("RUN --network=host x", "").error(), "network.host is not allowed");
    build("RUN --network=host x", "host").image();
    build("RUN --network=none x", "").image();
}
