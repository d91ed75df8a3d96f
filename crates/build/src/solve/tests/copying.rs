use super::*;

#[test]
fn destinations_follow_dockers_rules() {
    let world = World::new();
    let outcome = world.build(
        "FROM base\nWORKDIR /w\nCOPY f g\nCOPY f sub/\nCOPY dir dest\nCOPY dir/ /abs/\nCOPY f dir/x /many/\nCOPY *.txt /txt/\n\
         COPY f /link/\nCOPY dir /link\nCOPY f /old\nCOPY d* /globbed/\nCOPY f .\n",
        &[("f", "F"), ("dir/x", "X"), ("dir/deep/y", "Y"), ("a.txt", "A"), ("b.txt", "B")],
    );
    let image = outcome.image();
    for (path, content) in [
        ("w/g", "F"),
        ("w/sub/f", "F"),
        ("w/dest/x", "X"),
        ("w/dest/deep/y", "Y"),
        ("abs/x", "X"),
        ("many/f", "F"),
        ("many/x", "X"),
        ("txt/a.txt", "A"),
        ("txt/b.txt", "B"),
        ("data/f", "F"),
        ("data/deep/y", "Y"),
        ("old", "F"),
        ("globbed/deep/y", "Y"),
        ("w/f", "F"),
    ] {
        assert_eq!(world.read(image, path).as_deref(), Some(content), "{path}");
    }
    let link = world.stat(image, "link");
    assert_eq!(rustix::fs::FileType::from_raw_mode(link.st_mode), rustix::fs::FileType::Symlink);
}

#[test]
fn missing_and_forbidden_sources_are_named() {
    let world = World::new();
    let build = |line: &str, strict| {
        let files = [("f", "x"), ("g", "y")];
        world.build_with(&format!("FROM base\n{line}\n"), &files, |request| request.strict_sources = strict)
    };
    let error = |line: &str| build(line, true).error();
    assert_eq!(
        error("COPY foo /"),
        "COPY failed: file not found in build context or excluded by .dockerignore: stat foo: file does not exist"
    );
    assert_eq!(error("COPY ../x /"), "COPY failed: forbidden path outside the build context: ../x ()");
    assert_eq!(
        error("ADD a/../../x /"),
        "ADD failed: forbidden path outside the build context: a/../../x ()"
    );
    assert_eq!(error("COPY no* /"), "COPY failed: no source files were specified");
    assert!(error("COPY f g /x").contains(
        "When using COPY with more than one source file, the destination must be a directory and end with a /"
    ));
    assert_eq!(error("COPY . /old"), "COPY failed: cannot copy to non-directory: /old");
    assert_eq!(error("COPY https://x.y/z /"), "COPY failed: source can't be a URL for COPY");
    assert!(error("ADD https://x.y/404 /").contains("with status 404 Not Found"));
    assert_eq!(error("ADD https://x.y /a/"), "ADD failed: cannot determine filename for source https://x.y");
    assert!(error("COPY --chmod=9 f /").contains("invalid chmod parameter: '9'"));
    assert!(error("COPY --chown=ghost f /").contains("no such user: ghost"));
    // BuildKit's rules, but for Docker's classic client.
    assert!(error("COPY [fg] /x").contains("the destination must be a directory"));
    let both = build("COPY [fg] /x", false);
    assert_eq!(world.read(both.image(), "x").as_deref(), Some("y"), "one after the other");
    let nothing = build("COPY no* /nowhere/", false);
    assert_eq!(world.read(nothing.image(), "nowhere"), None);
    assert!(build("COPY f g /x", false).error().contains("the destination must be a directory"));
    assert!(build("COPY missing /x", false).error().contains("stat missing: file does not exist"));
    assert_eq!(world.left_over(), Vec::<String>::new());
}

