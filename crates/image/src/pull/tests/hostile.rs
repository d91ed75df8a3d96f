//! Registries and images that lie, as far as a pull sees them: each lie is named, and nothing of it stays.

use super::*;

/// An image of one layer with this content, packed as gzip whatever the manifest calls it.
fn of_tar(tar: &[u8]) -> Sample {
    Sample::packed(&[tar.to_vec()], vec![(media_type::OCI_LAYER_GZIP, gzip(tar))])
}

/// A tar of one entry that `tar` itself would not write.
fn entry(kind: tar::EntryType, path: &str, link: &str) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(0);
    header.set_mode(0o644);
    header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
    header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_cksum();
    let mut tar = header.as_bytes().to_vec();
    tar.extend([0; 1024]);
    tar
}

#[tokio::test]
async fn layers_that_lead_out_of_themselves() {
    let (fixture, machine) = (Fixture::start().await, Machine::new());
    let outside = machine.folder.path().join("outside");
    std::fs::write(&outside, "untouched").unwrap();
    for (tag, kind, path, link) in [
        ("up", tar::EntryType::Regular, "../../../outside", ""),
        ("link", tar::EntryType::Link, "inside", "../../../outside"),
        ("absolute", tar::EntryType::Link, "inside", outside.to_str().unwrap()),
    ] {
        of_tar(&entry(kind, path, link)).put(&fixture, "x", Some(tag));
        let error = machine.pull(&format!("{}/x:{tag}", fixture.host())).await.unwrap_err().to_string();
        assert!(error.starts_with("failed to register layer: sha256:"), "{tag}: {error}");
        assert!(error.contains(path) || error.contains(link), "{tag}: {error}");
        assert_eq!(std::fs::read(&outside).unwrap(), b"untouched");
        machine.assert_empty(0).await;
    }
}

#[tokio::test]
async fn a_bomb_is_stopped_by_the_room_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(folder.path());
    let machine = Machine::on(tempfile::tempdir_in(&disk.0).unwrap());
    let fixture = Fixture::start().await;
    let bomb = of_tar(&tar_of(&[("zeros", &vec![0; 24 << 20])]));
    assert!(bomb.layers[0].len() < 400_000);
    bomb.put(&fixture, "x", Some("latest"));
    let error = machine.pull(&format!("{}/x", fixture.host())).await.unwrap_err().to_string();
    assert!(error.contains("there is room for") || error.contains("No space left"), "{error}");
    machine.assert_empty(0).await;
    drop(machine);
}

