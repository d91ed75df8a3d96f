//! Archives that are none, are damaged or mean harm: a clear error, and nothing left.

use std::io::BufReader;

use super::*;
use crate::ErrorKind;

/// The error of a load, after which the store must be as empty as before.
pub(super) fn refused(archive: &[u8]) -> String {
    let streamed = refused_by(|images| images.load(archive, &Silent));
    let message = refused_by(|images| load_file(images, archive));
    // How much room there is changes.
    let words = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
    assert_eq!(words(&message), words(&streamed), "from a file, and from a stream");
    message
}

/// The error that this load ends with; nothing may be left of it.
pub(super) fn refused_by(load: impl FnOnce(&Images) -> crate::Result<Vec<Loaded>>) -> String {
    let fixture = Fixture::new();
    let error = load(&fixture.images).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::InvalidParameter | ErrorKind::System), "{error}");
    let store = fixture.images.store();
    assert!(store.images().list().unwrap().is_empty(), "{error}");
    assert!(store.layers().list().unwrap().is_empty(), "{error}");
    assert!(store.blobs().list().unwrap().is_empty(), "{error}");
    for folder in ["layers", "ingest"] {
        assert_eq!(std::fs::read_dir(fixture.dir.path().join(folder)).unwrap().count(), 0, "{error}");
    }
    error.to_string()
}

fn archive(manifest: &str) -> Vec<u8> {
    let layer = Tar::new().file("a", b"x").end();
    Tar::new()
        .file("c.json", &config(&[&layer]))
        .file("l.tar", &layer)
        .file("manifest.json", manifest.as_bytes())
        .end()
}

