//! Sources that are git repositories: `git` is started, as BuildKit does.
//!
//! ```text
//! address#ref:folder                     as it always was
//! address?ref=…&subdir=…&checksum=…      the same by name; also tag, branch, commit, keep-git-dir, submodules
//! ```

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::Cancel;
use crate::capture::Material;
use crate::dockerfile::{parse_bool, quoted};
use crate::error::CopyError;
use crate::glob::clean_path;
use crate::secret::Secrets;

/// The secrets that open a server to `git`, as BuildKit knows them: a whole header, or a token for one. One with the
/// server's name behind it (`GIT_AUTH_TOKEN.example.org`) goes first.
const AUTH_HEADER: &str = "GIT_AUTH_HEADER";
const AUTH_TOKEN: &str = "GIT_AUTH_TOKEN";

/// What is asked for beside the address.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options<'a> {
    /// Whether `.git` is kept; `None` for what the address says.
    pub(crate) keep_git_dir: Option<bool>,
    /// The commit that it has to be, or its beginning.
    pub(crate) checksum: Option<&'a str>,
    /// Where a header for the server may come from.
    pub(crate) secrets: Option<&'a Secrets>,
    /// Submodules stay out, whatever the address says.
    pub(crate) skip_submodules: bool,
}

/// A repository and what of it is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Source {
    address: String,
    reference: String,
    subdir: String,
    keep_git_dir: Option<bool>,
    checksum: Option<String>,
    skip_submodules: bool,
}

impl Source {
    fn parse(url: &str) -> Result<Source, String> {
        let (rest, fragment) = url.split_once('#').unwrap_or((url, ""));
        let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
        let mut source = Source {
            address: address.to_owned(),
            reference: reference.to_owned(),
            subdir: subdir.to_owned(),
            ..Source::default()
        };
        let (mut tag, mut branch) = (None, None);
        for field in query.split('&').filter(|field| !field.is_empty()) {
            let (key, value) = field.split_once('=').unwrap_or((field, ""));
            let value = unescaped(value);
            let flag = |name: &str| match value.as_str() {
                "" => Ok(true),
                text => parse_bool(text).ok_or_else(|| format!("invalid {name} value: {}", quoted(text))),
            };
            match key {
                "keep-git-dir" => source.keep_git_dir = Some(flag(key)?),
                "submodules" => source.skip_submodules = !flag(key)?,
                // The commit is fetched by itself wherever the server lets it.
                "fetch-by-commit" => drop(flag(key)?),
                _ if value.is_empty() => return Err(format!("query {} has no value", quoted(key))),
                "ref" => set(&mut source.reference, value, "ref")?,
                "subdir" => set(&mut source.subdir, value, "subdir")?,
                "tag" => tag = Some(full_name("refs/tags/", value)),
                "branch" => branch = Some(full_name("refs/heads/", value)),
                "checksum" | "commit" => source.checksum = Some(value),
                _ => return Err(format!("unexpected query {}", quoted(key))),
            }
        }
        match (tag, branch) {
            (Some(_), Some(_)) => return Err("branch conflicts with tag".to_owned()),
            (Some(name), None) | (None, Some(name)) => set(&mut source.reference, name, "ref")?,
            (None, None) => {}
        }
        Ok(source)
    }

    /// Joins what the address says with what is asked for beside it.
    fn with(mut self, options: Options<'_>) -> Result<Source, String> {
        if let (Some(here), Some(there)) = (options.keep_git_dir, self.keep_git_dir)
            && here != there
        {
            return Err("inconsistent keep-git-dir configuration".to_owned());
        }
        self.keep_git_dir = self.keep_git_dir.or(options.keep_git_dir);
        if let (Some(here), Some(there)) = (options.checksum, &self.checksum)
            && here != there
        {
            return Err(format!("checksum mismatch {} != {}", quoted(here), quoted(there)));
        }
        self.checksum = self.checksum.or_else(|| options.checksum.map(str::to_owned));
        // An option in disguise would be carried out.
        if self.address.starts_with('-') || self.reference.starts_with('-') {
            return Err("invalid reference".to_owned());
        }
        match &self.checksum {
            Some(text) if text.len() < 7 || !text.bytes().all(|b| b.is_ascii_hexdigit()) => {
                Err(format!("invalid checksum {text}: it has to be a commit"))
            }
            _ => Ok(self),
        }
    }

    /// What it is called: the address, with what is wanted of it.
    fn name(&self) -> String {
        match self.reference.as_str() {
            "" => self.address.clone(),
            reference => format!("{}#{reference}", self.address),
        }
    }

    /// What to fetch.
    fn wanted(&self) -> &str {
        match (&self.reference, &self.checksum) {
            (reference, _) if !reference.is_empty() => reference,
            (_, Some(commit)) if commit.len() >= 40 => commit,
            _ => "HEAD",
        }
    }
}

/// What a repository is called, by its address.
pub(crate) fn name(address: &str) -> Option<String> {
    Source::parse(address).ok().map(|source| source.name())
}

