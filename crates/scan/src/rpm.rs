//! RPM's database: SQLite, with a header for each package (rpm's lib/header.c). Older kinds of it, Berkeley DB and NDB,
//! are passed over.
//!
//! ```text
//! header   entries, data length (u32 each, big endian) │ entries: tag, type, offset, count │ data
//! ```

use std::fs::File;
use std::os::fd::AsRawFd;

use rusqlite::{Connection, OpenFlags};

use crate::inventory::{Ecosystem, Package};

const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const LICENSE: u32 = 1014;
const ARCHITECTURE: u32 = 1022;
const SOURCE: u32 = 1044;

/// Types of values.
const INT32: u32 = 4;
const STRING: u32 = 6;
const TEXT: u32 = 9;

/// Headers that are read, and how long each may be.
const MAX_HEADERS: usize = 100_000;
const MAX_HEADER: usize = 16 << 20;
/// The name under which keys for signatures stand among the packages.
const KEYS: &str = "gpg-pubkey";

/// The packages that are installed.
pub(crate) fn packages(file: &File, found_in: &str) -> Vec<Package> {
    let headers = headers(file).unwrap_or_else(|error| {
        tracing::debug!(%error, path = %found_in, "no database of RPM");
        Vec::new()
    });
    headers.iter().filter_map(|header| package(header, found_in)).collect()
}

fn headers(file: &File) -> rusqlite::Result<Vec<Vec<u8>>> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let path = format!("file:/proc/self/fd/{}?immutable=1", file.as_raw_fd());
    let connection = Connection::open_with_flags(path, flags)?;
    connection.pragma_update(None, "trusted_schema", "OFF")?;
    connection.pragma_update(None, "cell_size_check", "ON")?;
    // A table and nothing that computes its rows.
    let table =
        "SELECT count(*) FROM sqlite_schema WHERE name = 'Packages' AND type = 'table' AND rootpage > 0";
    if connection.query_row(table, [], |row| row.get::<_, i64>(0))? != 1 {
        return Ok(Vec::new());
    }
    let mut statement = connection.prepare("SELECT blob FROM Packages")?;
    let mut rows = statement.query([])?;
    let mut headers = Vec::new();
    while let Some(row) = rows.next()? {
        let header = row.get_ref(0)?.as_bytes()?;
        if header.len() <= MAX_HEADER {
            headers.push(header.to_vec());
        }
        if headers.len() == MAX_HEADERS {
            break;
        }
    }
    Ok(headers)
}

pub(crate) fn package(header: &[u8], found_in: &str) -> Option<Package> {
    let header = Header::of(header)?;
    let (name, version, release) = (header.text(NAME)?, header.text(VERSION)?, header.text(RELEASE)?);
    if name == KEYS {
        return None;
    }
    let epoch = header.number(EPOCH).filter(|epoch| *epoch > 0);
    let epoch = epoch.map(|epoch| format!("{epoch}:")).unwrap_or_default();
    Some(Package {
        architecture: header.text(ARCHITECTURE).unwrap_or_default(),
        source: header.text(SOURCE).and_then(|file| source(&file)),
        license: header.text(LICENSE),
        ..Package::new(Ecosystem::Rpm, &name, &format!("{epoch}{version}-{release}"), found_in)
    })
}

/// Name and version of `bash-5.2.15-3.fc39.src.rpm`.
fn source(file: &str) -> Option<(String, String)> {
    let file = file.strip_suffix(".rpm")?;
    let (file, _) = file.rsplit_once('.')?;
    let (rest, release) = file.rsplit_once('-')?;
    let (name, version) = rest.rsplit_once('-')?;
    Some((name.to_owned(), format!("{version}-{release}")))
}

struct Header<'a> {
    entries: &'a [u8],
    data: &'a [u8],
}