#[test]
fn what_is_no_archive_of_images() {
    for (bytes, words) in [
        (Vec::new(), "invalid archive: does not contain a manifest.json"),
        (Tar::new().file("a", b"x").end(), "invalid archive: does not contain a manifest.json"),
        (
            b"BZh91AY&SY".to_vec(),
            "invalid archive: bzip2 compression is not supported; gzip, zstd and none are",
        ),
        (vec![b'x'; 2000], "invalid archive: it is not a tar archive"),
        (archive("null"), "invalid archive: manifest cannot be null (but can be [])"),
        (archive("{"), "invalid archive: failed to decode manifest.json: "),
        (archive(r#"[{"Config":"nope","Layers":[]}]"#), "invalid archive: it has no file \"nope\""),
        (archive(r#"[{"Config":"c.json","Layers":["nope"]}]"#), "invalid archive: it has no file \"nope\""),
        (archive(r#"[{"Config":"../c.json","Layers":[]}]"#), "invalid archive: it has no file \"../c.json\""),
        (
            archive(r#"[{"Config":"c.json","Layers":[]}]"#),
            "invalid archive: layers length mismatch: expected 0, got 1",
        ),
        (
            archive(r#"[{"Config":"c.json","Layers":["l.tar"],"RepoTags":["app"]}]"#),
            "invalid archive: invalid tag \"app\"",
        ),
        (
            archive(r#"[{"Config":"c.json","Layers":["l.tar"],"RepoTags":["App:v1"]}]"#),
            "invalid reference format: repository name (library/App) must be lowercase",
        ),
        (archive(r#"[{"Config":"l.tar","Layers":[]}]"#), "image sha256:"),
    ] {
        let message = refused(&bytes);
        assert!(message.starts_with(words), "{message}\n  expected {words}");
    }
    assert!(Fixture::new().images.load(&archive("[]")[..], &Silent).unwrap().is_empty());
}

#[test]
fn hostile_layers_and_names() {
    let good = Tar::new().file("good", b"x").end();
    let evil = Tar::new().file("good", b"x").file("../../evil", b"x").end();
    assert_eq!(
        refused(&legacy(&[&good, &evil], &["evil:v1"]).end()),
        "layer layer1/layer.tar: entry \"../../evil\": its name leads out of the layer"
    );
    let device = Tar::new().device(b'3', "null", 0, 0).end();
    assert!(
        refused(&legacy(&[&device], &["evil:v1"]).end()).contains("entry \"null\": a character device 0:0")
    );
    assert_eq!(
        refused(&Tar::new().file("../../etc/cron.d/evil", b"x").end()),
        "invalid archive: entry \"../../etc/cron.d/evil\": its name leads out of the layer"
    );
    let outside = Tar::new().link(b'2', "manifest.json", "/etc/passwd").end();
    assert_eq!(refused(&outside), "invalid archive: does not contain a manifest.json");
    let circle = Tar::new().link(b'2', "manifest.json", "b").link(b'2', "b", "manifest.json").end();
    assert_eq!(refused(&circle), "invalid archive: does not contain a manifest.json");
}

#[test]
fn content_that_is_not_what_it_is_called() {
    let layer = Tar::new().file("a", b"x").end();
    let other = Tar::new().file("a", b"y").end();
    let manifest = r#"[{"Config":"c.json","Layers":["l.tar"]}]"#;
    let swapped = Tar::new()
        .file("c.json", &config(&[&layer]))
        .file("l.tar", &other)
        .file("manifest.json", manifest.as_bytes())
        .end();
    assert_eq!(
        refused(&swapped),
        format!(
            "invalid diffID for layer 0: expected \"{}\", got \"{}\"",
            Digest::sha256_of(&layer),
            Digest::sha256_of(&other)
        )
    );
    let (tar, manifest) = layout(&[&layer]);
    let mut bytes = with_index(tar, vec![manifest]);
    let squeezed = gzip(&layer);
    let at = bytes.windows(squeezed.len()).position(|window| window == squeezed).unwrap();
    bytes[at + 20] ^= 1;
    assert_eq!(
        refused(&bytes),
        format!("invalid archive: the content of {:?} has another digest", path(&squeezed))
    );
}

#[test]
fn cut_anywhere_it_leaves_nothing() {
    let layer = Tar::new().file("a", &vec![3; 400_000]).end();
    let whole = legacy(&[&layer], &["cut:v1"]).end();
    for cut in [1, 511, 600, 5_000, 300_000, whole.len() - 3000] {
        let message = refused(&whole[..cut]);
        assert!(message.starts_with("invalid archive: "), "{cut}: {message}");
    }
    let squeezed = gzip(&whole);
    let fixture = Fixture::new();
    let error = fixture.images.load(&squeezed[..squeezed.len() / 2], &Silent).unwrap_err().to_string();
    assert!(error.starts_with("invalid archive: cannot read it: "), "{error}");
}

#[test]
fn images_for_other_systems() {
    let config = br#"{"os":"windows","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let manifest = br#"[{"Config":"c.json","Layers":null}]"#;
    let archive = Tar::new().file("c.json", config).file("manifest.json", manifest).end();
    assert_eq!(refused(&archive), "cannot load windows image on linux");
}

#[test]
fn a_bad_image_after_a_good_one_takes_both() {
    let layer = Tar::new().file("a", b"x").end();
    let manifest = r#"[{"Config":"c.json","Layers":["l.tar"],"RepoTags":["good:v1"]},
                       {"Config":"nope.json","Layers":[]}]"#;
    assert!(refused(&archive(manifest)).contains("nope.json"));
    drop(layer);
}

#[test]
fn more_entries_than_images_have() {
    let mut tar = Tar::new();
    for _ in 0..=MOST_ENTRIES {
        tar = tar.file("x", b"");
    }
    assert_eq!(refused(&tar.end()), "invalid archive: it has more than 100000 entries");
}

/// A file system of 2 MB: enough for the records and the archive, not for its layer too.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Self {
        let at = tempfile::tempdir().unwrap();
        let mut mount = std::process::Command::new("mount");
        let status = mount.args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(at.path()).status().unwrap();
        assert!(status.success(), "tests run as root");
        Self(at)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_is_named_and_leaves_nothing() {
    let bytes: Vec<u8> = (0u32..400_000).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let archive = legacy(&[&Tar::new().file("big", &bytes).end()], &["big:v1"]).end();
    let disk = SmallDisk::mount();
    let images = Images::new(dray_store::Store::open(disk.0.path()).unwrap());
    let error = images.load(&archive[..], &Silent).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("No space left on device") || text.contains("there is room for"), "{text}");
    assert!(images.list().unwrap().is_empty());
    assert!(images.store().layers().list().unwrap().is_empty());
    assert_eq!(std::fs::read_dir(disk.0.path().join("ingest")).unwrap().count(), 0);
    // And the disk is free again for something smaller.
    let small = legacy(&[&Tar::new().file("small", b"x").end()], &["small:v1"]).end();
    images.load(&small[..], &Silent).unwrap();
}

fn stream(bytes: &[u8]) -> BufReader<Box<dyn Read + Send + '_>> {
    BufReader::new(Box::new(bytes))
}

#[test]
fn documents_are_not_read_without_end() {
    let fixture = Fixture::new();
    let big = Tar::new().file("big", &vec![b' '; 8 << 20]).end();
    let spool = spool::Spool::read(fixture.images.store(), stream(&big), &Silent).unwrap();
    // As often as an index of this archive may name it.
    let error = (0..100).find_map(|_| spool.document("big").err()).unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidParameter);
    assert!(error.to_string().ends_with("its manifests and configurations are too many"), "{error}");
}
