//! The time that a reproducible build gives to all it makes, in seconds since 1970: `SOURCE_DATE_EPOCH`, as
//! reproducible-builds.org has it.
//!
//! ```text
//! image, its history         the epoch
//! COPY, ADD: all files       the epoch, unless they are another image's
//! RUN: what it wrote         the epoch
//!      what it unpacked      its own time, but none after the epoch
//! ```
//! So a layer depends neither on when its step ran nor on whether it came from the cache: a cached layer of another
//! epoch is copied with new times ([`crate::cache::Times`]). Layers of base images stay as they are.

use std::ffi::CString;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{self as rfs, AtFlags, Dir, FileType, Mode, OFlags, Timespec, Timestamps};

use crate::cache::Times;
use crate::error::BuildError;
use crate::request::BuildRequest;

/// The build argument that sets it.
pub(crate) const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";

/// The epoch that a request asks for.
pub(crate) fn of_request(request: &BuildRequest) -> Result<Option<i64>, BuildError> {
    let given = request.build_args.get(SOURCE_DATE_EPOCH).and_then(Option::as_deref).unwrap_or_default();
    match given {
        "" => Ok(None),
        text => match text.parse::<i64>() {
            Ok(seconds) if jiff::Timestamp::from_second(seconds).is_ok() => Ok(Some(seconds)),
            _ => Err(BuildError::Epoch(text.to_owned())),
        },
    }
}

/// An epoch as images carry it.
pub(crate) fn text(epoch: i64) -> String {
    jiff::Timestamp::from_second(epoch).unwrap_or_default().to_string()
}

/// Sets the times of everything in a folder.
pub(crate) fn stamp(folder: &Path, epoch: i64, times: &Times) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = rfs::open(folder, flags, Mode::empty())?;
    stamp_in(top.as_fd(), epoch, times)
}

fn stamp_in(folder: std::os::fd::BorrowedFd<'_>, epoch: i64, times: &Times) -> io::Result<()> {
    let mut names: Vec<CString> = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    for name in names {
        let stat = rfs::statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let inner = rfs::openat(folder, &name, flags, Mode::empty())?;
            stamp_in(inner.as_fd(), epoch, times)?;
        }
        let before = stat.st_mtime;
        let after = times.at(epoch, before);
        if after != before || stat.st_mtime_nsec != 0 && after == epoch {
            let time = Timespec { tv_sec: after, tv_nsec: 0 };
            let both = Timestamps { last_access: time, last_modification: time };
            rfs::utimensat(folder, &name, &both, AtFlags::SYMLINK_NOFOLLOW)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn everything_in_a_folder_gets_the_epoch_also_links() {
        let dir = tempfile::tempdir().expect("temp dir");
        let inner = dir.path().join("inner");
        std::fs::create_dir(&inner).expect("folder");
        std::fs::write(inner.join("file"), "x").expect("file");
        std::os::unix::fs::symlink("nowhere", inner.join("link")).expect("link");
        stamp(dir.path(), 1_000_000, &Times::default()).expect("stamped");
        for name in ["inner", "inner/file", "inner/link"] {
            let stat = std::fs::symlink_metadata(dir.path().join(name)).expect("stat");
            assert_eq!((stat.mtime(), stat.mtime_nsec()), (1_000_000, 0), "{name}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        let request = |text: &str| BuildRequest {
            build_args: [(SOURCE_DATE_EPOCH.to_owned(), Some(text.to_owned()))].into(),
            ..BuildRequest::default()
        };
        assert_eq!(of_request(&request("1700000000")).expect("valid"), Some(1_700_000_000));
        assert_eq!(of_request(&request("")).expect("valid"), None);
        let message = of_request(&request("soon")).expect_err("no time").to_string();
        assert_eq!(message, "invalid SOURCE_DATE_EPOCH: soon");
        assert_eq!(text(0), "1970-01-01T00:00:00Z");
    }
}
