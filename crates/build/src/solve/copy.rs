//! `COPY` and `ADD` as steps: where from, what, under which key, and into which layer.

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use dray_store::{LayerDraft, Store};
use rustix::fs::FileType;

use super::layers::{self, Draft};
use super::run::CONTEXT;
use super::stage::{Stage, State, began, image_identifier, now};
use super::{git, lock, remote};
use crate::cache::{Entry, Key, KeyBuilder, Turn, Written};
use crate::capture::{Material, Operation};
use crate::config;
use crate::copy::{
    ChownSpec, Destination, Item, ModeChange, Placement, Selection, SourceTree, io_error, is_archive,
    item_at, item_digest, names_directory, parse_chown, place, select, source_text, unpack_archive,
    write_file,
};
use crate::dockerfile::{self, Add, SourceFile};
use crate::dockerignore::Patterns;
use crate::error::{BuildError, CopyError};
use crate::glob::clean_path;
use crate::inputs::{InputKind, StepInputs};
use crate::plan::Base;
use crate::tree::Tree;

/// `COPY` and `ADD` alike, variables expanded.
pub(super) struct Files<'a> {
    name: &'static str,
    pub(super) sources: &'a [String],
    files: &'a [SourceFile],
    dest: &'a str,
    from: Option<&'a str>,
    chown: Option<&'a str>,
    chmod: Option<&'a str>,
    link: bool,
    parents: bool,
    exclude: &'a [String],
    checksum: Option<&'a str>,
    keep_git_dir: Option<bool>,
    /// Whether archives are unpacked; `None` for the instruction's habit.
    unpack: Option<bool>,
}

impl<'a> From<&'a dockerfile::Copy> for Files<'a> {
    fn from(copy: &'a dockerfile::Copy) -> Self {
        Files {
            name: "COPY",
            sources: &copy.sources,
            files: &copy.files,
            dest: &copy.dest,
            from: copy.from.as_deref(),
            chown: copy.chown.as_deref().filter(|text| !text.is_empty()),
            chmod: copy.chmod.as_deref().filter(|text| !text.is_empty()),
            link: copy.link,
            parents: copy.parents,
            exclude: &copy.exclude,
            checksum: None,
            keep_git_dir: None,
            unpack: Some(false),
        }
    }
}

impl<'a> From<&'a Add> for Files<'a> {
    fn from(add: &'a Add) -> Self {
        Files {
            name: "ADD",
            sources: &add.sources,
            files: &add.files,
            dest: &add.dest,
            from: None,
            chown: add.chown.as_deref().filter(|text| !text.is_empty()),
            chmod: add.chmod.as_deref().filter(|text| !text.is_empty()),
            link: add.link,
            parents: false,
            exclude: &add.exclude,
            checksum: add.checksum.as_deref().filter(|text| !text.is_empty()),
            keep_git_dir: add.keep_git_dir,
            unpack: add.unpack,
        }
    }
}

impl Files<'_> {
    fn failed(&self) -> impl Fn(CopyError) -> BuildError + Copy + use<> {
        let instruction = self.name;
        move |source| BuildError::Copy { instruction, source }
    }
}

/// The settings of a copy, read.
pub(super) struct Settings {
    /// Destination as an absolute path, its last slash kept.
    pub(super) dest: String,
    pub(super) chown: Option<ChownSpec>,
    pub(super) chmod: Option<ModeChange>,
    pub(super) exclude: Patterns,
    /// Whether the result does not depend on what is below.
    pub(super) alone: bool,
    /// Whether owners are the source's.
    keep_owners: bool,
}

/// Fetched and inline files, each in a directory of its own.
pub(super) struct Scratch {
    draft: LayerDraft,
    source: SourceTree<'static>,
    next: usize,
}

impl Scratch {
    fn new(store: &Store) -> Result<Scratch, CopyError> {
        let full = |source: dray_store::Error| CopyError::Io {
            operation: "create",
            path: "a scratch directory".to_owned(),
            source: std::io::Error::other(source),
        };
        let draft = store.layers().begin().map_err(full)?;
        let tree = Tree::open(draft.path()).map_err(io_error("open", draft.path()))?;
        Ok(Scratch { draft, source: SourceTree { tree, context: None }, next: 0 })
    }

    /// A new directory: its path on the host and in the tree.
    pub(super) fn dir(&mut self) -> Result<(PathBuf, String), CopyError> {
        let name = self.next.to_string();
        self.next += 1;
        let path = self.draft.path().join(&name);
        std::fs::create_dir(&path).map_err(io_error("create", &path))?;
        Ok((path, name))
    }
}

