//! Where `save` and `export` write: standard output, or a file that appears whole or not at all.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::command_error::Error;

/// Where the bytes go.
pub enum Target {
    /// Standard output.
    Stdout,
    /// A file.
    File(PathBuf),
}

impl Target {
    /// Refuses a terminal and paths that cannot be files, before anything is asked of the daemon.
    ///
    /// # Errors
    /// It cannot be written there.
    pub fn check(path: &str, what: &str) -> Result<Target, Error> {
        if path.is_empty() {
            if crate::terminal::is_terminal(std::io::stdout()) {
                let text = "cowardly refusing to save to a terminal. Use the -o flag or redirect";
                return Err(Error::Refused(text.into()));
            }
            return Ok(Target::Stdout);
        }
        let path = Path::new(path);
        let refuse = |why: String| Err(Error::Refused(format!("{what}: {why}")));
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !parent.is_dir() {
            return refuse(format!("invalid output path: directory \"{}\" does not exist", parent.display()));
        }
        match std::fs::metadata(path) {
            Ok(m) if m.is_dir() => {
                refuse(format!("invalid output path: \"{}\" must be a regular file", path.display()))
            }
            _ => Ok(Target::File(path.to_owned())),
        }
    }

    /// Has somebody else fill the file, if it is one that can be written to at any place. False if it is none or they
    /// do not: then nothing is there.
    ///
    /// # Errors
    /// The file cannot be made, or the filling fails.
    pub async fn fill(
        &self,
        fill: impl AsyncFnOnce(BorrowedFd<'_>) -> Result<bool, dray_client::Error>,
    ) -> Result<bool, Error> {
        match self {
            Target::Stdout => {
                let stdout = std::io::stdout();
                Ok(takes_any_place(stdout.as_fd()) && fill(stdout.as_fd()).await?)
            }
            Target::File(path) if path.exists() && !path.is_file() => Ok(false),
            Target::File(path) => {
                let draft = Draft::create(path)?;
                let filled = fill(draft.file.as_fd()).await?;
                if filled {
                    draft.finish(path)?;
                }
                Ok(filled)
            }
        }
    }

    /// Writes all that comes.
    ///
    /// # Errors
    /// The stream breaks off, or the target cannot take it.
    pub async fn write(self, mut from: impl AsyncRead + Unpin) -> Result<(), Error> {
        match self {
            Target::Stdout => copy(&mut from, &mut std::io::stdout().lock()).await,
            Target::File(path) if path.exists() && !path.is_file() => {
                let mut file = std::fs::OpenOptions::new()
                    .write(true)
                    .open(&path)
                    .map_err(Error::file("open", &path))?;
                copy(&mut from, &mut file).await
            }
            Target::File(path) => {
                let draft = Draft::create(&path)?;
                let mut file = &draft.file;
                copy(&mut from, &mut file).await?;
                draft.finish(&path)
            }
        }
    }
}

/// True for a regular file that is not only appended to.
fn takes_any_place(file: BorrowedFd<'_>) -> bool {
    let appends = rustix::fs::fcntl_getfl(file).is_ok_and(|flags| flags.contains(rustix::fs::OFlags::APPEND));
    !appends && is_regular(file)
}

/// True for a regular file.
pub fn is_regular(file: BorrowedFd<'_>) -> bool {
    rustix::fs::fstat(file).is_ok_and(|about| rustix::fs::FileType::from_raw_mode(about.st_mode).is_file())
}

async fn copy(from: &mut (impl AsyncRead + Unpin), to: &mut impl std::io::Write) -> Result<(), Error> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        let read = from.read(&mut buffer).await.map_err(Error::io("read the daemon's answer"))?;
        if read == 0 {
            return to.flush().map_err(Error::io("write the output"));
        }
        to.write_all(&buffer[..read]).map_err(Error::io("write the output"))?;
    }
}

/// A file beside its place, removed unless finished.
struct Draft {
    path: Option<PathBuf>,
    file: std::fs::File,
}

impl Draft {
    fn create(target: &Path) -> Result<Draft, Error> {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let path = target.with_file_name(format!(".{name}.{}", std::process::id()));
        let file = std::fs::File::create(&path).map_err(Error::file("open", &path))?;
        Ok(Draft { path: Some(path), file })
    }

    fn finish(mut self, target: &Path) -> Result<(), Error> {
        if let Some(path) = self.path.take() {
            std::fs::rename(&path, target).map_err(Error::file("rename", &path))?;
        }
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // What stays is a hidden file of this process; the error that led here is told.
            let _ = std::fs::remove_file(path);
        }
    }
}
