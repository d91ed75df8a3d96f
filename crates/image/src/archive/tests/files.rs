//! Archives that are files here: several parts at once, and what others do to them meanwhile.

use std::os::unix::fs::FileExt;

use super::refused::refused_by;
use super::*;
use crate::Error;

/// Does something once, when the loading of the first layer is told to have come on.
struct OnProgress<F>(Mutex<Option<F>>);

impl<F: FnOnce() + Send> crate::Progress for OnProgress<F> {
    fn event(&self, _: ProgressEvent) {
        let first = self.0.lock().unwrap().take();
        if let Some(act) = first {
            act();
        }
    }
}

fn numbers(count: u32) -> Vec<u8> {
    (0..count).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

/// An image of three layers of several megabytes, as `save` writes it.
fn big() -> Vec<u8> {
    let fixture = Fixture::new();
    let layers: Vec<Vec<u8>> =
        (0..3).map(|n| Tar::new().file(&format!("big{n}"), &numbers(1_000_000 + n)).end()).collect();
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    load(&fixture.images, &legacy(&layers, &["big:v1"]).end());
    save(&fixture.images, &["big:v1"])
}

fn load_while(archive: &[u8], act: impl FnOnce(&File, &GivenUp) + Send) -> String {
    let (file, given_up) = (written(archive), GivenUp::default());
    let part = FilePart::of(file.try_clone().unwrap(), given_up.clone()).unwrap();
    let progress = OnProgress(Mutex::new(Some(move || act(&file, &given_up))));
    refused_by(|images| images.load_file(part, &LoadOptions::default(), &progress))
}

#[test]
fn several_layers_at_once() {
    let archive = big();
    let fixture = Fixture::new();
    load(&fixture.images, &archive);
    assert!(save(&fixture.images, &["big:v1"]) == archive);
    // What is here already is only looked at.
    load(&fixture.images, &archive);
    assert_eq!(fixture.images.store().layers().list().unwrap().len(), 3);
}

#[test]
fn an_archive_that_is_changed_while_it_is_read_is_refused() {
    let archive = big();
    // Into the last of the layers, wherever its names put it.
    let at = archive.len() as u64 - 100_000;
    let message = load_while(&archive, |file, _| file.write_all_at(b"changed", at).unwrap());
    assert!(message.contains("digest") || message.contains("wants"), "{message}");
}

#[test]
fn an_archive_that_is_cut_while_it_is_read_is_refused() {
    let archive = big();
    let message = load_while(&archive, |file, _| file.set_len(archive.len() as u64 / 2).unwrap());
    assert!(message.contains("the file has become shorter"), "{message}");
}

#[test]
fn a_load_that_was_given_up_leaves_nothing() {
    let message = load_while(&big(), |_, given_up| given_up.set());
    assert!(message.contains("it was given up"), "{message}");
}

#[test]
fn a_save_that_was_given_up_ends() {
    let fixture = Fixture::new();
    load(&fixture.images, &big());
    let given_up = GivenUp::default();
    let target = SaveTarget::of(written(b""), given_up.clone()).unwrap();
    given_up.set();
    let error = fixture.images.save_file(&["big:v1".into()], None, &target).unwrap_err();
    assert!(error.to_string().contains("it was given up"), "{error}");
}

#[test]
fn files_that_cannot_be_written_at_a_place_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    let appending = File::options().append(true).create(true).open(path).unwrap();
    assert!(SaveTarget::of(appending, GivenUp::default()).is_err());
    assert!(SaveTarget::of(File::open("/dev/null").unwrap(), GivenUp::default()).is_err());
}

#[test]
fn a_layer_that_has_changed_in_the_store_is_not_saved_into_a_file() {
    let fixture = Fixture::new();
    let image = made(&fixture, None, &["one", "two", "three"], &["app:v1"]);
    let folder = &fixture.images.store().layers().folders(image.layers[1])[0];
    for content in ["TWO", "longer than it was, and by more than what a block has of room"] {
        std::fs::write(folder.join("two"), content.repeat(100)).unwrap();
        let target = SaveTarget::of(written(b""), GivenUp::default()).unwrap();
        let error = fixture.images.save_file(&["app:v1".into()], None, &target).unwrap_err();
        let lost = matches!(&error, Error::LayerLost(_)) || error.to_string().contains("longer than it was");
        assert!(lost, "{error}");
    }
}
