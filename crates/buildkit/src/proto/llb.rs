//! `pb.Op`: operations of a graph, as far as clients make them without a frontend. One that builds one thing upon
//! another hands back, as an input, the definition that came with the first one's result; one that reads files of a
//! repository or behind an address, to build of them, says so by [`Files`].
//!
//! ```text
//! def[0]  Op { source: "dray-result://sha256:…" }
//! def[1]  Op { inputs: [def[0]] }                     the end, as clients want it
//!
//! def[0]  Op { source: "git://example.org/a.git#main" }
//! def[1]  Op { inputs: [def[0]], file: copy "/app" to "/" }
//! def[2]  Op { inputs: [def[1]] }
//! ```

use std::collections::HashMap;

use super::Definition;
use prost::{Message, Oneof};

/// What stands before the id of a built image.
const RESULT: &str = "dray-result://";
/// The longest chain of operations that is followed.
const MAX_DEPTH: usize = 16;

/// Files that a graph stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Files {
    /// Of a repository.
    Git {
        /// `address#ref:folder`
        address: String,
        /// Whether `.git` is kept.
        keep_git_dir: bool,
        /// The commit that it has to be.
        checksum: Option<String>,
        /// Without submodules.
        skip_submodules: bool,
    },
    /// A file behind an address.
    Http {
        /// The address.
        url: String,
        /// What it is called then.
        name: String,
        /// The digest that it has to have.
        checksum: Option<String>,
    },
    /// A part of other files.
    Part {
        /// Of which.
        of: Box<Files>,
        /// Which.
        path: String,
        /// What is in the folder, not the folder itself.
        contents: bool,
        /// What is in an archive, if it is one.
        unpack: bool,
    },
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Op {
    #[prost(message, repeated, tag = "1")]
    inputs: Vec<Input>,
    #[prost(message, optional, tag = "2")]
    exec: Option<Other>,
    #[prost(message, optional, tag = "3")]
    source: Option<SourceOp>,
    #[prost(message, optional, tag = "4")]
    file: Option<FileOp>,
    #[prost(message, optional, tag = "5")]
    build: Option<Other>,
    #[prost(message, optional, tag = "6")]
    merge: Option<Other>,
    #[prost(message, optional, tag = "7")]
    diff: Option<Other>,
}

/// An operation that is not carried out here.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct Other {}

