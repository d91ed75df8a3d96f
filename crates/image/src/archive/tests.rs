//! Archives written and read.

mod files;
mod lies;
mod refused;
mod stated;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::Mutex;

use dray_spec::{Descriptor, Digest, ImageConfig, Index, Manifest, RootFs, media_type};

use super::*;
use crate::images::tests::Fixture;
use crate::layer::tests::tars::Tar;
use crate::progress::{ProgressEvent, Silent};
use crate::{Image, Images, NewImage};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn config(layers: &[&[u8]]) -> Vec<u8> {
    let diff_ids = layers.iter().map(|layer| Digest::sha256_of(layer)).collect();
    let config = ImageConfig {
        os: "linux".into(),
        architecture: "amd64".into(),
        created: Some("2026-01-02T03:04:05Z".into()),
        rootfs: RootFs { diff_ids, ..RootFs::default() },
        ..ImageConfig::default()
    };
    config.to_bytes()
}

fn path(bytes: &[u8]) -> String {
    oci::path(&Digest::sha256_of(bytes))
}

/// Loads from a file; a stream must mean the same.
fn load(images: &Images, archive: &[u8]) -> Vec<Loaded> {
    let loaded = load_file(images, archive).unwrap();
    let streamed = Fixture::new();
    let again = streamed.images.load(archive, &Silent).unwrap();
    let known = |loaded: &[Loaded]| -> Vec<_> {
        loaded.iter().map(|loaded| (loaded.id.clone(), loaded.names.clone())).collect()
    };
    assert_eq!(known(&loaded), known(&again));
    let ids: Vec<String> = loaded.iter().map(|loaded| loaded.id.to_string()).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    assert!(save(images, &ids) == save(&streamed.images, &ids));
    loaded
}

fn load_file(images: &Images, archive: &[u8]) -> Result<Vec<Loaded>, crate::Error> {
    let part = FilePart::of(written(archive), GivenUp::default()).unwrap();
    images.load_file(part, &LoadOptions::default(), &Silent)
}

/// A file with these bytes, to be read from its beginning.
fn written(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

/// Saves into a stream; into a file it must be the same.
fn save(images: &Images, names: &[&str]) -> Vec<u8> {
    let mut archive = Vec::new();
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    images.save(&names, None, &mut archive).unwrap();
    let mut file = written(b"before");
    file.seek(SeekFrom::End(0)).unwrap();
    let target = SaveTarget::of(file.try_clone().unwrap(), GivenUp::default()).unwrap();
    images.save_file(&names, None, &target).unwrap();
    // What comes next goes behind it.
    file.write_all(b"after").unwrap();
    let mut whole = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut whole).unwrap();
    assert!(whole == [b"before", &archive[..], b"after"].concat());
    archive
}

fn entries(archive: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap();
    entries.map(|entry| entry.unwrap().path().unwrap().to_string_lossy().into_owned()).collect()
}

fn file(archive: &[u8], name: &str) -> Vec<u8> {
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.path().unwrap().to_string_lossy() == name {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
            return bytes;
        }
    }
    panic!("no {name} in the archive")
}

/// An image made here, with its layers' real diff IDs.
fn made(fixture: &Fixture, parent: Option<&Image>, files: &[&str], names: &[&str]) -> Image {
    let store = fixture.images.store();
    let mut config = parent.map_or_else(
        || ImageConfig {
            os: "linux".into(),
            created: Some("2026-01-01T00:00:00Z".into()),
            ..Default::default()
        },
        |parent| parent.config.clone(),
    );
    let mut layers = parent.map_or_else(Vec::new, |parent| parent.layers.clone());
    for content in files {
        let draft = store.layers().begin().unwrap();
        std::fs::write(draft.path().join(content), content).unwrap();
        let packed = crate::layer::DiffId::of(draft.path()).unwrap();
        layers.push(draft.commit(&packed.diff_id, packed.size).unwrap());
        config.rootfs.diff_ids.push(packed.diff_id);
    }
    let names = names.iter().map(|name| name.parse().unwrap()).collect();
    let parent = parent.map(|parent| parent.id.clone());
    fixture
        .images
        .create(NewImage { config: config.to_bytes(), layers, parent, names, ..NewImage::default() })
        .unwrap()
}

