//! containerd's `hosts.toml`.
//!
//! ```toml
//! server = "https://registry-1.docker.io"
//!
//! [host."https://mirror.example"]
//!   capabilities = ["pull", "resolve"]
//!   ca = "mirror.crt"
//!   client = [["client.cert", "client.key"]]
//!   skip_verify = false
//!   override_path = false
//!   dial_timeout = "5s"
//!   [host."https://mirror.example".header]
//!     x-team = "build"
//! ```
//!
//! The hosts are asked in the order of the file. What stands beside `server` is about the registry itself.

use std::path::Path;
use std::time::Duration;

use toml_edit::{DocumentMut, Item, Table, TableLike, Value};
use url::Url;

use super::{Capabilities, Entry, HostSettings, Known, Pem, TlsSettings, invalid, pem};
use crate::client::host_for;
use crate::error::Error;

/// Reads the file of the registry `host`.
pub(super) fn parse(text: &str, file: &Path, host: &str) -> Result<Known, Error> {
    let document: DocumentMut = text.parse().map_err(|error| invalid(file, error))?;
    let reader = Reader { file, registry: host };
    let root = document.as_table();
    let mut known = Known { settings: reader.settings(root, true)?, ..Known::default() };
    if let Some(server) = reader.text(root, "server")?.filter(|server| !server.is_empty()) {
        known.server = Some(reader.entry(&server, root)?);
    }
    let Some(hosts) = root.get("host") else { return Ok(known) };
    let hosts = hosts.as_table().ok_or_else(|| reader.wrong("host", "a table for each host"))?;
    for (url, table) in in_order(hosts) {
        let table = table.as_table_like().ok_or_else(|| reader.wrong(&format!("host.{url:?}"), "a table"))?;
        known.mirrors.push(reader.entry(url, table)?);
    }
    Ok(known)
}

/// The tables of `[host.…]` in the order they stand in.
fn in_order(hosts: &Table) -> Vec<(&str, &Item)> {
    let mut tables: Vec<(&str, &Item)> = hosts.iter().collect();
    // Inline tables have no position of their own; they keep theirs in the list.
    tables.sort_by_key(|(_, item)| item.as_table().and_then(Table::position).unwrap_or_default());
    tables
}

struct Reader<'a> {
    file: &'a Path,
    registry: &'a str,
}

