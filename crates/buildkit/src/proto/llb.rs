//! `pb.Op`: operations of a graph, as far as results name each other by them. A client that builds one thing upon
//! another hands back, as an input, the definition that came with the first one's result.
//!
//! ```text
//! def[0]  Op { source: "dray-result://sha256:…" }
//! def[1]  Op { inputs: [def[0]] }                     the end, as clients want it
//! ```

use prost::Message;

use super::Definition;

/// What stands before the id of a built image.
const RESULT: &str = "dray-result://";

#[derive(Clone, PartialEq, Eq, Message)]
struct Op {
    #[prost(message, repeated, tag = "1")]
    inputs: Vec<Input>,
    #[prost(message, optional, tag = "3")]
    source: Option<SourceOp>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Input {
    #[prost(string, tag = "1")]
    digest: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct SourceOp {
    #[prost(string, tag = "1")]
    identifier: String,
}

/// `pb.OpMetadata`; clients want one for each operation, with nothing in it.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct OpMetadata {}

impl Definition {
    /// What stands for a built image; `digest` gives the digest of an operation.
    #[must_use]
    pub fn of_result(image: &str, digest: impl Fn(&[u8]) -> String) -> Self {
        let source =
            Op { source: Some(SourceOp { identifier: format!("{RESULT}{image}") }), ..Op::default() };
        let source = source.encode_to_vec();
        let name = digest(&source);
        let end = Op { inputs: vec![Input { digest: name.clone() }], ..Op::default() };
        let metadata = [(name, OpMetadata {})].into();
        Definition { def: vec![source, end.encode_to_vec()], metadata }
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
        let other = Op { source: Some(SourceOp { identifier: "local://context".into() }), ..Op::default() };
        let graph = Definition { def: vec![other.encode_to_vec(), Vec::new()], ..Definition::default() };
        assert_eq!(graph.result(), None);
    }
}
