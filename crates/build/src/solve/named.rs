//! Named contexts that are no images: fetched once per build, when a step first needs them, and made a layer.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::layers::{Draft, failed};
use super::stage::{Stage, State, now};
use super::{git, kind, lock, remote};
use crate::cache::{Entry, Key, KeyBuilder, Turn};
use crate::capture::Material;
use crate::context::ContextDir;
use crate::copy::{Destination, Placement, Selection, SourceTree, item_at, item_digest, place, select};
use crate::dockerignore::Patterns;
use crate::error::BuildError;
use crate::named::NamedContextError;
use crate::tree::Tree;

/// What became of the contexts, by key. Who comes second waits.
#[derive(Default)]
pub(crate) struct Loaded(Mutex<HashMap<String, Arc<Mutex<Slot>>>>);

type Slot = Option<(Key, Entry)>;

/// The name of a file that an address leads to, as BuildKit has it.
const FETCHED: &str = "context";

impl Stage<'_, '_, '_> {
    /// The state of the named context with this key.
    pub(super) fn context_state(&self, key: &str) -> Result<State, BuildError> {
        let slot = lock(&self.build.contexts_loaded.0).entry(key.to_owned()).or_default().clone();
        let mut slot = lock(&slot);
        let (files, entry) = match &*slot {
            Some(loaded) => loaded.clone(),
            None => {
                let loaded = self.load_context(key)?;
                slot.insert(loaded).clone()
            }
        };
        let none = KeyBuilder::new("scratch").finish();
        self.build.used(&files, &entry, &format!("CONTEXT {key}"), &none);
        let mut state = State::scratch(self.plan);
        state.layers.extend(entry.layer);
        state.files = files;
        state.chain = files;
        let value = self.build.contexts.value(key).unwrap_or_default();
        let identifier = match value.strip_prefix("local:") {
            // What was fetched before is told of by what it was.
            Some(given) if given.starts_with("input:") => given.to_owned(),
            Some(_) => format!("local://{key}"),
            None => value.to_owned(),
        };
        state.done = Some(self.brought_in(identifier));
        Ok(state)
    }

    fn load_context(&self, name: &str) -> Result<(Key, Entry), BuildError> {
        let build = self.build;
        let context = self.fetch_context(name)?;
        let key = self.content_of(&context).map_err(|error| NamedContextError::from((name, error)))?;
        // Known by its content, so that `--no-cache` makes it no other.
        let entry = match build.builder.cache.turn(&key, true, &build.cancel)? {
            Turn::Known(entry) => entry,
            Turn::Yours(_guard) => {
                let draft = Draft::new(build.builder.images.store())?;
                match context.is_kept() {
                    false => move_into(context.path(), &draft.upper())?,
                    true => self
                        .copy_into(&context, &draft.upper())
                        .map_err(|e| NamedContextError::from((name, e)))?,
                }
                let entry = Entry::of_files(now(), draft.commit(build, None)?);
                build.record(&key, &entry)?;
                entry
            }
        };
        let entry = build.stamped(&key, entry)?;
        Ok((key, entry))
    }

    /// Copies everything in a context that stays.
    fn copy_into(&self, context: &ContextDir, upper: &Path) -> Result<(), crate::CopyError> {
        let cancel = &self.build.cancel;
        let source = SourceTree {
            tree: Tree::open(context.path()).map_err(crate::copy::io_error("open", "."))?,
            context: Some(context),
        };
        let tree = Tree::open(upper).map_err(crate::copy::io_error("open", upper))?;
        let placement = Placement { owner: None, mode: None, only: None, cancel };
        let item = item_at(&source, ".", cancel)?;
        place(&Destination { tree: &tree, path: "/" }, &placement, &source, &item)?;
        Ok(())
    }

    /// Fetches what a context's value names.
    fn fetch_context(&self, name: &str) -> Result<ContextDir, BuildError> {
        let build = self.build;
        let value = build.contexts.value(name).unwrap_or_default().to_owned();
        let wrong = || NamedContextError::Specifier { name: name.to_owned(), value: value.clone() };
        if let Some(folder) = value.strip_prefix("local:") {
            return Ok(build.contexts.directory(folder, name, &build.cancel)?);
        }
        match kind(&value) {
            Some(remote::Kind::Git) => {
                let clone = self.empty_context(name)?;
                let options = git::Options { secrets: Some(&build.secrets), ..git::Options::default() };
                let (folder, cloned) = git::clone(&value, clone.path(), &options, &build.cancel)
                    .map_err(|error| NamedContextError::from((name, error)))?;
                lock(&build.capture).material(cloned);
                let part = clone.part(&folder).map_err(|error| NamedContextError::from((name, error)))?;
                Ok(part)
            }
            // A folder of an archive.
            Some(remote::Kind::Http) if value.split_once('#').is_some_and(|(_, part)| part.contains(':')) => {
                let fetched = build.builder.fetch_context(&value, "", &build.secrets, &build.cancel);
                let fetched = fetched.map_err(|error| NamedContextError::source(name, error))?;
                lock(&build.capture).material(fetched.material);
                Ok(fetched.context.ok_or_else(wrong)?)
            }
            Some(remote::Kind::Http) => {
                let context = self.empty_context(name)?;
                let fetch = remote::Fetch {
                    source: build.builder.remote.as_ref(),
                    url: &value,
                    dest: "/",
                    name: Some(FETCHED),
                    checksum: None,
                    cancel: &build.cancel,
                };
                let (_, digest) =
                    fetch.save_in(context.path()).map_err(|error| NamedContextError::from((name, error)))?;
                lock(&build.capture).material(Material::Http { url: value.clone(), digest });
                Ok(context)
            }
            None => {
                let (kind, _) = value.split_once(':').ok_or_else(wrong)?;
                Err(NamedContextError::Kind { name: name.to_owned(), kind: kind.to_owned() }.into())
            }
        }
    }

    fn empty_context(&self, name: &str) -> Result<ContextDir, NamedContextError> {
        ContextDir::create(&self.build.builder.context_parent())
            .map_err(|error| NamedContextError::from((name, error)))
    }

    /// Names a directory by what is in it.
    fn content_of(&self, context: &ContextDir) -> Result<Key, crate::CopyError> {
        let tree = Tree::open(context.path()).map_err(crate::copy::io_error("open", "."))?;
        let source = SourceTree { tree, context: Some(context) };
        let selection = Selection {
            source: &source,
            exclude: &Patterns::default(),
            parents: false,
            cancel: &self.build.cancel,
        };
        let mut key = KeyBuilder::new("context");
        for item in select(&selection, ".")? {
            key.add(item_digest(&source, &item, true, None, &self.build.cancel)?.0.bytes());
        }
        Ok(key.finish())
    }
}

/// Moves everything in a directory into another one of the same file system.
fn move_into(from: &Path, to: &Path) -> Result<(), BuildError> {
    for entry in fs::read_dir(from).map_err(failed("list", from))? {
        let entry = entry.map_err(failed("list", from))?;
        let path = entry.path();
        fs::rename(&path, to.join(entry.file_name())).map_err(failed("move", &path))?;
    }
    Ok(())
}