#[test]
fn the_context_is_not_left_through_links() {
    let world = World::new();
    let secret = world.dir.path().join("secret");
    std::fs::write(&secret, "secret").expect("file");
    let outcome = world.build_with("FROM base\nCOPY link /got\n", &[], |request| {
        let context = request.context.as_ref().expect("context");
        std::os::unix::fs::symlink(&secret, context.path().join("link")).expect("link");
    });
    assert!(outcome.error().contains("file not found in build context"), "{}", outcome.error());
}

#[test]
fn owners_and_modes_are_set() {
    let world = World::new();
    let outcome = world.build(
        "FROM base\nARG U=node\nCOPY --chown=$U --chmod=u=rwX,go=rX dir /a\nCOPY --chown=7:8 f /new/b\nCOPY f /c\n",
        &[("dir/x", "X"), ("f", "F")],
    );
    let image = outcome.image();
    let owner = |path: &str| {
        let stat = world.stat(image, path);
        (stat.st_uid, stat.st_gid, stat.st_mode & 0o777)
    };
    assert_eq!(owner("a/x"), (1000, 1000, 0o644));
    assert_eq!(owner("a"), (1000, 1000, 0o755));
    assert_eq!(owner("new"), (7, 8, 0o755));
    assert_eq!(owner("new/b"), (7, 8, 0o644));
    assert_eq!(owner("c"), (0, 0, 0o644));
    assert!(outcome.history()[1].contains("COPY --chown=node --chmod=u=rwX,go=rX dir:"));
    let from = world.build(
        "FROM base AS a\nCOPY --chown=7:8 f /f\nFROM base\nCOPY --from=a /f /kept\nCOPY --from=a --chown=node /f /set\n",
        &[("f", "F")],
    );
    assert_eq!(world.stat(from.image(), "kept").st_uid, 7);
    assert_eq!(world.stat(from.image(), "set").st_uid, 1000);
}

#[test]
fn local_archives_are_unpacked_by_add_only() {
    let world = World::new();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o640);
    header.set_uid(5);
    header.set_gid(6);
    header.set_size(2);
    tar.append_data(&mut header, "in/side", &b"ok"[..]).expect("entry");
    let bytes = tar.into_inner().expect("tar");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &bytes).expect("gzip");
    let gzip = gzip.finish().expect("gzip");
    let text = "FROM base\nADD a.tgz plain /to/\nCOPY a.tgz /copied\nADD --unpack=false a.tgz /kept\n";
    let outcome = world.build_with(text, &[("plain", "P")], |request| {
        let context = request.context.as_ref().expect("context");
        std::fs::write(context.path().join("a.tgz"), &gzip).expect("file");
    });
    let image = outcome.image();
    assert_eq!(world.read(image, "to/in/side").as_deref(), Some("ok"));
    let stat = world.stat(image, "to/in/side");
    assert_eq!((stat.st_uid, stat.st_gid, stat.st_mode & 0o777), (5, 6, 0o640));
    assert_eq!(world.read(image, "to/plain").as_deref(), Some("P"));
    for whole in ["copied", "kept"] {
        assert_eq!(world.stat(image, whole).st_size as usize, gzip.len());
    }
}

#[test]
fn heredocs_become_files() {
    let world = World::new();
    let outcome = world.build(
        "FROM base\nENV V=1\nCOPY <<a <<-\"b\" /dir/\nv=$V \"q\"\na\n\t\traw $V\nb\nCOPY <<EOF /named\nx\nEOF\n",
        &[],
    );
    let image = outcome.image();
    assert_eq!(world.read(image, "dir/a").as_deref(), Some("v=1 \"q\"\n"));
    assert_eq!(world.read(image, "dir/b").as_deref(), Some("raw $V\n"));
    assert_eq!(world.read(image, "named").as_deref(), Some("x\n"));
    assert_eq!(world.stat(image, "named").st_mode & 0o777, 0o644);
}

