//! Targets and groups as the JSON that `--print` shows, which is a bake file again.

use std::collections::BTreeMap;

use super::{Group, Pairs, Target};
use crate::value::json::quoted;

/// JSON whose members have an order.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the kinds are JSON's own")]
pub enum Json {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// In lines, two blanks for each level, as Go writes it.
    pub fn indented(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, 0);
        out
    }

    fn write(&self, out: &mut String, level: usize) {
        let line = |out: &mut String, level: usize| {
            out.push('\n');
            out.push_str(&"  ".repeat(level));
        };
        match self {
            Json::Null => out.push_str("null"),
            Json::Number(text) => out.push_str(text),
            Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Json::Text(text) => out.push_str(&quoted(text)),
            Json::List(items) if items.is_empty() => out.push_str("[]"),
            Json::Object(members) if members.is_empty() => out.push_str("{}"),
            Json::List(items) => {
                out.push('[');
                for (number, item) in items.iter().enumerate() {
                    out.push_str(if number > 0 { "," } else { "" });
                    line(out, level + 1);
                    item.write(out, level + 1);
                }
                line(out, level);
                out.push(']');
            }
            Json::Object(members) => {
                out.push('{');
                for (number, (name, value)) in members.iter().enumerate() {
                    out.push_str(if number > 0 { "," } else { "" });
                    line(out, level + 1);
                    out.push_str(&quoted(name));
                    out.push_str(": ");
                    value.write(out, level + 1);
                }
                line(out, level);
                out.push('}');
            }
        }
    }
}

/// Texts that would be templates in a file.
fn escaped(text: &str) -> String {
    text.replace("${", "$${").replace("%{", "%%{")
}

/// The members that are something.
#[derive(Default)]
struct Members(Vec<(String, Json)>);

impl Members {
    fn text(&mut self, name: &str, text: Option<&str>) {
        self.0.extend(text.map(|text| (name.to_owned(), Json::Text(text.to_owned()))));
    }

    fn filled(&mut self, name: &str, text: &str) {
        self.text(name, Some(text).filter(|text| !text.is_empty()));
    }

    fn truth(&mut self, name: &str, value: Option<bool>) {
        self.0.extend(value.map(|value| (name.to_owned(), Json::Bool(value))));
    }

    fn list(&mut self, name: &str, items: Vec<Json>) {
        if !items.is_empty() {
            self.0.push((name.to_owned(), Json::List(items)));
        }
    }

    fn texts(&mut self, name: &str, texts: &Option<Vec<String>>) {
        self.list(name, texts.iter().flatten().map(|text| Json::Text(text.clone())).collect());
    }

    fn pairs(&mut self, name: &str, pairs: &Option<Pairs>) {
        let value = |value: &Option<String>| value.as_deref().map_or(Json::Null, |v| Json::Text(escaped(v)));
        let all: Vec<_> = pairs.iter().flatten().map(|(name, v)| (name.clone(), value(v))).collect();
        if !all.is_empty() {
            self.0.push((name.to_owned(), Json::Object(all)));
        }
    }
}

/// Attributes by name, with more of them.
fn entry<'a>(attrs: &BTreeMap<String, String>, more: impl IntoIterator<Item = (&'a str, Json)>) -> Json {
    let mut all: BTreeMap<String, Json> =
        attrs.iter().map(|(name, value)| (name.clone(), Json::Text(value.clone()))).collect();
    all.extend(more.into_iter().map(|(name, value)| (name.to_owned(), value)));
    Json::Object(all.into_iter().collect())
}

impl Target {
    /// As JSON.
    pub fn json(&self) -> Json {
        let text = |text: &str| Json::Text(text.to_owned());
        let mut m = Members::default();
        m.filled("description", &self.description);
        m.texts("inherits", &self.inherits);
        m.list("annotations", self.annotations.iter().flatten().map(|t| Json::Text(escaped(t))).collect());
        let attest = |one: &super::Attest| {
            let disabled = one.disabled.then_some(("disabled", Json::Bool(true)));
            entry(&one.attrs, [("type", text(&one.kind))].into_iter().chain(disabled))
        };
        m.list("attest", self.attest.iter().flatten().map(attest).collect());
        m.text("context", self.context.as_deref());
        if let Some(contexts) = self.contexts.as_ref().filter(|contexts| !contexts.is_empty()) {
            let all = contexts.iter().map(|(name, value)| (name.clone(), text(value))).collect();
            m.0.push(("contexts".to_owned(), Json::Object(all)));
        }
        m.text("dockerfile", self.dockerfile.as_deref());
        m.text("dockerfile-inline", self.dockerfile_inline.as_deref().map(escaped).as_deref());
        m.pairs("args", &self.args);
        m.pairs("labels", &self.labels);
        m.texts("tags", &self.tags);
        let cache = |one: &super::Entry| entry(&one.attrs, [("type", text(&one.kind))]);
        m.list("cache-from", self.cache_from.iter().flatten().map(cache).collect());
        m.list("cache-to", self.cache_to.iter().flatten().map(cache).collect());
        m.text("target", self.target.as_deref());
        m.list("secret", self.secrets.iter().flatten().map(super::Secret::json).collect());
        m.list("ssh", self.ssh.iter().flatten().map(super::Ssh::json).collect());
        m.texts("platforms", &self.platforms);
        let output = |one: &super::Output| {
            let dest = (!one.dest.is_empty()).then(|| ("dest", text(&one.dest)));
            entry(&one.attrs, [("type", text(&one.kind))].into_iter().chain(dest))
        };
        m.list("output", self.outputs.iter().flatten().map(output).collect());
        m.truth("pull", self.pull);
        m.truth("no-cache", self.no_cache);
        m.text("network", self.network.as_deref());
        m.texts("no-cache-filter", &self.no_cache_filter);
        m.text("shm-size", self.shm_size.as_deref());
        m.texts("ulimits", &self.ulimits);
        m.text("call", self.call.as_deref());
        m.texts("entitlements", &self.entitlements);
        m.pairs("extra-hosts", &self.extra_hosts);
        Json::Object(m.0)
    }
}

impl super::Secret {
    fn json(&self) -> Json {
        let mut m = Members::default();
        m.filled("id", &self.id);
        m.filled("src", &self.src);
        m.filled("env", &self.env);
        Json::Object(m.0)
    }
}

impl super::Ssh {
    fn json(&self) -> Json {
        let mut m = Members::default();
        m.filled("id", &self.id);
        m.texts("paths", &Some(self.paths.clone()));
        Json::Object(m.0)
    }
}

impl Group {
    /// As JSON.
    pub fn json(&self) -> Json {
        let mut m = Members::default();
        m.filled("description", &self.description);
        m.0.push(("targets".to_owned(), Json::List(self.targets.iter().cloned().map(Json::Text).collect())));
        Json::Object(m.0)
    }
}