/// A Docker archive as it was before 25: `<id>/layer.tar`, the second a link to the first if they are the same.
fn legacy(layers: &[&[u8]], tags: &[&str]) -> Tar {
    let config = config(layers);
    let config_name = format!("{}.json", Digest::sha256_of(&config).hex());
    let mut tar = Tar::new().file(&config_name, &config);
    let mut names: Vec<String> = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        let folder = format!("layer{index}");
        tar = tar.folder(&format!("{folder}/")).file(&format!("{folder}/VERSION"), b"1.0");
        let name = format!("{folder}/layer.tar");
        tar = match layers[..index].iter().position(|known| known == layer) {
            Some(first) => tar.link(b'2', &name, &format!("../layer{first}/layer.tar")),
            None => tar.file(&name, layer),
        };
        names.push(name);
    }
    let item = ManifestItem {
        config: config_name,
        repo_tags: Some(tags.iter().map(ToString::to_string).collect()),
        layers: Some(names),
        parent: None,
        layer_sources: BTreeMap::new(),
    };
    tar.file("manifest.json", &serde_json::to_vec(&[item]).unwrap()).file("repositories", b"{}")
}

#[test]
fn what_is_saved_is_loaded_and_saved_the_same() {
    let one = Fixture::new();
    let base = made(&one, None, &["base"], &["base:v1"]);
    made(&one, Some(&base), &["a"], &["app", "app:v2", "localhost:5000/team/app:v1"]);
    let archive = save(&one.images, &["base:v1", "app:latest", "app:v2", "localhost:5000/team/app"]);
    assert_eq!(save(&one.images, &["base:v1", "app:latest", "app:v2", "localhost:5000/team/app"]), archive);

    let two = Fixture::new();
    let loaded = load(&two.images, &archive);
    let shown = |loaded: &Loaded| loaded.names.iter().map(Reference::familiar).collect::<Vec<_>>();
    assert_eq!(shown(&loaded[0]), ["base:v1"]);
    assert_eq!(shown(&loaded[1]), ["app:latest", "app:v2", "localhost:5000/team/app:v1"]);
    for loaded in &loaded {
        let (there, here) = (one.images.get(&loaded.id).unwrap(), two.images.get(&loaded.id).unwrap());
        let (there, here) = (there.unwrap(), here.unwrap());
        assert_eq!(
            (here.config_bytes, here.size, here.parent),
            (there.config_bytes, there.size, there.parent)
        );
    }
    assert_eq!(two.images.store().layers().list().unwrap().len(), 2);
    let again = save(&two.images, &["base:v1", "app:latest", "app:v2", "localhost:5000/team/app"]);
    assert_eq!(entries(&again), entries(&archive));
    assert_eq!(again, archive);
}

