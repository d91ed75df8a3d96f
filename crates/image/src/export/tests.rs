//! What exports look like, and that layouts are whole.

use std::collections::BTreeMap;
use std::io::Read;

use dray_spec::{ImageConfig, Index, Manifest, media_type};

use super::*;
use crate::images::tests::Fixture;
use crate::layer::DiffId;

/// An image of layers with one file each.
pub(super) fn image(fixture: &Fixture, files: &[&str]) -> Image {
    let store = fixture.images.store();
    let (mut layers, mut config) = (Vec::new(), ImageConfig::for_platform(&Platform::host()));
    for file in files {
        let draft = store.layers().begin().unwrap();
        std::fs::write(draft.path().join(file), file).unwrap();
        let packed = DiffId::of(draft.path()).unwrap();
        layers.push(draft.commit(&packed.diff_id, packed.size).unwrap());
        config.rootfs.diff_ids.push(packed.diff_id);
    }
    fixture.images.create_from(&config, layers).unwrap()
}

fn manifest(fixture: &Fixture, exported: &Exported) -> Manifest {
    let bytes = fixture.images.store().blobs().read(&exported.manifest.digest).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn entries(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(bytes);
    let read = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (entry.path().unwrap().to_string_lossy().into_owned(), content)
    };
    archive.entries().unwrap().map(read).collect()
}

#[test]
fn layers_are_packed_as_asked_and_unpack_to_the_same() {
    let fixture = Fixture::new();
    let image = image(&fixture, &["a", "b"]);
    let diff_ids = &image.config.rootfs.diff_ids;
    for (packing, oci, expected) in [
        (None, false, media_type::DOCKER_LAYER_GZIP),
        (Some(Packing::Plain), true, media_type::OCI_LAYER),
        (Some(Packing::Zstd), false, media_type::OCI_LAYER_ZSTD),
        (Some(Packing::Gzip), true, media_type::OCI_LAYER_GZIP),
    ] {
        let _lease = fixture.images.lease();
        let format = ImageFormat { packing, oci, ..ImageFormat::default() };
        let exported = fixture.images.export(&image, 0, &format).unwrap();
        let manifest = manifest(&fixture, &exported);
        assert_eq!(manifest.config.digest, image.id);
        for (layer, diff_id) in manifest.layers.iter().zip(diff_ids) {
            assert_eq!(layer.media_type, expected);
            let blob = fixture.images.store().blobs().open(&layer.digest).unwrap();
            let mut plain = Vec::new();
            crate::layer::decompress(blob).unwrap().read_to_end(&mut plain).unwrap();
            assert_eq!(Digest::sha256_of(&plain), *diff_id);
        }
    }
}

#[test]
fn layers_of_the_base_stay_as_they_came_unless_forced() {
    let fixture = Fixture::new();
    let image = image(&fixture, &["a", "b"]);
    let _lease = fixture.images.lease();
    fixture.images.export(&image, 0, &ImageFormat::default()).unwrap();
    let zstd = ImageFormat { packing: Some(Packing::Zstd), ..ImageFormat::default() };
    let kinds = |format: &ImageFormat| {
        let exported = fixture.images.export(&image, 1, format).unwrap();
        let manifest = manifest(&fixture, &exported);
        manifest.layers.iter().map(|layer| Packing::of(&layer.media_type)).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&zstd), [Packing::Gzip, Packing::Zstd]);
    assert_eq!(kinds(&ImageFormat { force: true, ..zstd }), [Packing::Zstd, Packing::Zstd]);
}

#[test]
fn what_is_kept_outlives_the_lease_and_is_pushed_by_its_manifest() {
    let fixture = Fixture::new();
    let image = image(&fixture, &["a"]);
    let store = fixture.images.store();
    let lease = fixture.images.lease();
    let format = ImageFormat {
        packing: Some(Packing::Zstd),
        annotations: [("k".to_owned(), "v".to_owned())].into(),
        ..ImageFormat::default()
    };
    let exported = fixture.images.export(&image, 0, &format).unwrap();
    let index = fixture.images.export_index(vec![exported.manifest.clone()], BTreeMap::new(), true).unwrap();
    fixture.images.keep_export(&image.id, &exported, Some(&index)).unwrap();
    drop(lease);
    store.collect().unwrap();
    let manifest = manifest(&fixture, &exported);
    assert_eq!(manifest.annotations["k"], "v");
    assert!(exported.blobs.iter().chain([&index.digest]).all(|blob| store.blobs().has(blob)));
    assert_eq!(fixture.images.get(&image.id).unwrap().unwrap().manifest, Some(exported.manifest.digest));
    assert_eq!(origin::indexes_of(store, &image.id), [index.digest]);
}

#[test]
fn a_layout_has_all_that_its_index_names() {
    let fixture = Fixture::new();
    let image = image(&fixture, &["a"]);
    let _lease = fixture.images.lease();
    let exported =
        fixture.images.export(&image, 0, &ImageFormat { oci: true, ..Default::default() }).unwrap();
    let names = vec!["app:v1".parse().unwrap()];
    let root = exported.manifest.clone();
    let layout = Layout { root, names, created: Some("2023-01-01T00:00:00Z".into()), docker: false };
    let written = |layout: &Layout| {
        let mut bytes = Vec::new();
        fixture.images.write_layout(layout, &mut bytes).unwrap();
        entries(&bytes)
    };
    let files = written(&layout);
    let index: Index = serde_json::from_slice(&files["index.json"]).unwrap();
    let annotations = &index.manifests[0].annotations;
    assert_eq!(annotations["io.containerd.image.name"], "docker.io/library/app:v1");
    assert_eq!(annotations["org.opencontainers.image.created"], "2023-01-01T00:00:00Z");
    for blob in &exported.blobs {
        assert!(files.contains_key(&format!("blobs/sha256/{}", blob.hex())), "{blob}");
    }
    assert!(!files.contains_key("manifest.json") && files.contains_key("oci-layout"));
    assert!(written(&Layout { docker: true, ..layout.clone() }).contains_key("manifest.json"));
    let lost = Descriptor::of(media_type::OCI_MANIFEST, b"elsewhere");
    let error = fixture.images.write_layout(&Layout { root: lost, ..layout }, Vec::new()).unwrap_err();
    assert!(matches!(error, Error::NotFound(_)), "{error}");
}