impl Reader<'_> {
    fn entry(&self, url: &str, table: &dyn TableLike) -> Result<Entry, Error> {
        let root = self.root(url, self.flag(table, "override_path")?)?;
        let own = self.is_registry(&root);
        Ok(Entry { capabilities: self.capabilities(table)?, settings: self.settings(table, own)?, root })
    }

    /// Whether this is the registry itself rather than one that stands for it.
    fn is_registry(&self, root: &Url) -> bool {
        let itself = Url::parse(&format!("https://{}", host_for(self.registry)));
        itself.is_ok_and(|itself| itself.host_str() == root.host_str() && itself.port() == root.port())
    }

    /// The root of the API: `/v2/` below the URL's path, or the path itself where that is said.
    fn root(&self, text: &str, override_path: bool) -> Result<Url, Error> {
        let wrong = |problem: &str| invalid(self.file, format!("host {text:?}: {problem}"));
        let with_scheme = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let mut url = Url::parse(&with_scheme).map_err(|error| wrong(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("neither http nor https"));
        }
        if url.host_str() == Some("docker.io") {
            url.set_host(Some(&host_for("docker.io"))).map_err(|error| wrong(&error.to_string()))?;
        }
        let path = url.path().trim_end_matches('/').to_owned();
        let path = if override_path || path.ends_with("/v2") { path } else { format!("{path}/v2") };
        url.set_path(&format!("{path}/"));
        url.set_query(None);
        url.set_fragment(None);
        Ok(url)
    }

    fn capabilities(&self, table: &dyn TableLike) -> Result<Capabilities, Error> {
        let Some(names) = self.texts(table, "capabilities")? else { return Ok(Capabilities::ALL) };
        let mut capabilities = Capabilities { pull: false, resolve: false, push: false };
        for name in names {
            match name.to_ascii_lowercase().as_str() {
                "pull" => capabilities.pull = true,
                "resolve" => capabilities.resolve = true,
                "push" => capabilities.push = true,
                _ => return Err(invalid(self.file, format!("unknown capability {name}"))),
            }
        }
        Ok(capabilities)
    }

    fn settings(&self, table: &dyn TableLike, own: bool) -> Result<HostSettings, Error> {
        Ok(HostSettings {
            tls: TlsSettings {
                authorities: self.authorities(table)?,
                client: self.client(table)?,
                skip_verify: self.flag(table, "skip_verify")?,
            },
            headers: self.headers(table)?,
            namespace: (!own).then(|| self.registry.to_owned()),
            connect_timeout: self.timeout(table)?,
        })
    }

    fn authorities(&self, table: &dyn TableLike) -> Result<Vec<Pem>, Error> {
        let files = self.texts(table, "ca")?.unwrap_or_default();
        files.iter().map(|file| pem(&self.beside(file))).collect()
    }

    /// `client`: one file with both, a list of such, or a list of pairs of certificate and key.
    fn client(&self, table: &dyn TableLike) -> Result<Vec<(Pem, Pem)>, Error> {
        let expected = || self.wrong("client", "a file, files, or pairs of certificate and key");
        let both = |file: &str| pem(&self.beside(file)).map(|pem| (pem.clone(), pem));
        let list = match table.get("client").and_then(Item::as_value) {
            None if table.contains_key("client") => return Err(expected()),
            None => return Ok(Vec::new()),
            Some(Value::String(file)) => return Ok(vec![both(file.value())?]),
            Some(Value::Array(list)) => list,
            Some(_) => return Err(expected()),
        };
        let one = |item: &Value| match item {
            Value::String(file) => both(file.value()),
            Value::Array(pair) => {
                let files: Option<Vec<&str>> = pair.iter().map(Value::as_str).collect();
                match files.as_deref() {
                    Some([file] | [file, ""]) => both(file),
                    Some([certificate, key]) => {
                        Ok((pem(&self.beside(certificate))?, pem(&self.beside(key))?))
                    }
                    _ => Err(expected()),
                }
            }
            _ => Err(expected()),
        };
        list.iter().map(one).collect()
    }

    fn headers(&self, table: &dyn TableLike) -> Result<Vec<(String, String)>, Error> {
        let Some(item) = table.get("header") else { return Ok(Vec::new()) };
        let headers = item.as_table_like().ok_or_else(|| self.wrong("header", "a table"))?;
        let mut all = Vec::new();
        for (name, _) in headers.iter() {
            let bad = || invalid(self.file, format!("header {name:?} is none that HTTP may have"));
            name.parse::<http::HeaderName>().map_err(|_| bad())?;
            for value in self.texts(headers, name)?.unwrap_or_default() {
                value.parse::<http::HeaderValue>().map_err(|_| bad())?;
                all.push((name.to_owned(), value));
            }
        }
        Ok(all)
    }

    fn timeout(&self, table: &dyn TableLike) -> Result<Option<Duration>, Error> {
        let Some(text) = self.text(table, "dial_timeout")? else { return Ok(None) };
        duration(&text).map(Some).ok_or_else(|| self.wrong("dial_timeout", "a duration such as 3s"))
    }

    fn flag(&self, table: &dyn TableLike, key: &str) -> Result<bool, Error> {
        match table.get(key) {
            None => Ok(false),
            Some(item) => item.as_bool().ok_or_else(|| self.wrong(key, "true or false")),
        }
    }

    fn text(&self, table: &dyn TableLike, key: &str) -> Result<Option<String>, Error> {
        let Some(item) = table.get(key) else { return Ok(None) };
        item.as_str().map(|text| Some(text.to_owned())).ok_or_else(|| self.wrong(key, "a text"))
    }

    /// One text or a list of them.
    fn texts(&self, table: &dyn TableLike, key: &str) -> Result<Option<Vec<String>>, Error> {
        let Some(item) = table.get(key) else { return Ok(None) };
        if let Some(text) = item.as_str() {
            return Ok(Some(vec![text.to_owned()]));
        }
        let list = item.as_array().map(|list| list.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
        match list.flatten() {
            Some(list) => Ok(Some(list.into_iter().map(str::to_owned).collect())),
            None => Err(self.wrong(key, "a text or a list of texts")),
        }
    }

    /// A file named in this one: relative to its folder.
    fn beside(&self, name: &str) -> std::path::PathBuf {
        self.file.parent().unwrap_or(Path::new("/")).join(name)
    }

    fn wrong(&self, key: &str, expected: &str) -> Error {
        invalid(self.file, format!("{key}: expected {expected}"))
    }
}

