//! Images found by name and ID; the fixtures the crate's other tests use.

use dray_spec::RootFs;

use super::*;
use crate::ErrorKind;

/// A store of its own with what is needed to put images into it.
pub(crate) struct Fixture {
    pub(crate) images: Images,
    /// Goes after the store, which may still be writing.
    pub(crate) dir: tempfile::TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let images = Images::new(Store::open(dir.path()).unwrap());
        Self { dir, images }
    }

    /// A layer with one file of this content.
    pub(crate) fn layer(&self, content: &str) -> LayerId {
        let draft = self.images.store().layers().begin().unwrap();
        std::fs::write(draft.path().join("file"), content).unwrap();
        draft.commit(&diff_id(content), content.len() as u64).unwrap()
    }

    /// An image of such layers, made at this second of the minute.
    pub(crate) fn image(&self, second: u32, contents: &[&str], names: &[&str]) -> Image {
        self.child(None, second, contents, names)
    }

    /// An image upon another.
    pub(crate) fn child(
        &self,
        parent: Option<&Image>,
        second: u32,
        contents: &[&str],
        names: &[&str],
    ) -> Image {
        let config = ImageConfig {
            os: "linux".into(),
            architecture: "amd64".into(),
            created: Some(format!("2026-01-01T00:00:{second:02}Z")),
            rootfs: RootFs {
                diff_ids: contents.iter().map(|content| diff_id(content)).collect(),
                ..RootFs::default()
            },
            ..ImageConfig::default()
        };
        self.images
            .create(NewImage {
                config: config.to_bytes(),
                layers: contents.iter().map(|content| self.layer(content)).collect(),
                parent: parent.map(|parent| parent.id.clone()),
                names: names.iter().map(|name| name.parse().unwrap()).collect(),
                ..NewImage::default()
            })
            .unwrap()
    }
}

pub(crate) fn diff_id(content: &str) -> Digest {
    Digest::sha256_of(content.as_bytes())
}

fn message(result: Result<Image>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn by_name_tag_digest_and_id() {
    let fixture = Fixture::new();
    let image = fixture.image(1, &["a"], &["app", "app:v1", "localhost:5000/app:v1"]);
    let manifest = diff_id("manifest");
    let tags = fixture.images.store().tags();
    tags.set(&"app".parse().unwrap(), &image.id, Some(&manifest)).unwrap();
    let image = fixture.images.get(&image.id).unwrap().unwrap();
    let hex = image.id.hex();
    for name in [
        "app",
        "app:latest",
        "app:v1",
        "docker.io/library/app:v1",
        "localhost:5000/app:v1",
        &format!("app@{manifest}"),
        hex,
        image.id.as_str(),
        &hex[..12],
        &hex[..1],
        &format!("sha256:{}", &hex[..7]),
    ] {
        assert_eq!(fixture.images.resolve(name).unwrap(), image, "{name}");
    }
    assert_eq!(image.tags.len(), 3);
    assert_eq!(image.repo_digests[0].familiar(), format!("app@{manifest}"));
}

#[test]
fn a_name_goes_before_an_id() {
    let fixture = Fixture::new();
    let first = fixture.image(1, &["a"], &[]);
    let second = fixture.image(2, &["b"], &[&first.id.hex()[..6]]);
    assert_eq!(fixture.images.resolve(&first.id.hex()[..6]).unwrap().id, second.id);
    assert_eq!(fixture.images.resolve(&first.id.hex()[..7]).unwrap().id, first.id);
}

#[test]
fn what_is_not_there_is_said_in_dockers_words() {
    let fixture = Fixture::new();
    for second in 0..40 {
        fixture.image(second, &[], &[]);
    }
    let images = &fixture.images;
    let missing = "0".repeat(64);
    assert_eq!(message(images.resolve("nope")), "No such image: nope:latest");
    assert_eq!(message(images.resolve("x.io/a/b:c")), "No such image: x.io/a/b:c");
    assert_eq!(message(images.resolve(&missing)), format!("No such image: {missing}"));
    assert_eq!(images.resolve("nope").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(
        message(images.resolve("Nope")),
        "invalid reference format: repository name (library/Nope) must be lowercase"
    );
    assert_eq!(message(images.resolve("")), "invalid reference format");
    // Forty IDs share sixteen first digits.
    let ambiguous = images.list().unwrap().iter().find_map(|image| {
        let prefix = &image.id.hex()[..1];
        images.resolve(prefix).is_err().then(|| prefix.to_string())
    });
    let prefix = ambiguous.unwrap();
    let error = images.resolve(&prefix).unwrap_err();
    assert_eq!(error.to_string(), format!("multiple IDs found with provided prefix: {prefix}"));
    assert_eq!(error.kind(), ErrorKind::InvalidParameter);
}

#[test]
fn tags_move_and_go() {
    let fixture = Fixture::new();
    let old = fixture.image(1, &["a"], &["app"]);
    let new = fixture.image(2, &["b"], &[]);
    let name: Reference = "app".parse().unwrap();
    assert_eq!(fixture.images.tag(&new, &name).unwrap(), Some(old.id.clone()));
    assert_eq!(fixture.images.resolve("app").unwrap().id, new.id);
    assert!(fixture.images.get(&old.id).unwrap().unwrap().tags.is_empty());
    assert!(fixture.images.untag(&name).unwrap());
    assert!(!fixture.images.untag(&name).unwrap());
    let pinned = name.with_digest(diff_id("x"));
    assert!(matches!(fixture.images.tag(&new, &pinned), Err(Error::TagWithDigest)));
    fixture.images.remove(new.id.hex(), true, true, &|_| Vec::new()).unwrap();
    let error = fixture.images.tag(&new, &name).unwrap_err();
    assert_eq!(error.to_string(), format!("No such image: {}", new.id));
}

#[test]
fn newest_first_with_sizes() {
    let fixture = Fixture::new();
    let old = fixture.image(1, &["base", "a"], &["old"]);
    let new = fixture.image(2, &["base", "bb"], &["new"]);
    let list = fixture.images.list().unwrap();
    assert_eq!(list.iter().map(|image| &image.id).collect::<Vec<_>>(), [&new.id, &old.id]);
    assert_eq!(list.iter().map(|image| image.size).collect::<Vec<_>>(), [6, 5]);
    assert_eq!(fixture.images.shared_sizes(&list).unwrap(), [4, 4]);
    assert_eq!(fixture.images.layers_size().unwrap(), 7);
}

#[test]
fn configuration_and_layers_must_agree() {
    let fixture = Fixture::new();
    let layer = fixture.layer("a");
    let config = ImageConfig::default();
    let error = fixture.images.create_from(&config, vec![layer]).unwrap_err();
    assert!(matches!(error, Error::LayerCount { expected: 0, actual: 1, .. }), "{error}");
    let broken = NewImage { config: b"nonsense".to_vec(), ..NewImage::default() };
    let error = fixture.images.create(broken).unwrap_err().to_string();
    assert!(error.contains("invalid configuration: expected"), "{error}");
}