fn set(field: &mut String, value: String, name: &str) -> Result<(), String> {
    if !field.is_empty() && *field != value {
        return Err(format!("{name} conflicts: {} vs {}", quoted(field), quoted(&value)));
    }
    *field = value;
    Ok(())
}

fn full_name(prefix: &str, name: String) -> String {
    if name.starts_with(prefix) { name } else { format!("{prefix}{name}") }
}

/// Takes the escapes of a query off.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let escaped = rest.clone().take(2).collect::<Vec<u8>>();
        let code = std::str::from_utf8(&escaped).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (byte, code) {
            (b'%', Some(code)) if escaped.len() == 2 => {
                bytes.push(code);
                rest.nth(1);
            }
            (b'+', _) => bytes.push(b' '),
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Clones the repository that `url` names into `dir`; gives the path of what is to be copied below it, and what was
/// taken.
pub(crate) fn clone(
    url: &str,
    dir: &Path,
    options: &Options<'_>,
    cancel: &Cancel,
) -> Result<(String, Material), CopyError> {
    let failed = |message: String| CopyError::Git { url: url.to_owned(), message };
    let source = Source::parse(url).and_then(|source| source.with(*options)).map_err(failed)?;
    let header = authorization(&source.address, options.secrets).map_err(failed)?;
    let access = header.map(|header| (format!("http.{}.extraheader", scope(&source.address)), header));
    let git = |args: &[&str]| {
        run(dir, args, access.as_ref(), cancel).map_err(|error| match error {
            Failure::Cancelled => CopyError::Cancelled,
            Failure::Message(message) => failed(message),
        })
    };
    let checkout = dir.join("checkout");
    git(&["init", "--quiet", "checkout"])?;
    let inside = |args: &[&str]| {
        let mut all = vec!["-C", "checkout"];
        all.extend_from_slice(args);
        git(&all)
    };
    inside(&["remote", "add", "origin", &source.address])?;
    let wanted = source.wanted();
    match inside(&["fetch", "--quiet", "--depth=1", "origin", wanted]) {
        Ok(_) => inside(&["checkout", "--quiet", "FETCH_HEAD"])?,
        Err(CopyError::Cancelled) => return Err(CopyError::Cancelled),
        // Not every server gives a commit by its id.
        Err(_) => {
            inside(&["fetch", "--quiet", "--tags", "origin"])?;
            inside(&["checkout", "--quiet", wanted])?
        }
    };
    let commit = inside(&["rev-parse", "HEAD"])?;
    if let Some(expected) = &source.checksum
        && !commit.trim().starts_with(&expected.to_lowercase())
    {
        return Err(failed(format!("expected checksum to match {expected}, got {}", commit.trim())));
    }
    if !source.skip_submodules && !options.skip_submodules {
        inside(&["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"])?;
    }
    if source.keep_git_dir != Some(true) {
        dray_store::remove_tree(&checkout.join(".git")).map_err(|error| failed(error.to_string()))?;
    }
    let subdir = clean_path(&format!("/{}", source.subdir));
    let taken = Material::Git { url: source.name(), commit: commit.trim().to_owned() };
    Ok((format!("checkout{}", subdir.trim_end_matches('/')), taken))
}

enum Failure {
    Cancelled,
    Message(String),
}

/// The header that the client offers for a server, if it offers one.
fn authorization(address: &str, secrets: Option<&Secrets>) -> Result<Option<String>, String> {
    let Some(source) = secrets.and_then(Secrets::source) else { return Ok(None) };
    let Some(host) = http_host(address) else { return Ok(None) };
    for (name, is_token) in [
        (format!("{AUTH_HEADER}.{host}"), false),
        (format!("{AUTH_TOKEN}.{host}"), true),
        (AUTH_HEADER.to_owned(), false),
        (AUTH_TOKEN.to_owned(), true),
    ] {
        let Some(secret) = source.secret(&name).map_err(|error| error.to_string())? else { continue };
        let text = String::from_utf8(secret.0).ok().filter(|text| !text.contains(['\n', '\r', '\0']));
        let text = text.ok_or_else(|| format!("secret {name}: no value of a header"))?;
        return Ok(Some(match is_token {
            true => format!("Authorization: basic {}", STANDARD.encode(format!("x-access-token:{text}"))),
            false => format!("Authorization: {text}"),
        }));
    }
    Ok(None)
}

/// The server behind an address of HTTP; with its port, if it says one.
fn http_host(address: &str) -> Option<&str> {
    let rest = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://"))?;
    let authority = rest.split('/').next().unwrap_or(rest);
    Some(authority.rsplit_once('@').map_or(authority, |(_, host)| host))
}

/// What a header is sent to: the repository alone. What is beside it at GitHub is often one of its submodules, and
/// gets it, too.
fn scope(address: &str) -> &str {
    let github = ["https://github.com/", "https://www.github.com/"];
    github.into_iter().find(|prefix| address.starts_with(prefix)).unwrap_or(address)
}

/// Runs `git`; gives what it says. A setting goes by the environment: others see the words of a command.
fn run(
    dir: &Path,
    args: &[&str],
    setting: Option<&(String, String)>,
    cancel: &Cancel,
) -> Result<String, Failure> {
    let settings = setting.map(|(key, value)| {
        [
            ("GIT_CONFIG_COUNT", "1"),
            ("GIT_CONFIG_KEY_0", key.as_str()),
            ("GIT_CONFIG_VALUE_0", value.as_str()),
        ]
    });
    let spawned = Command::new("git")
        .args(args)
        .envs(settings.into_iter().flatten())
        .current_dir(dir)
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = spawned.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Failure::Message("exec: \"git\": executable file not found in $PATH".to_owned())
        }
        _ => Failure::Message(error.to_string()),
    })?;
    let (stdout, stderr) = (reader(child.stdout.take()), reader(child.stderr.take()));
    let status = loop {
        match child.try_wait().map_err(|error| Failure::Message(error.to_string()))? {
            Some(status) => break status,
            None if cancel.is_cancelled() => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(Failure::Cancelled);
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let (said, message) = (stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default());
    if status.success() { Ok(said) } else { Err(Failure::Message(message.trim().to_owned())) }
}

fn reader(pipe: Option<impl io::Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_stands_behind_the_address() {
        let source = Source::parse("https://example.org/a.git#v1:docs").expect("valid");
        assert_eq!((source.address.as_str(), source.reference.as_str()), ("https://example.org/a.git", "v1"));
        assert_eq!(source.subdir, "docs");
        let query =
            "https://example.org/a.git?tag=v1&subdir=a%20b&keep-git-dir&submodules=false&checksum=0123456";
        let source = Source::parse(query).expect("valid");
        assert_eq!((source.reference.as_str(), source.subdir.as_str()), ("refs/tags/v1", "a b"));
        assert_eq!((source.keep_git_dir, source.skip_submodules), (Some(true), true));
        assert_eq!(source.checksum.as_deref(), Some("0123456"));
        for (query, message) in [
            ("ref=a&branch=b", "ref conflicts: \"a\" vs \"refs/heads/b\""),
            ("tag=a&branch=b", "branch conflicts with tag"),
            ("ref", "query \"ref\" has no value"),
            ("what=a", "unexpected query \"what\""),
            ("submodules=maybe", "invalid submodules value: \"maybe\""),
        ] {
            let url = format!("https://example.org/a.git?{query}");
            assert_eq!(Source::parse(&url).expect_err(query), message);
        }
    }

    #[test]
    fn what_is_said_twice_has_to_agree() {
        let with = |options: Options<'_>| {
            Source::parse("https://example.org/a.git?keep-git-dir=true&checksum=0123456")
                .unwrap()
                .with(options)
        };
        let options = |keep_git_dir, checksum| Options { keep_git_dir, checksum, ..Options::default() };
        assert!(with(options(Some(true), Some("0123456"))).is_ok());
        let message = with(options(Some(false), None)).expect_err("inconsistent");
        assert_eq!(message, "inconsistent keep-git-dir configuration");
        let message = with(options(None, Some("1123456"))).expect_err("mismatch");
        assert_eq!(message, "checksum mismatch \"1123456\" != \"0123456\"");
        let source = Source::parse("https://example.org/a.git#--upload-pack=x").unwrap();
        assert!(source.with(Options::default()).is_err());
    }

    #[test]
    fn a_server_is_opened_by_the_secret_of_its_name_first() {
        use crate::secret::{SecretContent, SecretError, SecretSource};
        struct Known(&'static [(&'static str, &'static str)]);
        impl SecretSource for Known {
            fn secret(&self, id: &str) -> Result<Option<SecretContent>, SecretError> {
                let found = self.0.iter().find(|(name, _)| *name == id);
                Ok(found.map(|(_, value)| SecretContent(value.as_bytes().to_vec())))
            }
        }
        let header = |known: &'static [(&str, &str)], address: &str| {
            let secrets = Secrets::from_source(std::sync::Arc::new(Known(known)));
            authorization(address, Some(&secrets))
        };
        let both = &[("GIT_AUTH_TOKEN", "t"), ("GIT_AUTH_HEADER.example.org:8443", "bearer b")];
        let at_port = header(both, "https://user@example.org:8443/a.git");
        assert_eq!(at_port, Ok(Some("Authorization: bearer b".into())));
        let token = format!("Authorization: basic {}", STANDARD.encode("x-access-token:t"));
        assert_eq!(header(both, "https://example.org/a.git"), Ok(Some(token)));
        assert_eq!(header(both, "git@example.org:a.git"), Ok(None));
        assert_eq!(header(&[], "https://example.org/a.git"), Ok(None));
        let two_lines = header(&[("GIT_AUTH_HEADER", "a\r\nX: y")], "https://example.org/a.git");
        assert_eq!(two_lines, Err("secret GIT_AUTH_HEADER: no value of a header".into()));
        assert_eq!(scope("https://github.com/a/b.git"), "https://github.com/");
        assert_eq!(scope("https://example.org/a.git"), "https://example.org/a.git");
    }
}