/// An item, where it is, and how it is treated.
pub(super) struct Sourced {
    pub(super) item: Item,
    pub(super) in_scratch: bool,
    pub(super) unpack: bool,
    /// The digests of its files, in the order of its nodes.
    pub(super) contents: Vec<Vec<u8>>,
}

/// Everything that is copied.
pub(super) struct Sources<'s> {
    pub(super) main: Option<SourceTree<'s>>,
    scratch: Option<Scratch>,
    pub(super) items: Vec<Sourced>,
}

impl<'s> Sources<'s> {
    fn tree_of(&self, sourced: &Sourced) -> Result<&SourceTree<'s>, CopyError> {
        match (sourced.in_scratch, &self.main, &self.scratch) {
            (true, _, Some(scratch)) => Ok(&scratch.source),
            (false, Some(main), _) => Ok(main),
            _ => Err(CopyError::NoContext),
        }
    }
}

impl<'scope> Stage<'scope, '_, '_> {
    pub(super) fn copy(&mut self, files: Files<'_>) -> Result<(), BuildError> {
        let failed = files.failed();
        let settings = self.settings(&files).map_err(failed)?;
        let from = files.from.map(|from| self.from(from)).transpose()?;
        // What a stage gives is known from how it was made, without reading it.
        let quick = from.as_ref().map(|from| quick_key(self, &files, &settings, from));
        let mut inputs = self.listened();
        if let Some(inputs) = &mut inputs {
            settings.list(&files, from.as_deref(), inputs);
        }
        let before = (!settings.alone).then_some(self.state.files);
        let anew = self.state.anew || from.as_ref().is_some_and(|from| from.anew);
        if let Some((key, created_by)) = self.alias(quick.as_ref(), anew)?
            && let Some(entry) = self.build.known(&key)?
        {
            self.hit();
            if let Some(quick) = &quick {
                self.build.used.alias(quick, &key, &created_by);
            }
            if let Some(inputs) = inputs {
                self.tell(inputs.named(&key, before.as_ref()));
            }
            return self.copied((key, entry, created_by), &files, from.as_deref());
        }
        let mut sources = self.sources(&files, &settings, from.as_deref())?;
        let digests = self.digests(&settings, &mut sources, inputs.as_mut()).map_err(failed)?;
        let key = self.content_key(&files, &settings, &sources, &digests);
        if let Some(inputs) = inputs {
            self.tell(inputs.named(&key, before.as_ref()));
        }
        let created_by = self.copied_by(&files, &digests);
        let build = self.build;
        let entry = match build.turn(&key, self.state.anew)? {
            Turn::Known(entry) => {
                self.hit();
                entry
            }
            Turn::Yours(_guard) => {
                self.cached = false;
                // The times of an image's files are the same in every build.
                let of_image = from.as_ref().is_some_and(|from| from.image.is_some());
                let began = of_image.then(began);
                let entry = Entry::of_files(now(), self.write(&files, &settings, &sources, began)?);
                build.record(&key, &entry)?;
                entry
            }
        };
        if let Some(quick) = quick {
            build.builder.cache.put_alias(&quick, &key, &created_by)?;
            build.used.alias(&quick, &key, &created_by);
        }
        self.copied((key, entry, created_by), &files, from.as_deref())
    }

    /// Ends a copy.
    fn copied(
        &mut self,
        (key, entry, created_by): (Key, Entry, String),
        files: &Files<'_>,
        from: Option<&State>,
    ) -> Result<(), BuildError> {
        let is_remote = |source: &&String| remote::kind(source).is_some();
        let mut read: Vec<usize> = from.and_then(|from| from.done).into_iter().collect();
        for source in files.sources.iter().filter(is_remote) {
            read.push(self.brought_in(source.clone()));
        }
        if from.is_none() && files.sources.iter().any(|source| !is_remote(&source)) {
            read.push(self.brought_in(CONTEXT.to_owned()));
        }
        let operation = Operation::File {
            sources: files.sources.to_vec(),
            dest: absolute(&self.state.run_config().working_dir, files.dest),
            owner: files.chown.map(str::to_owned),
            mode: files.chmod.map(str::to_owned),
            unpacks: files.unpack.unwrap_or(files.name == "ADD"),
        };
        let before = self.state.layers.len();
        self.files_done(key, entry, created_by)?;
        self.did(operation, read, before);
        Ok(())
    }

