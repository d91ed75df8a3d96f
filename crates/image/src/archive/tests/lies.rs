//! Everything that an archive can say of itself and that is not so: named, and nothing is left.

use super::refused::refused;
use super::*;

/// A layout of one image of one layer, with its descriptors changed by `lie`.
pub(super) fn lying(
    layer: &[u8],
    squeeze: bool,
    lie: impl FnOnce(&mut Manifest, &mut Descriptor),
) -> Vec<u8> {
    let config = config(&[layer]);
    let blob = if squeeze { gzip(layer) } else { layer.to_vec() };
    let kind = if squeeze { media_type::OCI_LAYER_GZIP } else { media_type::OCI_LAYER };
    let layers = vec![Descriptor::of(kind, &blob)];
    let mut manifest = Manifest::oci(Descriptor::of(media_type::OCI_CONFIG, &config), layers);
    let mut own = Descriptor::of(media_type::OCI_MANIFEST, b"");
    lie(&mut manifest, &mut own);
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let told = Descriptor { size: bytes.len() as u64 + own.size, ..Descriptor::of(&own.media_type, &bytes) };
    let tar = Tar::new().file(&path(&config), &config).file(&path(&blob), &blob).file(&path(&bytes), &bytes);
    with_index(tar, vec![told])
}

fn small() -> Vec<u8> {
    Tar::new().file("a", b"x").end()
}

/// Big enough to be unpacked while it arrives.
fn big() -> Vec<u8> {
    let bytes: Vec<u8> = (0u32..100_000).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    Tar::new().file("a", b"x").file("big", &bytes).end()
}

#[test]
fn the_truth_is_taken() {
    for layer in [small(), big()] {
        for squeeze in [false, true] {
            let fixture = Fixture::new();
            assert_eq!(load(&fixture.images, &lying(&layer, squeeze, |_, _| {})).len(), 1);
            assert_eq!(fixture.images.store().layers().list().unwrap().len(), 1);
        }
    }
}

#[test]
fn sizes() {
    for layer in [small(), big()] {
        let message = refused(&lying(&layer, true, |manifest, _| manifest.layers[0].size += 1));
        assert!(message.contains(" bytes, its descriptor says "), "{message}");
        let message = refused(&lying(&layer, true, |manifest, _| manifest.config.size = 1));
        assert!(message.ends_with("its descriptor says 1"), "{message}");
        let message = refused(&lying(&layer, true, |_, own| own.size = 7));
        assert!(message.contains("its descriptor says"), "{message}");
    }
}

#[test]
fn media_types() {
    for layer in [small(), big()] {
        let as_gzip = |manifest: &mut Manifest, _: &mut Descriptor| {
            manifest.layers[0].media_type = media_type::OCI_LAYER_GZIP.into();
        };
        let message = refused(&lying(&layer, false, as_gzip));
        assert!(
            message.ends_with("is not what its media type says: application/vnd.oci.image.layer.v1.tar+gzip"),
            "{message}"
        );
        let as_plain = |manifest: &mut Manifest, _: &mut Descriptor| {
            manifest.layers[0].media_type = media_type::OCI_LAYER.into();
        };
        assert!(refused(&lying(&layer, true, as_plain)).contains("is not what its media type says"));
    }
    let as_index = |_: &mut Manifest, own: &mut Descriptor| own.media_type = media_type::OCI_INDEX.into();
    refused(&lying(&small(), true, as_index));
}

#[test]
fn digests_of_big_layers() {
    let (layer, other) = (big(), Tar::new().file("a", &vec![9; 400_000]).end());
    // The blob's name is another's digest, plain and compressed.
    for squeeze in [false, true] {
        let whole = lying(&layer, squeeze, |_, _| {});
        let blob = if squeeze { gzip(&layer) } else { layer.clone() };
        let at = whole.windows(blob.len()).position(|window| window == blob).unwrap();
        let mut swapped = whole.clone();
        // Within the content of the big file, where no format notices it.
        swapped[at + blob.len() / 2] ^= 1;
        let message = refused(&swapped);
        assert!(message.contains("has another digest"), "{message}");
    }
    let manifest = r#"[{"Config":"c.json","Layers":["l.tar"]}]"#;
    let wrong = Tar::new()
        .file("c.json", &config(&[&layer]))
        .file("l.tar", &other)
        .file("manifest.json", manifest.as_bytes())
        .end();
    assert!(refused(&wrong).starts_with("invalid diffID for layer 0: "));
}