#[tokio::test]
async fn more_layers_than_can_be_mounted() {
    let (fixture, machine, sample) = (Fixture::start().await, Machine::new(), small());
    let mut many = Sample { layers: sample.layers, ..small() };
    let layer = |n: u32| Descriptor {
        digest: Digest::sha256_of(&n.to_be_bytes()),
        ..sample.manifest.layers[0].clone()
    };
    many.manifest.layers = (0..10_000).map(layer).collect();
    let diff_ids: Vec<String> = many.manifest.layers.iter().map(|l| l.digest.to_string()).collect();
    let config = serde_json::json!({
        "architecture": Platform::host().architecture, "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    many.config = serde_json::to_vec(&config).unwrap();
    many.manifest.config = Descriptor::of(media_type::OCI_CONFIG, &many.config);
    many.put(&fixture, "x", Some("latest"));
    let name = format!("{}/x", fixture.host());
    let error = machine.pull(&name).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{name}:latest has 10000 layers; 490 can be mounted upon each other")
    );
    assert_eq!(fixture.count("GET", "/blobs/"), 1, "the configuration alone");
    machine.assert_empty(0).await;
}

#[tokio::test]
async fn media_types_are_what_the_content_says() {
    let (fixture, machine) = (Fixture::start().await, Machine::new());
    let tar = tar_of(&[("a", b"one")]);
    // Layers are told by their first bytes: a gzip that is called zstd is a gzip.
    for (tag, called) in [("zstd", media_type::OCI_LAYER_ZSTD), ("plain", media_type::OCI_LAYER)] {
        let sample = Sample::packed(std::slice::from_ref(&tar), vec![(called, gzip(&tar))]);
        sample.put(&fixture, "x", Some(tag));
        let (pulled, _) = machine.pull(&format!("{}/x:{tag}", fixture.host())).await.unwrap();
        assert_eq!(machine.content(&pulled, 0, "a"), b"one");
    }
    // Documents are told by themselves, not by the answer's Content-Type.
    let sample = small();
    sample.put(&fixture, "y", Some("latest"));
    for kind in [media_type::OCI_INDEX, "text/html", ""] {
        fixture.heal();
        fixture.fault(Fault::on("/manifests/", What::ContentType(kind.into())));
        machine.pull(&format!("{}/y", fixture.host())).await.unwrap();
    }
    fixture.heal();
    let mut both = serde_json::to_value(&sample.manifest).unwrap();
    both["manifests"] = serde_json::json!([]);
    fixture.put_manifest("y", Some("both"), media_type::OCI_INDEX, both.to_string().as_bytes());
    let error = machine.pull(&format!("{}/y:both", fixture.host())).await.unwrap_err().to_string();
    assert!(error.contains("both \"manifests\" and \"config\" or \"layers\" are present"), "{error}");
}

#[tokio::test]
async fn a_file_of_more_than_four_gigabytes_and_names_that_are_no_text() {
    let (fixture, machine) = (Fixture::start().await, Machine::new());
    let size = (4u64 << 30) + 4096;
    // GNU's sparse format 1.0: a map of one piece at the end, then the piece.
    let mut data = format!("1\n{}\n4096\n", size - 4096).into_bytes();
    data.resize(512, 0);
    data.extend([7; 4096]);
    let mut builder = tar::Builder::new(Vec::new());
    let pax = [
        ("GNU.sparse.major", b"1".to_vec()),
        ("GNU.sparse.minor", b"0".to_vec()),
        ("GNU.sparse.name", b"large".to_vec()),
        ("GNU.sparse.realsize", size.to_string().into_bytes()),
    ];
    builder.append_pax_extensions(pax.iter().map(|(key, value)| (*key, value.as_slice()))).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_size(data.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, "large", data.as_slice()).unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o600);
    header.as_gnu_mut().unwrap().name[..3].copy_from_slice(b"\xff\xfe\x01");
    header.set_cksum();
    builder.append(&header, b"x".as_slice()).unwrap();
    of_tar(&builder.into_inner().unwrap()).put(&fixture, "x", Some("latest"));
    let (pulled, _) = machine.pull(&format!("{}/x", fixture.host())).await.unwrap();
    let image = machine.store.images().get(&pulled.image).unwrap().unwrap();
    let folder = machine.store.layers().folders(image.layers[0]).remove(0);
    let metadata = std::fs::metadata(folder.join("large")).unwrap();
    assert_eq!(metadata.len(), size);
    let odd: std::path::PathBuf =
        folder.join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff\xfe\x01"));
    assert_eq!(std::fs::read(odd).unwrap(), b"x");
}

/// An image whose manifest names the layer packed from `content` beside the diff ID of `promised`.
fn promising(promised: &[(&str, &[u8])], content: &[(&str, &[u8])]) -> Sample {
    let packed = vec![(media_type::OCI_LAYER_GZIP, gzip(&tar_of(content)))];
    Sample::packed(&[tar_of(promised)], packed)
}

#[tokio::test]
async fn another_image_s_blob_survives_a_manifest_that_lies_about_it() {
    let (fixture, machine, sample) = (Fixture::start().await, Machine::new(), small());
    sample.put(&fixture, "x", Some("latest"));
    machine.pull(&format!("{}/x", fixture.host())).await.unwrap();
    promising(&[("c", b"else")], &[("a", b"one")]).put(&fixture, "liar", Some("latest"));
    let error = machine.pull(&format!("{}/liar", fixture.host())).await.unwrap_err().to_string();
    assert!(error.contains("configuration says diff ID"), "{error}");
    assert!(machine.store.blobs().has(&sample.manifest.layers[0].digest));
    // What has changed on the disk is of no use to anybody and is fetched anew.
    let path = machine.store.blobs().path(&sample.manifest.layers[0].digest);
    std::fs::write(&path, b"changed").unwrap();
    assert!(machine.pull(&format!("{}/liar", fixture.host())).await.is_err());
    assert!(!machine.store.blobs().has(&sample.manifest.layers[0].digest));
}

#[tokio::test]
async fn a_manifest_does_not_say_which_blob_another_image_s_layer_is() {
    let (fixture, machine, sample) = (Fixture::start().await, Machine::new(), small());
    sample.put(&fixture, "x", Some("latest"));
    Sample::new(&[&[("c", b"else")]]).put(&fixture, "y", Some("latest"));
    for name in ["x", "y"] {
        machine.pull(&format!("{}/{name}", fixture.host())).await.unwrap();
    }
    promising(&[("a", b"one")], &[("c", b"else")]).put(&fixture, "liar", Some("latest"));
    // Its layer is here already, by the diff ID; its blob too, which is another layer's.
    machine.pull(&format!("{}/liar", fixture.host())).await.unwrap();
    let diff_id = Digest::sha256_of(&tar_of(&[("a", b"one")]));
    let known = crate::origin::blob_of(&machine.store, &diff_id).unwrap();
    assert_eq!(known.digest, sample.manifest.layers[0].digest);
}