    fn settings(&self, files: &Files<'_>) -> Result<Settings, CopyError> {
        let chown = files.chown.map(parse_chown).transpose()?;
        Ok(Settings {
            dest: absolute(&self.state.run_config().working_dir, files.dest),
            chmod: files.chmod.map(ModeChange::parse).transpose()?,
            exclude: Patterns::new(files.exclude.iter().cloned())?,
            // Names of users are the image's, so such a copy depends on it.
            alone: files.link && !chown.as_ref().is_some_and(ChownSpec::has_names),
            keep_owners: files.from.is_some() && chown.is_none(),
            chown,
        })
    }

    fn alias(&self, quick: Option<&Key>, anew: bool) -> Result<Option<(Key, String)>, BuildError> {
        match quick {
            Some(quick) if !anew => self.build.alias(quick),
            _ => Ok(None),
        }
    }

    /// The state that `--from` means: an earlier stage by name or index, or an image.
    pub(super) fn from(&self, from: &str) -> Result<Arc<State>, BuildError> {
        if let Some(index) = self.build.plan.find_stage(from, self.plan.index) {
            return self.build.stage(index, self.scope);
        }
        let platform = &self.plan.platform;
        let named = self.build.contexts.base(from, platform);
        Ok(Arc::new(match named.unwrap_or_else(|| Base::Image(from.to_owned())) {
            Base::Context(name) => self.context_state(&name)?,
            Base::Image(name) if name != "scratch" => {
                let mut state = State::of_image(self.build.image(&name, platform, Some(self.n))?, self.plan);
                state.done = Some(self.brought_in(image_identifier(&name)));
                state
            }
            _ => State::scratch(self.plan),
        }))
    }