#[test]
fn what_is_here_already_is_looked_at_all_the_same() {
    let layer = big();
    for squeeze in [false, true] {
        let whole = lying(&layer, squeeze, |_, _| {});
        let fixture = Fixture::new();
        load(&fixture.images, &whole);
        let layers = fixture.images.store().layers().list().unwrap();
        assert_eq!(load(&fixture.images, &whole).len(), 1);
        assert_eq!(fixture.images.store().layers().list().unwrap(), layers);
        let blob = if squeeze { gzip(&layer) } else { layer.clone() };
        let at = whole.windows(blob.len()).position(|window| window == blob).unwrap();
        let mut changed = whole.clone();
        changed[at + blob.len() / 2] ^= 1;
        let error = fixture.images.load(&changed[..], &Silent).unwrap_err().to_string();
        assert!(error.contains("has another digest"), "{error}");
        // A layer that is here is not taken for another.
        let other = Tar::new().file("other", &vec![5; 400_000]).end();
        let config = config(&[&other]);
        let manifest = format!(r#"[{{"Config":"c.json","Layers":["{}"]}}]"#, path(&layer));
        let archive = Tar::new().file("c.json", &config).file(&path(&layer), &layer);
        let archive = archive.file("manifest.json", manifest.as_bytes()).end();
        let error = fixture.images.load(&archive[..], &Silent).unwrap_err().to_string();
        assert!(error.starts_with("invalid diffID for layer 0: "), "{error}");
        assert_eq!(fixture.images.store().layers().list().unwrap(), layers, "what was here stays");
    }
}

#[test]
fn a_size_that_no_disk_has() {
    let mut header = crate::layer::tests::tars::header(b'0', b"l.tar", b"", 0);
    // Base 256: as much as a number can be.
    header.as_mut_bytes()[124..136]
        .copy_from_slice(&[0x80, 0, 0, 0, 0x7f, 255, 255, 255, 255, 255, 255, 255]);
    header.set_cksum();
    let message = refused(&Tar::new().raw(&header, &[0; 512]).end());
    assert!(message.contains("\"l.tar\" has 9223372036854775807 bytes, there is room for "), "{message}");
}

#[test]
fn bombs() {
    // A gigabyte of zeros in a file of a layer, a thousandth of it on the wire: only what is in it counts.
    let mut header = crate::layer::tests::tars::header(b'0', b"zeros", b"", 1 << 60);
    header.as_mut_bytes()[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0]);
    header.set_cksum();
    let layer = Tar::new().raw(&header, &vec![0; 1 << 20]).0;
    for squeeze in [false, true] {
        let message = refused(&lying(&layer, squeeze, |_, _| {}));
        assert!(message.contains("entry \"zeros\""), "{message}");
    }
    // The whole archive in several layers of gzip is not unpacked more than once.
    let twice = gzip(&gzip(&lying(&small(), false, |_, _| {})));
    assert_eq!(refused(&twice), "invalid archive: it is not a tar archive");
}

#[test]
fn a_hard_link_out_of_a_big_layer() {
    let mut tar = Tar::new().file("big", &vec![7; 400_000]).link(b'1', "stolen", "../../../etc/shadow");
    tar = tar.file("more", b"x");
    let layer = tar.end();
    let message = refused(&legacy(&[&layer], &["evil:v1"]).end());
    assert!(message.contains("entry \"stolen\""), "{message}");
    let missing = Tar::new().file("big", &vec![7; 400_000]).link(b'1', "stolen", "etc/shadow").end();
    let message = refused(&legacy(&[&missing], &["evil:v1"]).end());
    assert!(message.contains("entry \"stolen\""), "{message}");
}

#[test]
fn a_big_layer_with_a_link_to_the_one_below() {
    let below = Tar::new().file("target", b"below").end();
    let layer = Tar::new().file("big", &vec![7; 400_000]).link(b'1', "link", "target").end();
    let fixture = Fixture::new();
    load(&fixture.images, &legacy(&[&below, &layer], &["links:v1"]).end());
    let image = fixture.images.resolve("links:v1").unwrap();
    let folder = fixture.images.store().layers().folders(image.layers[1]).remove(0);
    assert_eq!(std::fs::read(folder.join("link")).unwrap(), b"below");
    // Its tar cannot be told from the folder alone, and is given again all the same.
    let again = save(&fixture.images, &["links:v1"]);
    assert_eq!(file(&again, &path(&layer)), layer);
}

