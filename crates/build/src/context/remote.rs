//! A context that is named by its address: an archive or a lone Dockerfile behind a URL, or a git repository
//! (`address#ref:folder`); of an archive, too, a folder can be named (`address#:folder`).

use std::io::{self, Cursor, Read};
use std::path::Path;

use dray_spec::Hasher;

use super::{ContextDir, ContextError, Limits, unpack};
use crate::capture::Material;
use crate::error::CopyError;
use crate::remote::{RemoteError, RemoteSource};
use crate::secret::Secrets;
use crate::solve::{Fetch, Kind, git, kind};
use crate::{Cancel, DockerfileSource};

/// So much tells an archive from a text.
pub(super) const HEAD: usize = 512;
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
    /// The repository cannot be cloned, or the file not be had.
    #[error("unable to prepare context: {0}")]
    Git(#[from] CopyError),
    /// What came cannot be unpacked.
    #[error(transparent)]
    Context(#[from] ContextError),
}

/// What was fetched.
#[derive(Debug)]
pub struct Fetched {
    /// The Dockerfile: in the context, or the whole of what was fetched.
    pub dockerfile: DockerfileSource,
    /// The context, if there is one.
    pub context: Option<ContextDir>,
    /// What it was.
    pub material: Material,
}

/// What fetching is done with.
pub(crate) struct Fetching<'a> {
    pub(crate) source: &'a dyn RemoteSource,
    /// Where a header for a git server may come from.
    pub(crate) secrets: &'a Secrets,
    /// Where directories are made.
    pub(crate) parent: &'a Path,
    pub(crate) cancel: &'a Cancel,
}

impl Fetching<'_> {
    /// Fetches a context into a new directory. `dockerfile` is the path asked for.
    pub(crate) fn fetch(&self, url: &str, dockerfile: &str) -> Result<Fetched, RemoteContextError> {
        // Of a context this is an address, of an ADD a path.
        if url.starts_with("github.com/") {
            return self.repository(&format!("https://{url}"), dockerfile);
        }
        match kind(url) {
            None => Err(RemoteContextError::Address(url.to_owned())),
            Some(Kind::Git) => self.repository(url, dockerfile),
            Some(Kind::Http) => self.download(url, dockerfile),
        }
    }

    /// An archive, of which `#:folder` is a part as it is of a repository; or a Dockerfile.
    fn download(&self, address: &str, dockerfile: &str) -> Result<Fetched, RemoteContextError> {
        let (url, fragment) = address.split_once('#').unwrap_or((address, ""));
        let read = |source| RemoteContextError::Read { url: url.to_owned(), source };
        let fetch = |source| RemoteContextError::Fetch { url: url.to_owned(), source };
        let mut body =
            Hashed { inner: self.source.open(url, self.cancel).map_err(fetch)?.body, hasher: Hasher::new() };
        let mut head = Vec::with_capacity(HEAD);
        (&mut body).take(HEAD as u64).read_to_end(&mut head).map_err(read)?;
        if is_archive(&head) {
            let context = unpack(Cursor::new(head).chain(&mut body), self.parent, &Limits::default())?;
            // What comes behind the archive's end is part of the file.
            io::copy(&mut body, &mut io::sink()).map_err(read)?;
            let context = match fragment.split_once(':') {
                Some((_, folder)) if !folder.is_empty() => context.part(folder)?,
                _ => context,
            };
            let dockerfile = DockerfileSource::InContext(dockerfile.to_owned());
            return Ok(Fetched { dockerfile, context: Some(context), material: body.material(url) });
        }
        (&mut body).take(MAX_TEXT).read_to_end(&mut head).map_err(read)?;
        match String::from_utf8(head) {
            Ok(text) if !text.contains('\0') => Ok(Fetched {
                dockerfile: DockerfileSource::Text { name: "Dockerfile".into(), text },
                context: None,
                material: body.material(url),
            }),
            _ => Err(RemoteContextError::Content(url.to_owned())),
        }
    }

    fn repository(&self, url: &str, dockerfile: &str) -> Result<Fetched, RemoteContextError> {
        let clone = ContextDir::create(self.parent)?;
        let options = git::Options { secrets: Some(self.secrets), ..git::Options::default() };
        let (folder, material) = git::clone(url, clone.path(), &options, self.cancel)?;
        let dockerfile = DockerfileSource::InContext(dockerfile.to_owned());
        Ok(Fetched { dockerfile, context: Some(clone.part(&folder)?), material })
    }
}

/// A repository as a client's graph names it: address and what is wanted of it apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repository {
    /// `address#ref:folder`
    pub address: String,
    /// Whether `.git` is kept.
    pub keep_git_dir: bool,
    /// The commit that it has to be.
    pub checksum: Option<String>,
    /// Without submodules.
    pub skip_submodules: bool,
}