#[test]
fn an_archive_has_both_shapes() {
    let fixture = Fixture::new();
    let base = made(&fixture, None, &["base"], &["base:v1"]);
    let app = made(&fixture, Some(&base), &["a"], &["app:v2"]);
    let archive = save(&fixture.images, &["base:v1", "app:v2", base.id.short()]);
    let blobs: Vec<_> =
        entries(&archive).into_iter().filter(|name| name.starts_with("blobs/sha256/")).collect();
    // The folder, two configurations, two manifests, two layers.
    assert_eq!(blobs.len(), 7, "{blobs:?}");
    let items: Vec<ManifestItem> = serde_json::from_slice(&file(&archive, "manifest.json")).unwrap();
    assert_eq!(items.len(), 2);
    assert_eq!(items[0].repo_tags.as_ref().unwrap(), &["base:v1"]);
    assert_eq!(items[1].parent.as_deref(), Some(base.id.as_str()));
    assert_eq!(items[1].layers.as_ref().unwrap().len(), 2);
    let index: Index = serde_json::from_slice(&file(&archive, "index.json")).unwrap();
    let name = &index.manifests[1].annotations;
    assert_eq!(name[IMAGE_NAME], "docker.io/library/app:v2");
    assert_eq!(name[REF_NAME], "v2");
    let manifest: Manifest =
        serde_json::from_slice(&file(&archive, &oci::path(&index.manifests[1].digest))).unwrap();
    assert_eq!(manifest.config.digest, app.id);
    assert_eq!(file(&archive, "oci-layout"), br#"{"imageLayoutVersion": "1.0.0"}"#);
    let top = app.config.rootfs.diff_ids[1].hex();
    let repositories = String::from_utf8(file(&archive, "repositories")).unwrap();
    assert!(repositories.contains(&format!(r#""app":{{"v2":"{top}"}}"#)), "{repositories}");
}

#[test]
fn what_is_asked_for_by_repository_or_id() {
    let fixture = Fixture::new();
    let one = made(&fixture, None, &["1"], &["app:v1"]);
    made(&fixture, None, &["2"], &["app:v2"]);
    let tags = |names: &[&str]| {
        let items: Vec<ManifestItem> =
            serde_json::from_slice(&file(&save(&fixture.images, names), "manifest.json")).unwrap();
        items.into_iter().map(|item| item.repo_tags).collect::<Vec<_>>()
    };
    assert_eq!(tags(&["app"]), [Some(vec!["app:v1".into()]), Some(vec!["app:v2".into()])]);
    assert_eq!(tags(&[one.id.short()]), [None]);
    assert_eq!(tags(&[one.id.as_str(), "app:v1"]), [Some(vec!["app:v1".into()])]);
    let mut out = Vec::new();
    let error = fixture.images.save(&["app:v1".into(), "nope".into()], None, &mut out).unwrap_err();
    assert_eq!(error.to_string(), "No such image: nope:latest");
    assert!(out.is_empty(), "nothing is written before all is known");
    let loaded = load(&Fixture::new().images, &save(&fixture.images, &[one.id.short()]));
    assert_eq!((loaded.len(), loaded[0].names.len()), (1, 0));
}

#[test]
fn old_dockers_archives_of_every_compression() {
    let layer = Tar::new().file("b", b"second").file("a", b"first").end();
    let squeezed = gzip(&layer);
    let archive = legacy(&[&layer, &layer], &["old:v1"]).end();
    for archive in [archive.clone(), gzip(&archive), zstd::encode_all(&archive[..], 1).unwrap()] {
        let fixture = Fixture::new();
        let loaded = load(&fixture.images, &archive);
        let image = fixture.images.resolve("old:v1").unwrap();
        assert_eq!(loaded[0].id, image.id);
        assert_eq!(image.layers.len(), 2);
        assert_eq!(fixture.images.store().layers().list().unwrap().len(), 1);
        // The foreign tar comes out as it went in.
        let saved = save(&fixture.images, &["old:v1"]);
        assert_eq!(file(&saved, &path(&layer)), layer);
    }
    // A layer that is compressed within the archive.
    let item = r#"[{"Config":"c.json","RepoTags":null,"Layers":["l.tar.gz"]}]"#;
    let archive = Tar::new()
        .file("./c.json", &config(&[&layer]))
        .file("./l.tar.gz", &squeezed)
        .file("./manifest.json", item.as_bytes())
        .end();
    let fixture = Fixture::new();
    let loaded = load(&fixture.images, &archive);
    assert_eq!(loaded[0].id, Digest::sha256_of(&config(&[&layer])));
}

#[test]
fn a_layer_whose_tar_cannot_be_made_again_is_kept() {
    let layer = Tar::new().file("a", b"first").file("a", b"second").end();
    let fixture = Fixture::new();
    load(&fixture.images, &legacy(&[&layer], &["twice:v1"]).end());
    let saved = save(&fixture.images, &["twice:v1"]);
    assert_eq!(file(&saved, &path(&layer)), layer);
    let other = Fixture::new();
    load(&other.images, &saved);
    assert_eq!(save(&other.images, &["twice:v1"]), saved);
}

#[test]
fn a_name_moves_to_the_loaded_image() {
    let fixture = Fixture::new();
    let before = made(&fixture, None, &["x"], &["app:v1"]);
    let layer = Tar::new().file("a", b"1").end();
    let loaded = load(&fixture.images, &legacy(&[&layer], &["app:v1"]).end());
    assert_eq!(loaded[0].replaced, [("app:v1".parse().unwrap(), before.id.clone())]);
    assert!(fixture.images.get(&before.id).unwrap().unwrap().tags.is_empty());
    let loaded = load(&fixture.images, &legacy(&[&layer], &["app:v1"]).end());
    assert!(loaded[0].replaced.is_empty());
}

/// An OCI layout of one image with compressed layers, and its manifest's descriptor.
fn layout(layers: &[&[u8]]) -> (Tar, Descriptor) {
    let config = config(layers);
    let mut tar = Tar::new().file(&path(&config), &config);
    let mut descriptors = Vec::new();
    for layer in layers {
        let squeezed = gzip(layer);
        tar = tar.file(&path(&squeezed), &squeezed);
        descriptors.push(Descriptor::of(media_type::OCI_LAYER_GZIP, &squeezed));
    }
    let manifest = Manifest::oci(Descriptor::of(media_type::OCI_CONFIG, &config), descriptors);
    // Not the way we would write it.
    let bytes = serde_json::to_vec_pretty(&manifest).unwrap();
    let descriptor = Descriptor::of(media_type::OCI_MANIFEST, &bytes);
    (tar.file(&path(&bytes), &bytes), descriptor)
}

fn with_index(tar: Tar, manifests: Vec<Descriptor>) -> Vec<u8> {
    let index = serde_json::to_vec(&Index::oci(manifests)).unwrap();
    tar.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#).file("index.json", &index).end()
}

fn called(mut descriptor: Descriptor, key: &str, name: &str) -> Descriptor {
    descriptor.annotations.insert(key.into(), name.into());
    descriptor
}

#[test]
fn an_oci_layout_keeps_its_digests() {
    let layer = Tar::new().file("z", b"1").file("a", b"2").end();
    let (tar, manifest) = layout(&[&layer]);
    let names = vec![
        called(manifest.clone(), IMAGE_NAME, "docker.io/library/app:v1"),
        called(manifest.clone(), REF_NAME, "example.com/app:v2"),
        called(manifest.clone(), REF_NAME, "latest"),
    ];
    let fixture = Fixture::new();
    let loaded = load(&fixture.images, &with_index(tar, names));
    assert_eq!(loaded.len(), 1);
    let shown: Vec<_> = loaded[0].names.iter().map(Reference::familiar).collect();
    assert_eq!(shown, ["app:v1", "example.com/app:v2"]);
    let image = fixture.images.get(&loaded[0].id).unwrap().unwrap();
    assert_eq!(image.manifest.as_ref(), Some(&manifest.digest));
    let saved = save(&fixture.images, &["app:v1"]);
    let index: Index = serde_json::from_slice(&file(&saved, "index.json")).unwrap();
    assert_eq!(index.manifests[0].digest, manifest.digest);
    assert_eq!(file(&saved, &path(&gzip(&layer))), gzip(&layer));
    // Through Docker's part of the archive the manifest is kept too.
    let other = Fixture::new();
    load(&other.images, &saved);
    assert_eq!(other.images.resolve("app:v1").unwrap().manifest, Some(manifest.digest));
    assert_eq!(save(&other.images, &["app:v1"]), saved);
}

#[test]
fn of_an_index_within_the_image_for_this_platform_is_loaded() {
    let layers = [Tar::new().file("a", b"amd").end(), Tar::new().file("a", b"arm").end()];
    let (one, amd) = layout(&[&layers[0]]);
    let (two, arm) = layout(&[&layers[1]]);
    let on = |platform: &str, descriptor: &Descriptor| Descriptor {
        platform: Some(platform.parse().unwrap()),
        ..descriptor.clone()
    };
    let mut attestation = called(arm.clone(), "vnd.docker.reference.type", "attestation-manifest");
    attestation.platform = Some(Platform::host());
    let absent = Descriptor { digest: Digest::sha256_of(b"absent"), ..on("linux/386", &amd) };
    let manifests = vec![attestation, absent, on("linux/amd64", &amd), on("linux/arm64", &arm)];
    let nested = serde_json::to_vec(&Index::oci(manifests)).unwrap();
    let mut tar = one;
    tar.0.extend(two.0);
    let tar = tar.file(&path(&nested), &nested);
    let outer =
        called(Descriptor::of(media_type::OCI_INDEX, &nested), IMAGE_NAME, "docker.io/library/multi:v1");
    let archive = with_index(tar, vec![outer]);
    for (platform, layer) in [("linux/amd64", &layers[0]), ("linux/arm64", &layers[1])] {
        let fixture = Fixture::new();
        let options = LoadOptions { platform: Some(platform.parse().unwrap()) };
        let loaded = fixture.images.load_with(&archive[..], &options, &Silent);
        // The configurations in this test say amd64.
        if platform == "linux/amd64" {
            let image = fixture.images.get(&loaded.unwrap()[0].id).unwrap().unwrap();
            assert_eq!(image.config.rootfs.diff_ids, [Digest::sha256_of(layer)]);
            assert_eq!(image.tags[0].familiar(), "multi:v1");
        } else {
            let error = loaded.unwrap_err();
            assert_eq!(error.to_string(), "the archive: no image for the platform linux/arm64");
            assert_eq!(error.kind(), crate::ErrorKind::NotFound);
            assert!(fixture.images.store().layers().list().unwrap().is_empty());
        }
    }
}

#[test]
fn a_hard_link_to_a_lower_layer() {
    let lower = Tar::new().folder("bin").file("bin/tool", b"tool").end();
    let upper = Tar::new().link(b'1', "alias", "bin/tool").end();
    let fixture = Fixture::new();
    load(&fixture.images, &legacy(&[&lower, &upper], &["linked:v1"]).end());
    let image = fixture.images.resolve("linked:v1").unwrap();
    let folder = fixture.images.store().layers().folders(image.layers[1]).remove(0);
    assert_eq!(std::fs::read(folder.join("alias")).unwrap(), b"tool");
    assert_eq!(file(&save(&fixture.images, &["linked:v1"]), &path(&upper)), upper);
}

#[test]
fn layers_show_their_progress() {
    let layer = Tar::new().file("big", &vec![7; 2_000_000]).end();
    // A layer's row is its diff ID; before it is known, as from older archives, there is none to move.
    let old = (legacy(&[&layer], &["big:v1"]).end(), 0);
    for (archive, at_least) in [old, (lies::lying(&layer, false, |_, _| {}), 2)] {
        let events: Mutex<Vec<ProgressEvent>> = Mutex::default();
        let listen = |event: ProgressEvent| events.lock().unwrap().push(event);
        let fixture = Fixture::new();
        fixture.images.load(&archive[..], &listen).unwrap();
        let events = events.into_inner().unwrap();
        assert!(events.len() > at_least);
        let last = events.last().unwrap();
        assert_eq!(
            (last.id.as_str(), last.status.as_str()),
            (Digest::sha256_of(&layer).short(), "Loading layer")
        );
        assert_eq!((last.current, last.total), (Some(layer.len() as u64), Some(layer.len() as u64)));
    }
}
