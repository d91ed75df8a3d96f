//! A context that is named by its address: an archive or a lone Dockerfile behind a URL, or a git repository
//! (`address#ref:folder`).

use std::io::{Cursor, Read};
use std::path::Path;

use super::{ContextDir, ContextError, Limits, unpack};
use crate::error::CopyError;
use crate::remote::{RemoteError, RemoteSource};
use crate::solve::{Kind, git, kind};
use crate::{Cancel, DockerfileSource};

/// So much tells an archive from a text.
const HEAD: usize = 512;
/// The most that a lone Dockerfile may hold.
const MAX_TEXT: u64 = 16 << 20;

/// Why a context could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum RemoteContextError {
    /// The address is neither a URL nor a repository.
    #[error("unable to prepare context: {0:?} is no URL of an archive, a Dockerfile or a git repository")]
    Address(String),
    /// The server does not answer, or answers with an error.
    #[error("error downloading remote context {url}: {source}")]
    Fetch {
        /// The address.
        url: String,
        /// What went wrong.
        source: RemoteError,
    },
    /// The answer breaks off.
    #[error("error downloading remote context {url}: {source}")]
    Read {
        /// The address.
        url: String,
        /// What went wrong.
        source: std::io::Error,
    },
    /// The answer is neither an archive nor a text.
    #[error("error detecting content type for remote {0}: neither an archive nor a Dockerfile")]
    Content(String),
    /// The repository cannot be cloned.
    #[error("unable to prepare context: {0}")]
    Git(#[from] CopyError),
    /// What came cannot be unpacked.
    #[error(transparent)]
    Context(#[from] ContextError),
}

/// What was fetched: a context, with the Dockerfile in it or as the whole of it.
pub type Fetched = (DockerfileSource, Option<ContextDir>);

/// Fetches a context into a new directory inside `parent`. `dockerfile` is the path asked for.
///
/// # Errors
/// [`RemoteContextError`] naming the address.
pub fn fetch(
    url: &str,
    dockerfile: &str,
    source: &dyn RemoteSource,
    parent: &Path,
    cancel: &Cancel,
) -> Result<Fetched, RemoteContextError> {
    match kind(url) {
        None => Err(RemoteContextError::Address(url.to_owned())),
        Some(Kind::Git) => repository(url, dockerfile, parent, cancel),
        Some(Kind::Http) => download(url, dockerfile, source, parent, cancel),
    }
}

fn download(
    url: &str,
    dockerfile: &str,
    source: &dyn RemoteSource,
    parent: &Path,
    cancel: &Cancel,
) -> Result<Fetched, RemoteContextError> {
    let fetch = |source| RemoteContextError::Fetch { url: url.to_owned(), source };
    let read = |source| RemoteContextError::Read { url: url.to_owned(), source };
    let mut body = source.open(url, cancel).map_err(fetch)?.body;
    let mut head = Vec::with_capacity(HEAD);
    (&mut body).take(HEAD as u64).read_to_end(&mut head).map_err(read)?;
    if is_archive(&head) {
        let context = unpack(Cursor::new(head).chain(body), parent, &Limits::default())?;
        return Ok((DockerfileSource::InContext(dockerfile.to_owned()), Some(context)));
    }
    body.take(MAX_TEXT).read_to_end(&mut head).map_err(read)?;
    match String::from_utf8(head) {
        Ok(text) if !text.contains('\0') => {
            Ok((DockerfileSource::Text { name: "Dockerfile".into(), text }, None))
        }
        _ => Err(RemoteContextError::Content(url.to_owned())),
    }
}

/// What begins an archive: gzip, bzip2, xz, zstd, or a tar's own mark.
fn is_archive(head: &[u8]) -> bool {
    let compressed: [&[u8]; 4] = [b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];
    compressed.iter().any(|magic| head.starts_with(magic))
        || head.get(257..262).is_some_and(|mark| mark == b"ustar")
}

fn repository(
    url: &str,
    dockerfile: &str,
    parent: &Path,
    cancel: &Cancel,
) -> Result<Fetched, RemoteContextError> {
    let clone = ContextDir::create(parent)?;
    let (folder, _) = git::clone(url, clone.path(), &git::Options::default(), cancel)?;
    Ok((DockerfileSource::InContext(dockerfile.to_owned()), Some(clone.part(&folder)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::RemoteFile;

    struct Answers(Vec<u8>);

    impl RemoteSource for Answers {
        fn open(&self, _: &str, _: &Cancel) -> Result<RemoteFile, RemoteError> {
            let body = Box::new(Cursor::new(self.0.clone()));
            Ok(RemoteFile { body, filename: None, modified: None, size: None })
        }
    }

    fn fetched(content: &[u8]) -> Result<Fetched, String> {
        let dir = tempfile::tempdir().unwrap();
        let source = Answers(content.to_owned());
        fetch("http://example.com/x", "sub/Dockerfile", &source, dir.path(), &Cancel::new())
            .map_err(|error| error.to_string())
            .inspect(|(_, context)| {
                if let Some(context) = context {
                    assert_eq!(context.read("Dockerfile").unwrap().as_deref(), Some(&b"FROM x"[..]));
                }
            })
    }

    #[test]
    fn an_archive_is_a_context_and_a_text_a_dockerfile() {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(6);
        header.set_mode(0o644);
        archive.append_data(&mut header, "Dockerfile", &b"FROM x"[..]).unwrap();
        let (dockerfile, context) = fetched(&archive.into_inner().unwrap()).unwrap();
        assert_eq!(dockerfile, DockerfileSource::InContext("sub/Dockerfile".into()));
        assert!(context.is_some());
        let (dockerfile, context) = fetched(b"FROM y\n").unwrap();
        assert!(context.is_none());
        assert_eq!(dockerfile, DockerfileSource::Text { name: "Dockerfile".into(), text: "FROM y\n".into() });
        let error = fetched(b"\x7fELF\0\0\xff").unwrap_err();
        assert!(error.contains("neither an archive nor a Dockerfile"), "{error}");
    }

    #[test]
    fn only_urls_and_repositories_are_addresses() {
        let dir = tempfile::tempdir().unwrap();
        let source = Answers(Vec::new());
        let error = fetch("/etc", "Dockerfile", &source, dir.path(), &Cancel::new()).unwrap_err();
        assert!(error.to_string().contains("\"/etc\" is no URL"), "{error}");
        let error =
            fetch("git://127.0.0.1:1/x.git", "Dockerfile", &source, dir.path(), &Cancel::new()).unwrap_err();
        assert!(error.to_string().starts_with("unable to prepare context: "), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left");
    }
}
