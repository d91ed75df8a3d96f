//! What goes into a step, by name: what a later build of the same thing is held against, to tell why a step was not
//! found in the cache.
//!
//! A key says only that something differs. This says what: it is told beside the key and made of the same things.

use std::os::unix::ffi::OsStrExt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::cache::Key;
use crate::copy::{Item, Node};

/// A value that is longer than this is told by its digest.
const LONGEST: usize = 1024;

/// What goes into a step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepInputs {
    /// The name of the result.
    pub key: String,
    /// The name of the files that it works on; empty for none.
    pub before: String,
    /// Everything else but files.
    pub values: Vec<StepInput>,
    /// The files that it reads.
    #[serde(skip)]
    pub files: Vec<InputFile>,
}

/// A value that goes into a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepInput {
    /// What it is.
    pub kind: InputKind,
    /// Its name, where there are several of the kind.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The value, or its digest.
    pub value: String,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputKind {
    /// What the instruction says.
    Instruction,
    /// An `ARG`.
    Argument,
    /// A variable of `ENV`.
    Variable,
    /// `USER`.
    User,
    /// `WORKDIR`.
    Directory,
    /// The network of `RUN`.
    Network,
    /// `RUN --security`, `--device`.
    Privilege,
    /// A script from a heredoc.
    Script,
    /// A mount, by its target.
    Mount,
    /// The image of a `FROM`.
    Image,
    /// What a stage, an image or a named context gives.
    From,
    /// An option of `COPY` or `ADD`.
    Option,
}

/// A file that a step reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputFile {
    /// Where it is in its context, stage or image.
    pub path: Vec<u8>,
    /// Type and mode, as the kernel has them.
    pub mode: u32,
    /// User and group, where they count.
    pub owner: (u32, u32),
    /// The beginning of the digest of its content or target.
    pub content: u64,
}

impl StepInputs {
    pub(crate) fn add(&mut self, kind: InputKind, name: impl Into<String>, value: impl Into<String>) {
        let value = value.into();
        let value = match value.len() {
            0..=LONGEST => value,
            _ => format!("sha256:{}", hex::encode(Sha256::digest(&value))),
        };
        self.values.push(StepInput { kind, name: name.into(), value });
    }

    /// The variables of a list, each by its name.
    pub(crate) fn add_variables(&mut self, kind: InputKind, variables: &[String]) {
        for variable in variables {
            let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
            self.add(kind, name, value);
        }
    }

    /// Names the result and what it works on.
    pub(crate) fn named(mut self, key: &Key, before: Option<&Key>) -> Self {
        self.key = key.to_string();
        self.before = before.map(Key::to_string).unwrap_or_default();
        self
    }
}

impl InputFile {
    /// A node of an item; `content` is its digest, or the target of a link.
    pub(crate) fn new(item: &Item, node: &Node, content: &[u8], with_owners: bool) -> Self {
        let mut first = [0; 8];
        match content.len() {
            32 => first.copy_from_slice(&content[..8]),
            0 => {}
            _ => first.copy_from_slice(&Sha256::digest(content)[..8]),
        }
        InputFile {
            path: item.path_of(node).as_os_str().as_bytes().to_vec(),
            mode: node.stat.st_mode,
            owner: if with_owners { (node.stat.st_uid, node.stat.st_gid) } else { (0, 0) },
            content: u64::from_be_bytes(first),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_told_by_their_digest() {
        let mut inputs = StepInputs::default();
        inputs.add(InputKind::Script, "", "x".repeat(LONGEST));
        inputs.add(InputKind::Script, "", "x".repeat(LONGEST + 1));
        inputs.add_variables(InputKind::Variable, &["A=b=c".to_owned(), "D".to_owned()]);
        assert_eq!(inputs.values[0].value.len(), LONGEST);
        assert!(inputs.values[1].value.starts_with("sha256:"));
        assert_eq!((inputs.values[2].name.as_str(), inputs.values[2].value.as_str()), ("A", "b=c"));
        assert_eq!((inputs.values[3].name.as_str(), inputs.values[3].value.as_str()), ("D", ""));
    }
}