/// Go's durations, as far as a time limit needs them: `300ms`, `1.5s`, `2m`, `1h`.
fn duration(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().ok()?;
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number * seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Known, String> {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.crt", "b.crt", "c.cert", "c.key", "both.pem"] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        let file = dir.path().join("hosts.toml");
        let shown = file.display().to_string();
        parse(text, &file, "docker.io").map_err(|error| error.to_string().replace(&shown, "FILE"))
    }

    #[test]
    fn hosts_in_their_order_with_all_they_can_have() {
        let known = parsed(
            r#"
            server = "https://docker.io"
            ca = "a.crt"

            [host."https://zz.test:8443/cache"]
              capabilities = ["pull", "Resolve"]
              ca = ["a.crt", "b.crt"]
              client = [["c.cert", "c.key"]]
              dial_timeout = "1.5s"
              [host."https://zz.test:8443/cache".header]
                x-one = "1"
                x-many = ["2", "3"]
            [host."http://aa.test/v2/hub"]
              override_path = true
              capabilities = ["push"]
              client = "both.pem"
              skip_verify = true
            "#,
        )
        .unwrap();
        let server = known.server.unwrap();
        assert_eq!(server.root.as_str(), "https://registry-1.docker.io/v2/");
        assert_eq!(server.settings.tls.authorities.len(), 1);
        assert_eq!(server.settings.namespace, None);
        let [first, second] = known.mirrors.as_slice() else { panic!("{:?}", known.mirrors) };
        assert_eq!(first.root.as_str(), "https://zz.test:8443/cache/v2/");
        assert_eq!(first.capabilities, Capabilities { pull: true, resolve: true, push: false });
        assert_eq!(first.settings.tls.authorities.len(), 2);
        assert_eq!(first.settings.tls.client[0].1.as_ref(), b"c.key");
        assert_eq!(first.settings.headers.len(), 3);
        assert_eq!(first.settings.connect_timeout, Some(Duration::from_millis(1500)));
        assert_eq!(first.settings.namespace.as_deref(), Some("docker.io"));
        assert_eq!(second.root.as_str(), "http://aa.test/v2/hub/");
        assert!(second.settings.tls.skip_verify && !second.capabilities.pull);
        assert_eq!(second.settings.tls.client[0].0.as_ref(), b"both.pem");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, problem) in [
            ("server = 1", "FILE: server: expected a text"),
            ("[host.\"ftp://x\"]", "FILE: host \"ftp://x\": neither http nor https"),
            ("[host.\"https://x\"]\ncapabilities=['fly']", "FILE: unknown capability fly"),
            ("[host.\"https://x\"]\nskip_verify='yes'", "FILE: skip_verify: expected true or false"),
            (
                "[host.\"https://x\"]\ndial_timeout='soon'",
                "FILE: dial_timeout: expected a duration such as 3s",
            ),
            ("[host.\"https://x\"]\nheader={'a b'='c'}", "FILE: header \"a b\" is none that HTTP may have"),
            ("host = 1", "FILE: host: expected a table for each host"),
        ] {
            assert_eq!(parsed(text).unwrap_err(), problem, "{text}");
        }
        assert!(parsed("ca = 'none.crt'").unwrap_err().contains("none.crt: No such file"));
        assert!(parsed("[[[").unwrap_err().starts_with("FILE: TOML parse error"));
    }
}