#[derive(Clone, PartialEq, Eq, Message)]
struct Input {
    #[prost(string, tag = "1")]
    digest: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct SourceOp {
    #[prost(string, tag = "1")]
    identifier: String,
    #[prost(map = "string, string", tag = "2")]
    attrs: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct FileOp {
    #[prost(message, repeated, tag = "2")]
    actions: Vec<FileAction>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct FileAction {
    /// What is copied onto; -1 for nothing.
    #[prost(int64, tag = "1")]
    input: i64,
    /// What is copied from.
    #[prost(int64, tag = "2")]
    secondary_input: i64,
    #[prost(oneof = "Action", tags = "4, 5, 6, 7, 8")]
    action: Option<Action>,
}

#[derive(Clone, PartialEq, Eq, Oneof)]
enum Action {
    #[prost(message, tag = "4")]
    Copy(CopyAction),
    #[prost(message, tag = "5")]
    MkFile(Other),
    #[prost(message, tag = "6")]
    MkDir(Other),
    #[prost(message, tag = "7")]
    Rm(Other),
    #[prost(message, tag = "8")]
    Symlink(Other),
}

#[derive(Clone, PartialEq, Eq, Message)]
struct CopyAction {
    #[prost(string, tag = "1")]
    src: String,
    #[prost(string, tag = "2")]
    dest: String,
    #[prost(message, optional, tag = "3")]
    owner: Option<Other>,
    #[prost(int32, tag = "4")]
    mode: i32,
    #[prost(bool, tag = "6")]
    dir_copy_contents: bool,
    #[prost(bool, tag = "7")]
    attempt_unpack: bool,
    #[prost(bool, tag = "9")]
    allow_wildcard: bool,
    #[prost(string, repeated, tag = "12")]
    include_patterns: Vec<String>,
    #[prost(string, repeated, tag = "13")]
    exclude_patterns: Vec<String>,
    #[prost(string, tag = "15")]
    mode_text: String,
}

impl CopyAction {
    /// Whether it gives the files as they are.
    fn is_plain(&self) -> bool {
        // A copy that says no mode has -1.
        let as_it_is = self.owner.is_none() && self.mode < 0 && self.mode_text.is_empty();
        let all = self.include_patterns.is_empty() && self.exclude_patterns.is_empty();
        let one = !self.allow_wildcard || !self.src.contains(['*', '?', '[', '\\']);
        as_it_is && all && one && self.dest == "/"
    }
}

impl SourceOp {
    fn files(&self) -> Option<Files> {
        let attr = |name: &str| self.attrs.get(name).filter(|value| !value.is_empty()).cloned();
        let (scheme, rest) = self.identifier.split_once("://")?;
        match scheme {
            "git" => {
                let (place, fragment) = rest.split_once('#').unwrap_or((rest, ""));
                let address = attr("git.fullurl").unwrap_or_else(|| format!("https://{place}"));
                let fragment = if fragment.is_empty() { String::new() } else { format!("#{fragment}") };
                Some(Files::Git {
                    address: format!("{address}{fragment}"),
                    keep_git_dir: attr("git.keepgitdir").is_some_and(|value| value == "true"),
                    checksum: attr("git.checksum"),
                    skip_submodules: attr("git.skipsubmodules").is_some_and(|value| value == "true"),
                })
            }
            "http" | "https" => {
                let last = rest.split(['?', '#']).next().and_then(|path| path.rsplit_once('/'));
                let name = attr("http.filename").or_else(|| Some(last?.1.to_owned()));
                Some(Files::Http {
                    url: self.identifier.clone(),
                    name: name.filter(|name| !name.is_empty()).unwrap_or_else(|| "download".to_owned()),
                    checksum: attr("http.checksum"),
                })
            }
            _ => None,
        }
    }
}

/// The operations of a graph by their digests.
struct Graph(HashMap<String, Op>);

impl Graph {
    fn files(&self, input: &Input, depth: usize) -> Option<Files> {
        let op = self.0.get(&input.digest).filter(|_| depth < MAX_DEPTH)?;
        match (&op.source, &op.file) {
            (Some(source), None) if op.inputs.is_empty() => source.files(),
            (None, Some(FileOp { actions })) => {
                let [FileAction { input: -1, secondary_input, action: Some(Action::Copy(copy)) }] =
                    actions.as_slice()
                else {
                    return None;
                };
                let from = op.inputs.get(usize::try_from(*secondary_input).ok()?)?;
                Some(Files::Part {
                    of: Box::new(self.files(from, depth + 1)?),
                    path: copy.src.clone(),
                    contents: copy.dir_copy_contents,
                    unpack: copy.attempt_unpack,
                })
                .filter(|_| copy.is_plain())
            }
            _ => None,
        }
    }
}

/// `pb.OpMetadata`; clients want one for each operation, with nothing in it.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct OpMetadata {}

impl Definition {
    /// What stands for a built image; `digest` gives the digest of an operation.
    #[must_use]
    pub fn of_result(image: &str, digest: impl Fn(&[u8]) -> String) -> Self {
        let source = Op {
            source: Some(SourceOp { identifier: format!("{RESULT}{image}"), ..SourceOp::default() }),
            ..Op::default()
        };
        let source = source.encode_to_vec();
        let name = digest(&source);
        let end = Op { inputs: vec![Input { digest: name.clone() }], ..Op::default() };
        let metadata = [(name, OpMetadata {})].into();
        Definition { def: vec![source, end.encode_to_vec()], metadata }
    }

    /// The files that it stands for; none for a graph with any other operation. `digest` gives the digest of an
    /// operation.
    #[must_use]
    pub fn files(&self, digest: impl Fn(&[u8]) -> String) -> Option<Files> {
        let (end, rest) = self.def.split_last()?;
        let named = |bytes: &Vec<u8>| Some((digest(bytes), Op::decode(bytes.as_slice()).ok()?));
        let graph = Graph(rest.iter().map(named).collect::<Option<_>>()?);
        match Op::decode(end.as_slice()).ok()?.inputs.as_slice() {
            [input] => graph.files(input, 0),
            _ => None,
        }
    }

    /// The built image that it stands for; none for any other graph.
    #[must_use]
    pub fn result(&self) -> Option<String> {
        let mut sources = self.def.iter().filter_map(|bytes| Op::decode(bytes.as_slice()).ok()?.source);
        let image = sources.next()?.identifier.strip_prefix(RESULT)?.to_owned();
        (self.def.len() == 2 && sources.next().is_none()).then_some(image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_comes_back_as_it_was() {
        let definition = Definition::of_result("sha256:abc", |bytes| format!("sha256:{}", bytes.len()));
        let sent = Definition::decode(definition.encode_to_vec().as_slice()).expect("a definition");
        assert_eq!(sent.result().as_deref(), Some("sha256:abc"));
        let end = Op::decode(sent.def[1].as_slice()).expect("an operation");
        assert!(sent.metadata.contains_key(&end.inputs[0].digest));
        assert_eq!(Definition::default().result(), None);
        let other = Op { source: Some(source("local://context", &[])), ..Op::default() };
        let graph = Definition { def: vec![other.encode_to_vec(), Vec::new()], ..Definition::default() };
        assert_eq!(graph.result(), None);
    }

    fn source(identifier: &str, attrs: &[(&str, &str)]) -> SourceOp {
        let attrs = attrs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        SourceOp { identifier: identifier.to_owned(), attrs }
    }

    /// Enough of a digest to tell these apart.
    fn digest(bytes: &[u8]) -> String {
        bytes.iter().fold(5381_u64, |sum, byte| sum.wrapping_mul(33) ^ u64::from(*byte)).to_string()
    }

    /// A graph of operations, each upon the one before it.
    fn chain(ops: Vec<Op>) -> Definition {
        let mut definition = Definition::default();
        let mut inputs = Vec::new();
        for op in ops.into_iter().chain([Op::default()]) {
            let bytes = Op { inputs, ..op }.encode_to_vec();
            inputs = vec![Input { digest: digest(&bytes) }];
            definition.def.push(bytes);
        }
        definition
    }

    fn copy(copy: CopyAction) -> Op {
        let action = FileAction { input: -1, secondary_input: 0, action: Some(Action::Copy(copy)) };
        Op { file: Some(FileOp { actions: vec![action] }), ..Op::default() }
    }

    #[test]
    fn a_graph_stands_for_files_of_a_repository() {
        let git = source(
            "git://example.org/a.git#main:sub",
            &[("git.fullurl", "https://example.org/a.git"), ("git.keepgitdir", "true")],
        );
        let whole = Files::Git {
            address: "https://example.org/a.git#main:sub".into(),
            keep_git_dir: true,
            checksum: None,
            skip_submodules: false,
        };
        let git = Op { source: Some(git), ..Op::default() };
        assert_eq!(chain(vec![git.clone()]).files(digest), Some(whole.clone()));
        let plain = CopyAction { src: "/app".into(), dest: "/".into(), mode: -1, ..CopyAction::default() };
        let part = Files::Part { of: Box::new(whole), path: "/app".into(), contents: false, unpack: false };
        assert_eq!(chain(vec![git.clone(), copy(plain.clone())]).files(digest), Some(part));
        for other in [
            CopyAction { dest: "/x".into(), ..plain.clone() },
            CopyAction { mode: 0o644, ..plain.clone() },
            CopyAction { exclude_patterns: vec!["x".into()], ..plain.clone() },
            CopyAction { allow_wildcard: true, src: "/a*".into(), ..plain.clone() },
        ] {
            assert_eq!(chain(vec![git.clone(), copy(other)]).files(digest), None);
        }
        let deep = std::iter::once(git).chain(std::iter::repeat_n(copy(plain), MAX_DEPTH + 1));
        assert_eq!(chain(deep.collect()).files(digest), None);
        let run = Op { exec: Some(Other {}), ..Op::default() };
        assert_eq!(chain(vec![run]).files(digest), None);
    }

    #[test]
    fn a_graph_stands_for_a_file() {
        let http = |identifier: &str, attrs: &[(&str, &str)]| {
            chain(vec![Op { source: Some(source(identifier, attrs)), ..Op::default() }]).files(digest)
        };
        let file =
            |url: &str, name: &str| Some(Files::Http { url: url.into(), name: name.into(), checksum: None });
        let url = "https://example.org/a/b.hcl?x=/y";
        assert_eq!(http(url, &[]), file(url, "b.hcl"));
        assert_eq!(http(url, &[("http.filename", "context")]), file(url, "context"));
        assert_eq!(http("https://example.org/", &[]), file("https://example.org/", "download"));
        assert_eq!(http("docker-image://busybox", &[]), None);
        assert_eq!(Definition::default().files(digest), None);
        let garbage = Definition { def: vec![vec![0xff; 9], vec![1]], ..Definition::default() };
        assert_eq!(garbage.files(digest), None);
    }
}