impl Fetching<'_> {
    /// Clones a repository, whatever its address ends in.
    pub(crate) fn clone(&self, wanted: &Repository) -> Result<(ContextDir, Material), RemoteContextError> {
        let known = ["http://", "https://", "git://", "ssh://"];
        let is_known = known.iter().any(|scheme| wanted.address.starts_with(scheme));
        if !is_known && kind(&wanted.address) != Some(Kind::Git) {
            return Err(RemoteContextError::Address(wanted.address.clone()));
        }
        let clone = ContextDir::create(self.parent)?;
        let options = git::Options {
            keep_git_dir: Some(wanted.keep_git_dir),
            checksum: wanted.checksum.as_deref(),
            secrets: Some(self.secrets),
            skip_submodules: wanted.skip_submodules,
        };
        let (folder, material) = git::clone(&wanted.address, clone.path(), &options, self.cancel)?;
        Ok((clone.part(&folder)?, material))
    }

    /// Fetches a file into a context of its own, under this name.
    pub(crate) fn file(
        &self,
        url: &str,
        name: &str,
        checksum: Option<&str>,
    ) -> Result<(ContextDir, Material), RemoteContextError> {
        if kind(url) != Some(Kind::Http) || matches!(name, "" | "." | "..") || name.contains(['/', '\0']) {
            return Err(RemoteContextError::Address(url.to_owned()));
        }
        let context = ContextDir::create(self.parent)?;
        let fetch =
            Fetch { source: self.source, url, dest: "/", name: Some(name), checksum, cancel: self.cancel };
        let (_, digest) = fetch.save_in(context.path())?;
        Ok((context, Material::Http { url: url.to_owned(), digest }))
    }
}

/// A reader that hashes what passes.
struct Hashed<R> {
    inner: R,
    hasher: Hasher,
}

impl<R> Hashed<R> {
    fn material(self, url: &str) -> Material {
        Material::Http { url: url.to_owned(), digest: self.hasher.finish() }
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

/// What begins an archive: gzip, bzip2, xz, zstd, or a tar's own mark.
pub(super) fn is_archive(head: &[u8]) -> bool {
    let compressed: [&[u8]; 4] = [b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];
    compressed.iter().any(|magic| head.starts_with(magic))
        || head.get(257..262).is_some_and(|mark| mark == b"ustar")
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

    fn fetched(address: &str, content: &[u8]) -> Result<Fetched, String> {
        let dir = tempfile::tempdir().unwrap();
        let source = Answers(content.to_owned());
        let (cancel, secrets) = (Cancel::new(), Secrets::none());
        let fetching = Fetching { source: &source, secrets: &secrets, parent: dir.path(), cancel: &cancel };
        let fetched = fetching.fetch(address, "sub/Dockerfile").map_err(|error| error.to_string())?;
        if let Some(context) = &fetched.context {
            assert_eq!(context.read("Dockerfile").unwrap().as_deref(), Some(&b"FROM x"[..]));
        }
        let digest = dray_spec::Digest::sha256_of(content);
        assert_eq!(fetched.material, Material::Http { url: "http://example.com/x".into(), digest });
        Ok(fetched)
    }

    fn archive(name: &str) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(6);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, &b"FROM x"[..]).unwrap();
        archive.into_inner().unwrap()
    }

    #[test]
    fn an_archive_is_a_context_and_a_text_a_dockerfile() {
        let got = fetched("http://example.com/x", &archive("Dockerfile")).unwrap();
        assert_eq!(got.dockerfile, DockerfileSource::InContext("sub/Dockerfile".into()));
        assert!(got.context.is_some());
        assert!(fetched("http://example.com/x#:a/b", &archive("a/b/Dockerfile")).unwrap().context.is_some());
        assert!(fetched("http://example.com/x#:none", &archive("a/b/Dockerfile")).is_err());
        let got = fetched("http://example.com/x", b"FROM y\n").unwrap();
        assert!(got.context.is_none());
        let text = DockerfileSource::Text { name: "Dockerfile".into(), text: "FROM y\n".into() };
        assert_eq!(got.dockerfile, text);
        let error = fetched("http://example.com/x", b"\x7fELF\0\0\xff").unwrap_err();
        assert!(error.contains("neither an archive nor a Dockerfile"), "{error}");
    }

    #[test]
    fn only_urls_and_repositories_are_addresses() {
        let dir = tempfile::tempdir().unwrap();
        let (cancel, secrets) = (Cancel::new(), Secrets::none());
        let source = Answers(Vec::new());
        let fetching = Fetching { source: &source, secrets: &secrets, parent: dir.path(), cancel: &cancel };
        let error = fetching.fetch("/etc", "Dockerfile").unwrap_err();
        assert!(error.to_string().contains("\"/etc\" is no URL"), "{error}");
        let error = fetching.fetch("git://127.0.0.1:1/x.git", "Dockerfile").unwrap_err();
        assert!(error.to_string().starts_with("unable to prepare context: "), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left");
    }
}