impl<'a> Header<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let (count, length) = (word(bytes, 0)?, word(bytes, 4)?);
        let (entries, rest) =
            bytes.get(8..)?.split_at_checked(usize::try_from(count).ok()?.checked_mul(16)?)?;
        Some(Header { entries, data: rest.get(..usize::try_from(length).ok()?)? })
    }

    /// The value of a tag: its type, and the data from where it begins.
    fn value(&self, tag: u32) -> Option<(u32, &'a [u8])> {
        let entry = self.entries.chunks_exact(16).find(|entry| word(entry, 0) == Some(tag))?;
        Some((word(entry, 4)?, self.data.get(usize::try_from(word(entry, 8)?).ok()?..)?))
    }

    fn text(&self, tag: u32) -> Option<String> {
        let (kind, data) = self.value(tag)?;
        let text = data.split(|byte| *byte == 0).next().filter(|_| matches!(kind, STRING | TEXT))?;
        Some(String::from_utf8_lossy(text).into_owned()).filter(|text| !text.is_empty())
    }

    fn number(&self, tag: u32) -> Option<u32> {
        let (kind, data) = self.value(tag)?;
        word(data, 0).filter(|_| kind == INT32)
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(four.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(values: &[(u32, u32, &[u8])]) -> Vec<u8> {
        let (mut entries, mut data) = (Vec::new(), Vec::new());
        for (tag, kind, value) in values {
            let offset = u32::try_from(data.len()).unwrap();
            entries.extend([*tag, *kind, offset, 1].iter().flat_map(|word| word.to_be_bytes()));
            data.extend_from_slice(value);
        }
        let count = u32::try_from(values.len()).unwrap().to_be_bytes();
        let length = u32::try_from(data.len()).unwrap().to_be_bytes();
        [&count[..], &length[..], &entries, &data].concat()
    }

    fn bash() -> Vec<u8> {
        header(&[
            (NAME, STRING, b"bash\0"),
            (VERSION, STRING, b"5.2\0"),
            (RELEASE, STRING, b"3.fc39\0"),
            (EPOCH, INT32, &[0, 0, 0, 1]),
            (ARCHITECTURE, STRING, b"x86_64\0"),
            (SOURCE, STRING, b"bash-5.2-3.fc39.src.rpm\0"),
            (LICENSE, STRING, b"GPL-3.0-or-later\0"),
        ])
    }

    #[test]
    fn headers_are_read_from_the_database() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rpmdb.sqlite");
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB NOT NULL)")
            .unwrap();
        let keys =
            header(&[(NAME, STRING, b"gpg-pubkey\0"), (VERSION, STRING, b"1\0"), (RELEASE, STRING, b"2\0")]);
        for blob in [bash(), keys, b"broken".to_vec()] {
            connection.execute("INSERT INTO Packages (blob) VALUES (?1)", [blob]).unwrap();
        }
        drop(connection);
        let found = packages(&File::open(&path).unwrap(), "f");
        let [bash] = &found[..] else { panic!("one package: {found:?}") };
        assert_eq!((bash.name.as_str(), bash.version.as_str()), ("bash", "1:5.2-3.fc39"));
        assert_eq!(
            (bash.architecture.as_str(), bash.license.as_deref()),
            ("x86_64", Some("GPL-3.0-or-later"))
        );
        assert_eq!(bash.source, Some(("bash".into(), "5.2-3.fc39".into())));
        std::fs::write(&path, b"no database").unwrap();
        assert!(packages(&File::open(&path).unwrap(), "f").is_empty());
    }

    #[test]
    fn rows_that_are_computed_are_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rpmdb.sqlite");
        let endless = "CREATE VIEW Packages AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x FROM n) SELECT x AS blob FROM n";
        Connection::open(&path).unwrap().execute_batch(endless).unwrap();
        assert!(packages(&File::open(&path).unwrap(), "f").is_empty());
    }

    #[test]
    fn a_header_that_is_cut_off_is_none() {
        let whole = bash();
        for length in 0..whole.len() {
            assert_eq!(package(&whole[..length], "f"), None, "{length}");
        }
        let far = header(&[(NAME, STRING, b"x\0")]);
        let mut far = far;
        far[16..20].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(package(&far, "f"), None);
    }
}
