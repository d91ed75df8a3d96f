//! The tree: which packs there are, and what is in the volume. One JSON document a line, all of them in one zstd frame.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::node::{Kind, Node};
use crate::pack::Pack;

/// The form of the lines.
const VERSION: u32 = 1;
/// Longest line that is read: a file of some terabytes.
const MAX_LINE: u64 = 256 << 20;
/// Window of the frame, as [`crate::pack`]'s.
const WINDOW_LOG: u32 = 24;

/// What is in a volume, and where its bytes are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    /// The packs.
    pub packs: Vec<Pack>,
    /// The files; the root first, folders before what is in them.
    pub nodes: Vec<Node>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum LineOut<'a> {
    Version(u32),
    Pack(&'a Pack),
    Node(&'a Node),
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum LineIn {
    Version(u32),
    Pack(Pack),
    Node(Node),
}

impl Tree {
    /// The tree as a blob.
    ///
    /// # Errors
    /// If it cannot be packed.
    pub fn to_blob(&self) -> Result<Vec<u8>, Error> {
        let packs = self.packs.iter().map(LineOut::Pack);
        let nodes = self.nodes.iter().map(LineOut::Node);
        let write = || {
            let mut out = zstd::Encoder::new(Vec::new(), 3)?;
            for line in std::iter::once(LineOut::Version(VERSION)).chain(packs).chain(nodes) {
                serde_json::to_writer(&mut out, &line)?;
                out.write_all(b"\n")?;
            }
            out.finish()
        };
        write().map_err(Error::Write)
    }

    /// Reads a blob. Whatever it says, the tree that comes out has one root, folders before their content, plain
    /// names, and chunks that exist and lie in their files one after the other.
    ///
    /// # Errors
    /// If it is none, or a later version's.
    pub fn from_blob(blob: impl Read) -> Result<Self, Error> {
        let mut plain = zstd::Decoder::new(blob).map_err(Error::Read)?;
        plain.window_log_max(WINDOW_LOG).map_err(Error::Read)?;
        let mut lines = BufReader::new(plain);
        let mut tree = Tree::default();
        let mut number = 0;
        let mut line = Vec::new();
        loop {
            line.clear();
            let unpacked = |error| Error::invalid(format!("its tree cannot be unpacked: {error}"));
            let read = lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).map_err(unpacked)?;
            if read == 0 {
                break;
            }
            number += 1;
            let wrong = |error| Error::invalid(format!("line {number} of its tree: {error}"));
            match serde_json::from_slice(&line).map_err(wrong)? {
                LineIn::Version(VERSION) if number == 1 => {}
                LineIn::Version(other) => {
                    return Err(Error::invalid(format!("its tree has version {other}; known is {VERSION}")));
                }
                _ if number == 1 => return Err(Error::invalid("its tree does not say its version")),
                LineIn::Pack(pack) => tree.packs.push(pack),
                LineIn::Node(node) => tree.nodes.push(node),
            }
        }
        tree.check()?;
        Ok(tree)
    }

    /// Where each pack's chunks begin in the count of all.
    pub(crate) fn starts(&self) -> Vec<u32> {
        let mut next = 0;
        let mut start = |pack: &Pack| {
            let this = next;
            next += pack.chunks.len() as u32;
            this
        };
        self.packs.iter().map(&mut start).collect()
    }

    fn check(&self) -> Result<(), Error> {
        self.packs.iter().try_for_each(Pack::check)?;
        let lengths: Vec<u32> =
            self.packs.iter().flat_map(|pack| &pack.chunks).map(|chunk| chunk.1).collect();
        if u32::try_from(lengths.len()).is_err() {
            return Err(Error::invalid("it has too many chunks"));
        }
        let mut kinds: HashMap<&[u8], Kind> = HashMap::new();
        for (number, node) in self.nodes.iter().enumerate() {
            let wrong = |why: &str| Error::invalid(format!("{:?}: {why}", node.path.path()));
            match node.path.split() {
                None if number == 0 && node.kind == Kind::Dir => {}
                None => return Err(Error::invalid("it has no root, or two")),
                Some(_) if number == 0 => return Err(Error::invalid("its root is not the first")),
                Some((parent, name)) => {
                    let plain =
                        !matches!(name, b"" | b"." | b"..") && !name.contains(&0) && name.len() <= 255;
                    if !plain || kinds.get(parent) != Some(&Kind::Dir) {
                        return Err(wrong("not a name in a folder that stands before it"));
                    }
                }
            }
            if kinds.insert(&node.path.0, node.kind).is_some() {
                return Err(wrong("it is there twice"));
            }
            check_node(node, number, self, &lengths).map_err(wrong)?;
        }
        if self.nodes.is_empty() { Err(Error::invalid("it has no root, or two")) } else { Ok(()) }
    }
}

fn check_node(node: &Node, number: usize, tree: &Tree, lengths: &[u32]) -> Result<(), &'static str> {
    if let Some(first) = node.first {
        let earlier = tree.nodes[..number].get(first as usize);
        let linked = earlier.is_some_and(|earlier| {
            earlier.kind == node.kind && earlier.first.is_none() && node.kind != Kind::Dir
        });
        let bare = node.chunks.is_empty() && node.size == 0;
        return if linked && bare { Ok(()) } else { Err("it is no other name of a file before it") };
    }
    let target = node.target.as_ref().is_some_and(|target| !target.0.is_empty() && !target.0.contains(&0));
    if (node.kind == Kind::Symlink) != target {
        return Err("a link and its target belong together");
    }
    if matches!(node.kind, Kind::Char | Kind::Block) != node.device.is_some() {
        return Err("a device and its number belong together");
    }
    if node.mode & !0o7777 != 0 {
        return Err("its mode has more than permissions");
    }
    if node.kind != Kind::File && (node.size != 0 || !node.chunks.is_empty()) {
        return Err("only files have bytes");
    }
    let mut end = 0;
    for (offset, chunk) in &node.chunks {
        let length = lengths.get(*chunk as usize).ok_or("it has a chunk that is nowhere")?;
        let after = offset.checked_add(u64::from(*length)).ok_or("a chunk lies beyond its end")?;
        if *offset < end || after > node.size {
            return Err("its chunks overlap or lie beyond its end");
        }
        end = after;
    }
    if node.size > i64::MAX as u64 { Err("it is too long") } else { Ok(()) }
}
