//! What a result is made of: its files, looked through by dray-scan.

use std::collections::BTreeMap;
use std::io::Read;

use dray_image::export::{Predicate, Rootfs};
use dray_scan::{Inventory, Subject};
use dray_spec::{Digest, Platform};
use rustix::fs::FileType;

use super::super::Error;
use super::{SbomOptions, Statement};

/// The kinds of predicates (in-toto's attestation/spec/predicates).
const SPDX: &str = "https://spdx.dev/Document";
const CYCLONEDX: &str = "https://cyclonedx.org/bom";

/// What BuildKit calls the scan of the result; those of stages and of the context have their name behind it.
const CORE: &str = "sbom";

/// What is scanned.
pub(in crate::build) struct Scanned<'a> {
    pub image: &'a Digest,
    pub platform: &'a Platform,
    /// When the image was made.
    pub created: Option<&'a str>,
}

/// The lists of parts that are wanted of a result: its own, which comes first, and those of what else was looked
/// through while it was built, by name.
pub(in crate::build) fn sboms(
    rootfs: &Rootfs,
    scanned: &Scanned<'_>,
    extras: &BTreeMap<String, Inventory>,
    options: SbomOptions,
) -> Result<Vec<Statement>, Error> {
    let inventory = dray_scan::scan(rootfs.as_fd()).map_err(Error::Scan)?;
    let name = format!("{} ({})", scanned.image, scanned.platform);
    let mut statements = documents(&inventory, scanned, CORE, &name, options);
    for (of, inventory) in extras {
        let name = format!("{CORE}-{of}");
        statements.extend(documents(inventory, scanned, &name, &name, options));
    }
    Ok(statements)
}

/// An inventory in the formats that are wanted. `file` is what BuildKit's scanners call it.
fn documents(
    inventory: &Inventory,
    scanned: &Scanned<'_>,
    file: &str,
    name: &str,
    options: SbomOptions,
) -> Vec<Statement> {
    let subject = |format: &str| Subject {
        name: name.to_owned(),
        id: match file {
            CORE => id_of(scanned.image, format),
            extra => id_of(scanned.image, &format!("{extra} {format}")),
        },
        created: scanned.created.unwrap_or("1970-01-01T00:00:00Z").to_owned(),
        tool: ("dray".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
    };
    let said = |kind: &str, ending: &str, content| Statement {
        predicate: Predicate { kind: kind.to_owned(), content },
        file: format!("{file}.{ending}.json"),
        inline_only: false,
    };
    let mut statements = Vec::new();
    if options.spdx {
        statements.push(said(SPDX, "spdx", dray_scan::spdx(inventory, &subject("spdx"))));
    }
    if options.cyclonedx {
        statements.push(said(CYCLONEDX, "cdx", dray_scan::cyclonedx(inventory, &subject("cyclonedx"))));
    }
    statements
}

/// The files of a result with their digests.
pub(in crate::build) fn subjects(rootfs: &Rootfs) -> std::io::Result<Vec<dray_image::export::Subject>> {
    let mut subjects = Vec::new();
    rootfs.walk(&mut |entry| {
        if FileType::from_raw_mode(entry.stat.st_mode) == FileType::RegularFile {
            let mut hasher = dray_spec::Hasher::new();
            let mut file = rootfs.open(&entry.path)?;
            let mut buffer = vec![0; 128 << 10];
            loop {
                match file.read(&mut buffer)? {
                    0 => break,
                    n => hasher.update(&buffer[..n]),
                }
            }
            let name = entry.path.to_string_lossy().into_owned();
            subjects.push(dray_image::export::Subject::new(name, &hasher.finish()));
        }
        Ok(())
    })?;
    Ok(subjects)
}

/// A document's own UUID (of version 8, RFC 9562): the same image has the same one.
fn id_of(image: &Digest, format: &str) -> String {
    let digest = Digest::sha256_of(format!("{image} {format}").as_bytes());
    let hex = digest.hex();
    format!("{}-{}-8{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_named_by_what_it_is_about() {
        let (one, other) = (Digest::sha256_of(b"1"), Digest::sha256_of(b"2"));
        let id = id_of(&one, "spdx");
        assert_eq!(id.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert_eq!(id, id_of(&one, "spdx"));
        assert!(id != id_of(&one, "cyclonedx") && id != id_of(&other, "spdx"));
    }
}