    /// Finds, fetches and writes down what is copied.
    fn sources(
        &self,
        files: &Files<'_>,
        settings: &Settings,
        from: Option<&State>,
    ) -> Result<Sources<'scope>, BuildError> {
        let failed = files.failed();
        let build = self.build;
        let main = match from {
            Some(state) => {
                let tree = layers::view(&state.lower(build), build.builder.images.store())?;
                Some(SourceTree { tree, context: None })
            }
            None => self.context_tree().ok(),
        };
        let mut sources = Sources { main, scratch: None, items: Vec::new() };
        for source in files.sources {
            let remote = remote::kind(source);
            match remote {
                None => self.add_local(files, settings, source, &mut sources).map_err(failed)?,
                Some(_) if files.name == "COPY" => return Err(failed(CopyError::UrlInCopy)),
                Some(kind) => self.add_remote(files, settings, source, kind, &mut sources).map_err(failed)?,
            }
        }
        for file in files.files {
            self.add_inline(file, &mut sources).map_err(failed)?;
        }
        // What wildcards stand for may be nothing, and one file after the other.
        let several = match build.strict_sources {
            true if sources.items.is_empty() => return Err(failed(CopyError::NoSources)),
            true => sources.items.len() > 1,
            false => files.sources.len() + files.files.len() > 1,
        };
        if several && !names_directory(files.dest) {
            return Err(failed(CopyError::DestinationNotDir(files.name)));
        }
        Ok(sources)
    }

    fn add_local(
        &self,
        files: &Files<'_>,
        settings: &Settings,
        path: &str,
        sources: &mut Sources<'_>,
    ) -> Result<(), CopyError> {
        if files.checksum.is_some() {
            return Err(CopyError::ChecksumSource);
        }
        let main = sources.main.as_ref().ok_or(CopyError::NoContext)?;
        let selection = Selection {
            source: main,
            exclude: &settings.exclude,
            parents: files.parents,
            cancel: &self.build.cancel,
        };
        let items = select(&selection, path)?;
        for item in items {
            let unpack = files.unpack.unwrap_or(true)
                && item.nodes.first().is_some_and(|node| node.kind() == FileType::RegularFile)
                && {
                    let mut file = main.tree.open_file(&item.root).map_err(io_error("open", &item.root))?;
                    is_archive(&mut file).map_err(io_error("read", &item.root))?
                };
            sources.items.push(Sourced { item, in_scratch: false, unpack, contents: Vec::new() });
        }
        Ok(())
    }

    fn add_remote(
        &self,
        files: &Files<'_>,
        settings: &Settings,
        url: &str,
        kind: remote::Kind,
        sources: &mut Sources<'_>,
    ) -> Result<(), CopyError> {
        if files.checksum.is_some() && files.sources.len() > 1 {
            return Err(CopyError::ChecksumSources);
        }
        let scratch = self.scratch(sources)?;
        let (host_dir, dir) = scratch.dir()?;
        let path = match kind {
            remote::Kind::Http => {
                let fetch = remote::Fetch {
                    source: self.build.builder.remote.as_ref(),
                    url,
                    dest: &settings.dest,
                    name: None,
                    checksum: files.checksum,
                    cancel: &self.build.cancel,
                };
                let (name, digest) = fetch.save_in(&host_dir)?;
                lock(&self.build.capture).material(Material::Http { url: url.to_owned(), digest });
                // Docker ends the progress of a download with a line break.
                self.note("\n".to_owned());
                format!("{dir}/{name}")
            }
            remote::Kind::Git => {
                let options = git::Options {
                    keep_git_dir: files.keep_git_dir,
                    checksum: files.checksum,
                    secrets: Some(&self.build.secrets),
                    ..git::Options::default()
                };
                let (inner, cloned) = git::clone(url, &host_dir, &options, &self.build.cancel)?;
                lock(&self.build.capture).material(cloned);
                format!("{dir}/{inner}")
            }
        };
        let unpack = kind == remote::Kind::Http && files.unpack.unwrap_or(false);
        self.add_from_scratch(&path, unpack, sources)
    }

    fn add_inline(&self, file: &SourceFile, sources: &mut Sources<'_>) -> Result<(), CopyError> {
        let scratch = self.scratch(sources)?;
        let (host_dir, dir) = scratch.dir()?;
        let name = file.name.rsplit('/').next().filter(|name| !matches!(*name, "" | "." | ".."));
        let name = name.unwrap_or("heredoc");
        let opened = File::open(&host_dir).map_err(io_error("open", &host_dir))?;
        write_file(&opened.into(), name, file.content.as_bytes(), 0o644).map_err(io_error("write", name))?;
        self.add_from_scratch(&format!("{dir}/{name}"), false, sources)
    }

    fn scratch<'s>(&self, sources: &'s mut Sources<'_>) -> Result<&'s mut Scratch, CopyError> {
        if sources.scratch.is_none() {
            sources.scratch = Some(Scratch::new(self.build.builder.images.store())?);
        }
        sources.scratch.as_mut().ok_or(CopyError::NoContext)
    }

    fn add_from_scratch(&self, path: &str, unpack: bool, sources: &mut Sources<'_>) -> Result<(), CopyError> {
        let Some(scratch) = &sources.scratch else { return Err(CopyError::NoContext) };
        let item = item_at(&scratch.source, path, &self.build.cancel)?;
        sources.items.push(Sourced { item, in_scratch: true, unpack, contents: Vec::new() });
        Ok(())
    }

    fn digests(
        &self,
        settings: &Settings,
        sources: &mut Sources<'_>,
        mut inputs: Option<&mut StepInputs>,
    ) -> Result<Vec<(bool, Key)>, CopyError> {
        let mut digests = Vec::new();
        let mut all_contents = Vec::new();
        for sourced in &sources.items {
            let tree = sources.tree_of(sourced)?;
            let with_owners = settings.keep_owners && !sourced.in_scratch;
            let list = inputs.as_mut().map(|inputs| &mut inputs.files);
            let first = list.as_ref().map_or(0, |list| list.len());
            let (digest, contents) = item_digest(tree, &sourced.item, with_owners, list, &self.build.cancel)?;
            all_contents.push(contents);
            if let (true, Some(inputs)) = (sourced.in_scratch, &mut inputs) {
                // Where it was fetched to is nobody's concern.
                for file in &mut inputs.files[first..] {
                    let below = file.path.iter().position(|byte| *byte == b'/').map_or(0, |at| at + 1);
                    file.path.drain(..below);
                }
            }
            digests.push((sourced.item.is_dir(), digest));
        }
        for (sourced, contents) in sources.items.iter_mut().zip(all_contents) {
            sourced.contents = contents;
        }
        Ok(digests)
    }

    fn content_key(
        &self,
        files: &Files<'_>,
        settings: &Settings,
        sources: &Sources<'_>,
        digests: &[(bool, Key)],
    ) -> Key {
        let mut key = settings.key("copy", files);
        if !settings.alone {
            key.add(self.state.files.bytes());
        }
        for (sourced, (is_dir, digest)) in sources.items.iter().zip(digests) {
            // A directory's contents are copied, whatever its name.
            if !is_dir || sourced.item.parents.is_some() {
                key.add(sourced.item.name.as_bytes());
            }
            if let Some(parents) = &sourced.item.parents {
                key.add(parents.as_os_str().as_bytes());
            }
            key.add(digest.bytes());
            key.add(&[u8::from(sourced.unpack), u8::from(sourced.in_scratch)]);
        }
        key.finish()
    }

    /// The line of history.
    fn copied_by(&self, files: &Files<'_>, digests: &[(bool, Key)]) -> String {
        let mut flags = String::new();
        for (flag, value) in [("chown", files.chown), ("chmod", files.chmod)] {
            if let Some(value) = value {
                flags.push_str(&format!("--{flag}={value} "));
            }
        }
        let comment = format!("{} {flags}{} in {} ", files.name, source_text(digests), files.dest);
        config::nop_file(self.state.run_config(), &comment)
    }

    /// Writes everything into a new layer.
    fn write(
        &self,
        files: &Files<'_>,
        settings: &Settings,
        sources: &Sources<'_>,
        began: Option<i64>,
    ) -> Result<Option<Written>, BuildError> {
        let failed = files.failed();
        let build = self.build;
        let _pass = build.builder.gate.enter(&build.cancel)?;
        let comparable = self.comparable(files, settings, sources);
        if let Some(copy) = comparable.as_ref().filter(|_| !self.state.anew)
            && let Some(written) = self.write_upon(settings, copy, failed)?
        {
            return Ok(Some(written));
        }
        let draft = Draft::new(build.builder.images.store())?;
        let lower = if settings.alone { Vec::new() } else { self.state.lower(build) };
        let view = draft.view(&lower)?;
        let chown = settings.chown.as_ref().map(|chown| chown.resolve(&view)).transpose().map_err(failed)?;
        let destination = Destination { tree: &view, path: &settings.dest };
        let mut plain = true;
        for sourced in &sources.items {
            let tree = sources.tree_of(sourced).map_err(failed)?;
            let keep = settings.keep_owners && !sourced.in_scratch;
            let placement = Placement {
                owner: if keep || sourced.unpack { chown } else { Some(chown.unwrap_or_default()) },
                mode: settings.chmod.as_ref(),
                only: None,
                cancel: &build.cancel,
            };
            if sourced.unpack {
                let root = &sourced.item.root;
                let archive = tree.tree.open_file(root).map_err(io_error("open", root)).map_err(failed)?;
                let shown = sourced.item.name.to_string_lossy();
                unpack_archive(&destination, &placement, archive, &shown).map_err(failed)?;
            } else {
                plain &= place(&destination, &placement, tree, &sourced.item).map_err(failed)?;
            }
        }
        drop(view);
        let written = draft.commit(build, began)?;
        if let (Some(copy), Some(written), true) = (comparable, written, plain) {
            copy.remember(self, written.layer);
        }
        Ok(written)
    }
}