#[test]
fn exclusions_parents_and_links() {
    let world = World::new();
    let outcome = world.build(
        "FROM base\nCOPY --exclude=*.md --exclude=skip . /all/\nCOPY --parents a/b/c.md ./x/./a/b/c.md /p/\n\
         COPY --link a /link/\n",
        &[("a/b/c.md", "C"), ("k", "K"), ("r.md", "R"), ("skip/s", "S"), ("x/a/b/c.md", "XC")],
    );
    let image = outcome.image();
    assert!(world.read(image, "all/k").is_some());
    assert!(world.read(image, "all/a/b/c.md").is_some(), "the pattern is for the top only");
    assert!(world.read(image, "all/r.md").is_none() && world.read(image, "all/skip/s").is_none());
    assert_eq!(world.read(image, "p/a/b/c.md").as_deref(), Some("XC"));
}

#[test]
fn parents_are_kept_from_the_pivot_on_at_any_depth() {
    let world = World::new();
    let files = [
        ("t.md", "T"),
        ("a/x.md", "AX"),
        ("a/b/y.md", "ABY"),
        ("a/b/n.txt", "N"),
        ("c/b/y.md", "CBY"),
        ("docs.md/in", "D"),
    ];
    let copied = |line: &str, dest: &str| {
        let outcome = world.build(&format!("FROM base\nCOPY --parents {line} /{dest}/\n"), &files);
        let image = outcome.image();
        let paths = ["t.md", "a/x.md", "a/b/y.md", "a/b/n.txt", "c/b/y.md", "docs.md/in", "b/y.md", "y.md"];
        let there = paths.into_iter().filter(|path| world.read(image, &format!("{dest}/{path}")).is_some());
        there.collect::<Vec<_>>()
    };
    assert_eq!(copied("**/*.md", "p"), ["t.md", "a/x.md", "a/b/y.md", "c/b/y.md", "docs.md/in"]);
    assert_eq!(copied("a/**/*.md", "p"), ["a/x.md", "a/b/y.md"]);
    assert_eq!(copied("a/**", "p"), ["a/x.md", "a/b/y.md", "a/b/n.txt"]);
    assert_eq!(copied("a/b*/*.md", "p"), ["a/b/y.md"]);
    assert_eq!(copied("./*/./b/y.md", "p"), ["b/y.md"]);
    assert_eq!(copied("./a/*/./*.md", "p"), ["y.md"]);
    assert_eq!(copied("./a/./**/*.md", "p"), ["b/y.md"]);
    assert_eq!(copied("./c/./**/*.no", "p"), Vec::<&str>::new());
}

#[test]
fn ignored_files_are_not_there() {
    let world = World::new();
    let files = [
        ("Dockerfile", "FROM base\nCOPY . /c/\n"),
        (".dockerignore", "*.log\n.dockerignore\nDockerfile\n"),
        ("a", "a"),
        ("b.log", "b"),
    ];
    let build = |files: &[(&str, &str)]| {
        let outcome = world.build_with("", files, |request| request.dockerfile = DockerfileSource::default());
        let image = outcome.image().clone();
        ["c/a", "c/b.log", "c/Dockerfile"].map(|path| world.read(&image, path).is_some())
    };
    assert_eq!(build(&files), [true, false, false]);
    let mut own = files.to_vec();
    own.push(("Dockerfile.dockerignore", "a\n"));
    assert_eq!(build(&own), [false, true, true]);
    let outcome =
        world.build_with("", &[("x", "")], |request| request.dockerfile = DockerfileSource::default());
    assert_eq!(outcome.error(), "Cannot locate specified Dockerfile: Dockerfile");
    let outcome =
        world.build_with("", &[("dockerfile", "FROM base")], |r| r.dockerfile = DockerfileSource::default());
    outcome.image();
}

#[test]
fn checksums_are_verified() {
    let world = World::new();
    let right = dray_spec::Digest::sha256_of(b"remote");
    let add = |sum: &str| world.build(&format!("FROM base\nADD --checksum={sum} https://x.y/f /\n"), &[]);
    add(right.as_str()).image();
    let wrong = dray_spec::Digest::sha256_of(b"other");
    assert_eq!(add(wrong.as_str()).error(), format!("ADD failed: digest mismatch {right}: {wrong}"));
    assert!(add("nonsense").error().contains("invalid checksum nonsense"));
}
