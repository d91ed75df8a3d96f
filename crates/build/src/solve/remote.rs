//! Sources of `ADD` that are URLs.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use dray_spec::{Digest, Hasher};

use crate::Cancel;
use crate::copy::{io_error, names_directory};
use crate::error::CopyError;
use crate::remote::{RemoteError, RemoteSource};
use crate::unpack::times_of;

/// What a URL leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A file.
    Http,
    /// A repository.
    Git,
}

/// What a source is, if it is no path.
pub(crate) fn kind(source: &str) -> Option<Kind> {
    let begins = |prefix: &str| source.starts_with(prefix);
    let http = begins("http://") || begins("https://");
    let address = source.split(['#', '?']).next().unwrap_or(source);
    if (http && address.ends_with(".git")) || begins("git://") || begins("ssh://") || is_scp(source) {
        return Some(Kind::Git);
    }
    http.then_some(Kind::Http)
}

/// `user@host:path`
fn is_scp(source: &str) -> bool {
    let Some((user, rest)) = source.split_once('@') else { return false };
    let Some((host, path)) = rest.split_once(':') else { return false };
    let word =
        |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    word(user) && word(host) && !path.is_empty() && !source.contains("://")
}

/// A file to be fetched.
pub(crate) struct Fetch<'a> {
    pub(crate) source: &'a dyn RemoteSource,
    pub(crate) url: &'a str,
    pub(crate) dest: &'a str,
    /// What to call the file, whatever the address says.
    pub(crate) name: Option<&'a str>,
    pub(crate) checksum: Option<&'a str>,
    pub(crate) cancel: &'a Cancel,
}

impl Fetch<'_> {
    /// Fetches the file into a directory; gives its name, and the digest of its content.
    pub(crate) fn save_in(&self, dir: &Path) -> Result<(String, Digest), CopyError> {
        let expected = match self.checksum {
            Some(text) => {
                let digest = text.parse::<Digest>();
                Some(digest.map_err(|_| CopyError::ChecksumFormat(text.to_owned()))?)
            }
            None => None,
        };
        let mut answer = self.source.open(self.url, self.cancel)?;
        let said = || file_name(self.url, answer.filename.as_deref());
        let name = match self.name.map(str::to_owned).or_else(said) {
            Some(name) => name,
            None if names_directory(self.dest) => return Err(CopyError::NoFileName(self.url.to_owned())),
            None => "__unnamed__".to_owned(),
        };
        let path = dir.join(&name);
        let mut file = File::create_new(&path).map_err(io_error("create", &name))?;
        let mut hasher = expected.as_ref().map_or_else(Hasher::new, Hasher::like);
        let mut buffer = vec![0; 256 * 1024];
        loop {
            if self.cancel.is_cancelled() {
                return Err(CopyError::Cancelled);
            }
            let transport = |error: std::io::Error| {
                CopyError::Remote(RemoteError::Transport { url: self.url.to_owned(), source: error.into() })
            };
            match answer.body.read(&mut buffer).map_err(transport)? {
                0 => break,
                n => {
                    hasher.update(&buffer[..n]);
                    file.write_all(&buffer[..n]).map_err(io_error("write", &name))?;
                }
            }
        }
        let actual = hasher.finish();
        if let Some(expected) = expected.filter(|expected| *expected != actual) {
            return Err(CopyError::ChecksumMismatch {
                expected: expected.to_string(),
                actual: actual.to_string(),
            });
        }
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::fchmod(&file, mode).map_err(|errno| io_error("chmod", &name)(errno.into()))?;
        let times = times_of((answer.modified.unwrap_or(0), 0));
        rustix::fs::futimens(&file, &times).map_err(|errno| io_error("set times of", &name)(errno.into()))?;
        Ok((name, actual))
    }
}

/// The last part of the URL's path, else of what the server says.
fn file_name(url: &str, said: Option<&str>) -> Option<String> {
    let address = url.split(['#', '?']).next().unwrap_or(url);
    let path = address.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map(|(_, path)| path);
    [path, said].into_iter().flatten().find_map(|text| {
        let name = text.rsplit('/').next()?;
        let usable = !matches!(name, "" | "." | "..") && !name.contains('\0') && name.len() < 256;
        usable.then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_told_from_paths_and_repositories_from_files() {
        assert_eq!(kind("https://example.com/a.tar.gz"), Some(Kind::Http));
        assert_eq!(kind("https://example.com/a/b.git#main"), Some(Kind::Git));
        assert_eq!(kind("git@example.com:a/b.git"), Some(Kind::Git));
        assert_eq!(kind("ssh://git@example.com/a"), Some(Kind::Git));
        assert_eq!(kind("deploy@example.com:a/b"), Some(Kind::Git));
        assert_eq!(kind("a@b"), None);
        assert_eq!(kind("./a@b:c"), None);
        assert_eq!(kind("httpd.conf"), None);
        assert_eq!(kind("./x.git"), None);
    }

    #[test]
    fn file_names_come_from_the_url_or_the_server() {
        let name = |url: &str, said: Option<&str>| file_name(url, said);
        assert_eq!(name("https://e.com/a/b.txt?x=1#y", None).as_deref(), Some("b.txt"));
        assert_eq!(name("https://e.com/a/", Some("../../said")).as_deref(), Some("said"));
        assert_eq!(name("https://e.com", None), None);
        assert_eq!(name("https://e.com/..", Some("..")), None);
    }
}