impl Settings {
    /// Lists everything but the files.
    fn list(&self, files: &Files<'_>, from: Option<&State>, inputs: &mut StepInputs) {
        let sources = files.sources.join(" ");
        inputs.add(InputKind::Instruction, "", format!("{} {sources} {}", files.name, self.dest));
        let given = [("chown", files.chown), ("chmod", files.chmod), ("checksum", files.checksum)];
        for (name, value) in given.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            inputs.add(InputKind::Option, name, value);
        }
        let set = [("link", files.link), ("parents", files.parents)];
        for (name, _) in set.into_iter().filter(|(_, set)| *set) {
            inputs.add(InputKind::Option, name, "true");
        }
        if !files.exclude.is_empty() {
            inputs.add(InputKind::Option, "exclude", files.exclude.join(" "));
        }
        if let (Some(name), Some(from)) = (files.from, from) {
            inputs.add(InputKind::From, name, from.files.to_string());
        }
    }

    /// Begins a key with everything but sources and what is below.
    pub(super) fn key(&self, kind: &str, files: &Files<'_>) -> KeyBuilder {
        let flags = [
            u8::from(names_directory(files.dest)),
            u8::from(self.alone),
            u8::from(self.keep_owners),
            u8::from(files.parents),
            u8::from(files.keep_git_dir == Some(true)),
        ];
        KeyBuilder::new(kind)
            .field(&self.dest)
            .list(files.chown)
            .list(files.chmod)
            .list(files.exclude)
            .field(flags)
    }
}

/// Names a copy from a stage by what the stage is.
fn quick_key(stage: &Stage<'_, '_, '_>, files: &Files<'_>, settings: &Settings, from: &State) -> Key {
    settings
        .key("copy-from", files)
        .field(if settings.alone { &[] } else { stage.state.files.bytes() })
        .field(from.files.bytes())
        .list(files.sources)
        .list(files.files.iter().flat_map(|file| [&file.name, &file.content]))
        .finish()
}

/// The destination as an absolute path; a last slash stays.
fn absolute(working_dir: &str, dest: &str) -> String {
    if dest.starts_with('/') {
        return dest.to_owned();
    }
    let joined = clean_path(&format!("/{working_dir}/{dest}"));
    if names_directory(dest) && !joined.ends_with('/') { format!("{joined}/") } else { joined }
}