#[test]
fn a_big_layer_that_has_a_name_twice_keeps_its_bytes() {
    let layer = Tar::new().file("big", &vec![7; 400_000]).file("big", b"now small").end();
    let fixture = Fixture::new();
    load(&fixture.images, &legacy(&[&layer], &["twice:v1"]).end());
    let image = fixture.images.resolve("twice:v1").unwrap();
    let folder = fixture.images.store().layers().folders(image.layers[0]).remove(0);
    assert_eq!(std::fs::read(folder.join("big")).unwrap(), b"now small");
    assert_eq!(file(&save(&fixture.images, &["twice:v1"]), &path(&layer)), layer);
}

#[test]
fn whiteouts_of_everything() {
    let below = Tar::new().folder("d").file("d/f", b"1").file("g", b"2").end();
    let nothing = Tar::new().file(".wh..wh..opq", b"").file(".wh.d", b"").file(".wh.g", b"").end();
    let fixture = Fixture::new();
    load(&fixture.images, &legacy(&[&below, &nothing], &["empty:v1"]).end());
    let image = fixture.images.resolve("empty:v1").unwrap();
    let tree = fixture.images.tree(&image).unwrap();
    assert_eq!((tree.size, tree.wasted), (2, 2));
    for name in [".wh.", ".wh...", ".wh.."] {
        let layer = Tar::new().file(name, b"").end();
        assert!(refused(&legacy(&[&layer], &["evil:v1"]).end()).contains("whiteout"), "{name}");
    }
}

#[test]
fn attributes_and_capabilities() {
    let capability: &[u8] = &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let layer = Tar::new()
        .pax(&[("SCHILY.xattr.security.capability", capability), ("SCHILY.xattr.user.note", b"kept")])
        .file("ping", b"x")
        .end();
    let fixture = Fixture::new();
    load(&fixture.images, &legacy(&[&layer], &["caps:v1"]).end());
    let image = fixture.images.resolve("caps:v1").unwrap();
    let ping = fixture.images.store().layers().folders(image.layers[0])[0].join("ping");
    let mut value = [0; 64];
    let length = rustix::fs::getxattr(&ping, "security.capability", &mut value[..]).unwrap();
    assert_eq!(&value[..length], capability);
    let steering = Tar::new().pax(&[("SCHILY.xattr.trusted.overlay.opaque", b"y")]).folder("d").end();
    assert!(refused(&legacy(&[&steering], &["evil:v1"]).end()).contains("trusted.overlay.opaque"));
}

#[test]
fn names_that_are_no_text() {
    let mut header = crate::layer::tests::tars::header(b'0', b"\xff\xfe name", b"", 1);
    header.set_cksum();
    let layer = Tar::new().raw(&header, b"x").end();
    let fixture = Fixture::new();
    load(&fixture.images, &legacy(&[&layer], &["bytes:v1"]).end());
    let image = fixture.images.resolve("bytes:v1").unwrap();
    let folder = fixture.images.store().layers().folders(image.layers[0]).remove(0);
    let names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 1);
    assert!(names[0].to_str().is_none());
    assert_eq!(file(&save(&fixture.images, &["bytes:v1"]), &path(&layer)), layer);
    // In the archive itself such a name is nobody's.
    let outer = Tar::new().raw(&header, b"x").end();
    assert_eq!(refused(&outer), "invalid archive: does not contain a manifest.json");
}

#[test]
fn a_sparse_file_of_more_than_four_gigabytes() {
    const LENGTH: u64 = (4 << 30) + 4096;
    let map = format!("1\n{}\n4\n", LENGTH - 4);
    let mut data = map.into_bytes();
    data.resize(512, 0);
    data.extend_from_slice(b"tail");
    let size = LENGTH.to_string();
    let layer = Tar::new()
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"huge"),
            ("GNU.sparse.realsize", size.as_bytes()),
        ])
        .file("GNUSparseFile.0/huge", &data)
        .end();
    let fixture = Fixture::new();
    load(&fixture.images, &legacy(&[&layer], &["sparse:v1"]).end());
    let image = fixture.images.resolve("sparse:v1").unwrap();
    assert_eq!(image.size, LENGTH);
    let store = fixture.images.store();
    let usage = dray_store::usage(&store.layers().folders(image.layers[0])[0]).unwrap();
    assert!(usage.allocated < 1 << 20, "it takes {} on the disk", usage.allocated);
    assert_eq!(file(&save(&fixture.images, &["sparse:v1"]), &path(&layer)), layer);
}

