//! What a build has taken and done, for whoever tells how its result was made.

use dray_spec::{Digest, Platform};
use dray_store::LayerId;

use crate::dockerfile::Mount;

/// Something from elsewhere that a build has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Material {
    /// An image.
    Image {
        /// By which name.
        name: String,
        /// For which platform.
        platform: Platform,
        /// What the name stands for; of an image that is only here, its id.
        digest: Option<Digest>,
    },
    /// A file behind an address.
    Http {
        /// The address.
        url: String,
        /// Of its content.
        digest: Digest,
    },
    /// A repository.
    Git {
        /// The address, with the reference that is wanted of it (`address#main`).
        url: String,
        /// The commit.
        commit: String,
    },
}

impl Material {
    /// What a repository is called here that has this address; none for an address that is not understood.
    #[must_use]
    pub fn repository(address: &str) -> Option<String> {
        crate::solve::git::name(address)
    }
}

/// What a step did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Brought something in: `docker-image://…`, `local://…`, or an address.
    Source {
        /// What.
        identifier: String,
    },
    /// Ran a program.
    Exec {
        /// Program and arguments.
        args: Vec<String>,
        /// Its variables (`A=b`), with the declared arguments.
        env: Vec<String>,
        /// Where.
        cwd: String,
        /// As whom; empty for root.
        user: String,
        /// Which network it could use: `host`, `none`, or nothing for that of any step.
        network: String,
        /// It had all privileges.
        insecure: bool,
        /// What it had mounted, each with the place among the step's inputs of what that was of.
        mounts: Vec<(Mount, Option<usize>)>,
    },
    /// Copied files.
    File {
        /// From where, as written.
        sources: Vec<String>,
        /// To where.
        dest: String,
        /// Whose they are then, as written.
        owner: Option<String>,
        /// Their mode, as written.
        mode: Option<String>,
        /// Archives were unpacked.
        unpacks: bool,
    },
    /// Made a directory.
    Directory {
        /// Which.
        path: String,
    },
}

/// A step that was carried out or found in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoneStep {
    /// What it did.
    pub operation: Operation,
    /// For which platform.
    pub platform: Platform,
    /// The steps whose results it worked on, by their places; the one below it first.
    pub inputs: Vec<usize>,
    /// The first of them is what it worked on; the others are what it read.
    pub is_upon: bool,
    /// First and last lines of the instructions that asked for it.
    pub lines: Vec<(usize, usize)>,
    /// What it wrote.
    pub layer: Option<LayerId>,
}

/// All of it. Steps come after those that they work on.
#[derive(Clone, Debug, Default)]
pub struct Capture {
    /// What was taken from elsewhere, each once.
    pub materials: Vec<Material>,
    /// What was done.
    pub steps: Vec<DoneStep>,
    /// Secrets that steps asked for, and whether they could do without.
    pub secrets: Vec<(String, bool)>,
    /// Agents.
    pub agents: Vec<(String, bool)>,
    /// The Dockerfile's name and text.
    pub dockerfile: (String, String),
    /// The step that the result is of; none for an empty one.
    pub result: Option<usize>,
}

impl Capture {
    pub(crate) fn material(&mut self, material: Material) {
        if !self.materials.contains(&material) {
            self.materials.push(material);
        }
    }

    /// Notes a step; gives its place. A source is there once, however many ask for it.
    pub(crate) fn step(&mut self, step: DoneStep) -> usize {
        let is_source = matches!(step.operation, Operation::Source { .. });
        let same = |known: &DoneStep| known.operation == step.operation && known.platform == step.platform;
        match self.steps.iter().position(|known| is_source && same(known)) {
            Some(place) => {
                let known = &mut self.steps[place].lines;
                known.extend(
                    step.lines.into_iter().filter(|lines| !known.contains(lines)).collect::<Vec<_>>(),
                );
                place
            }
            None => {
                self.steps.push(step);
                self.steps.len() - 1
            }
        }
    }

    pub(crate) fn secret(&mut self, id: &str, optional: bool) {
        note(&mut self.secrets, id, optional);
    }

    pub(crate) fn agent(&mut self, id: &str, optional: bool) {
        note(&mut self.agents, id, optional);
    }
}

fn note(known: &mut Vec<(String, bool)>, id: &str, optional: bool) {
    match known.iter_mut().find(|(known, _)| known == id) {
        Some((_, known)) => *known &= optional,
        None => known.push((id.to_owned(), optional)),
    }
}