#[test]
fn ten_thousand_layers() {
    let layer = small();
    let layers: Vec<&[u8]> = vec![&layer; 10_000];
    let config = config(&layers);
    let names = vec![r#""l.tar""#; 10_000].join(",");
    let manifest = format!(r#"[{{"Config":"c.json","Layers":[{names}]}}]"#);
    let archive =
        Tar::new().file("c.json", &config).file("l.tar", &layer).file("manifest.json", manifest.as_bytes());
    let message = refused(&archive.end());
    assert_eq!(message, "max depth exceeded: the image has 10000 layers, a container can have 490");
}

#[test]
fn duplicates() {
    let good = br#"[{"Config":"c.json","Layers":["l.tar"],"RepoTags":["good:v1"]}]"#;
    let other = Tar::new().file("big", &vec![7; 4_000_000]).end();
    for (first, layer) in
        [(b"not this".to_vec(), small()), (other, small()), (small(), big()), (big(), big())]
    {
        let archive = Tar::new()
            .file("manifest.json", b"[{}]")
            .file("c.json", &config(&[&layer]))
            .file("l.tar", &first)
            .file("l.tar", &layer)
            .file("manifest.json", good);
        let fixture = Fixture::new();
        assert_eq!(load(&fixture.images, &archive.end()).len(), 1, "the later one counts, as in any tar");
        assert_eq!(fixture.images.store().layers().list().unwrap().len(), 1);
    }
}

#[test]
fn indexes_in_indexes() {
    let layer = small();
    let (mut tar, mut descriptor) = layout(&[&layer]);
    for _ in 0..6 {
        let index = serde_json::to_vec(&Index::oci(vec![descriptor])).unwrap();
        tar = tar.file(&path(&index), &index);
        descriptor = Descriptor::of(media_type::OCI_INDEX, &index);
    }
    let message = refused(&with_index(tar, vec![descriptor]));
    assert!(message.ends_with("indexes lie deeper in each other than 4"), "{message}");
    // An index that names itself cannot have its own digest: that blob is not there, or is not what it is called.
    let own = Descriptor::new(media_type::OCI_INDEX, Digest::sha256_of(b"itself"), 100);
    let itself = serde_json::to_vec(&Index::oci(vec![own.clone()])).unwrap();
    let tar = Tar::new().file(&oci::path(&own.digest), &itself);
    assert!(refused(&with_index(tar, vec![own])).contains("has another digest"));
}

#[test]
fn a_huge_index() {
    let (tar, manifest) = layout(&[&small()]);
    let index = serde_json::to_vec(&Index::oci(vec![manifest; 60_000])).unwrap();
    assert!(index.len() > 8 << 20);
    let archive = tar.file("oci-layout", b"{}").file("index.json", &index).end();
    assert_eq!(refused(&archive), "invalid archive: \"index.json\" is too big for a document");
}

#[test]
fn documents_that_nest_without_end() {
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let message = refused(&Tar::new().file("manifest.json", deep.as_bytes()).end());
    assert!(message.starts_with("invalid archive: failed to decode manifest.json: "), "{message}");
}

#[test]
fn a_link_does_not_make_a_layer_another_s_blob() {
    let (layer, other) = (small(), gzip(&Tar::new().file("evil", b"x").end()));
    let config = config(&[&layer]);
    // The manifest names the other blob, whose name in the archive leads to the layer's.
    let described = Descriptor::of(media_type::OCI_LAYER_GZIP, &other);
    let manifest = Manifest::oci(Descriptor::of(media_type::OCI_CONFIG, &config), vec![described.clone()]);
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let tar = Tar::new()
        .file(&path(&config), &config)
        .file("layer", &gzip(&layer))
        .link(b'2', &path(&other), "../../layer")
        .file(&path(&bytes), &bytes)
        .file("manifest.json", manifest_json(&path(&config), &path(&other)).as_bytes());
    let fixture = Fixture::new();
    let store = fixture.images.store();
    store.blobs().put(&other).unwrap();
    let _lease = store.lease();
    load_file(&fixture.images, &with_index(tar, vec![Descriptor::of(media_type::OCI_MANIFEST, &bytes)]))
        .unwrap();
    let known = crate::origin::blob_of(store, &Digest::sha256_of(&layer));
    assert!(known.is_none_or(|known| known.digest == Digest::sha256_of(&gzip(&layer))));
}

fn manifest_json(config: &str, layer: &str) -> String {
    format!(r#"[{{"Config":"{config}","Layers":["{layer}"]}}]"#)
}
