//! Results of builds on their way out: into the store under their names, to a registry, as an archive, as files.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dray_api::auth::AuthConfig;
use dray_build::Built;
use dray_image::Silent;
use dray_image::export::{Exported, Layout, Rootfs};
use dray_registry::Auth;
use dray_spec::{Descriptor, Digest, Platform, Reference};

use super::{Error, Output, OutputKind, Service};
use crate::image;

/// The results of a build: an image, or one for each platform.
#[derive(Debug, Clone)]
pub struct Results {
    /// With the platforms that they were asked for.
    images: Vec<(Platform, Built)>,
    /// They go out as an index, also if it is only one.
    index: bool,
}

/// What was made for an output.
#[derive(Debug, Clone)]
pub struct Export {
    /// The image that its names mean here.
    image: Digest,
    /// The manifest or index that the output is about; none where the image's ID is enough.
    root: Option<Descriptor>,
    names: Vec<Reference>,
    created: Option<String>,
    docker: bool,
    /// What clients are told of it, by BuildKit's names.
    pub told: HashMap<String, String>,
}

impl From<Built> for Results {
    fn from(built: Built) -> Self {
        Results { images: vec![(built.content.config.platform(), built)], index: false }
    }
}

impl Results {
    /// Images of several platforms.
    #[must_use]
    pub fn of_platforms(images: Vec<(Platform, Built)>) -> Self {
        Results { images, index: true }
    }

    /// The image that the names of all of them mean here: that of this machine's platform, else the first.
    #[must_use]
    pub fn main(&self) -> Option<&Built> {
        let host = Platform::host();
        let own = self.images.iter().find(|(platform, _)| host.accepts(platform));
        own.or(self.images.first()).map(|(_, built)| built)
    }

    /// Each of them changed.
    ///
    /// # Errors
    /// The first failure.
    pub(super) fn map(self, mut change: impl FnMut(Built) -> Result<Built, Error>) -> Result<Self, Error> {
        let change = |(platform, built)| Ok((platform, change(built)?));
        let images = self.images.into_iter().map(change).collect::<Result<_, Error>>()?;
        Ok(Results { images, ..self })
    }

    /// One of them with what all builds have used of the cache: they share one.
    #[must_use]
    pub fn for_cache(&self) -> Option<Built> {
        let ((_, first), others) = self.images.split_first()?;
        Some(others.iter().fold(first.clone(), |first, (_, other)| first.with_steps_of(other)))
    }

    /// All of them, with their platforms.
    pub fn each(&self) -> impl Iterator<Item = (&Platform, &Built)> {
        self.images.iter().map(|(platform, built)| (platform, built))
    }

    /// Whether they go out as an index.
    #[must_use]
    pub fn is_index(&self) -> bool {
        self.index
    }
}

impl Service {
    /// Makes what an output needs; an image for the store has its names then. Blocks.
    ///
    /// # Errors
    /// If a layer cannot be packed, or the store fails.
    pub fn export(&self, results: &Results, output: &Output) -> Result<Export, Error> {
        let main = results.main().ok_or(Error::Output("nothing was built".to_owned()))?;
        let id = main.image.to_string();
        let mut told = HashMap::from([
            ("containerimage.digest".to_owned(), id.clone()),
            ("containerimage.config.digest".to_owned(), id),
        ]);
        let names = output.names.clone();
        if !names.is_empty() {
            let all: Vec<String> = names.iter().map(ToString::to_string).collect();
            told.insert("image.name".to_owned(), all.join(","));
        }
        let archive = matches!(output.kind, OutputKind::Oci | OutputKind::Docker);
        let mut root = None;
        if archive || output.needs_manifest() || results.index {
            let (described, main_manifest) = self.describe(results, output)?;
            if output.kind == OutputKind::Image {
                let index = results.index.then_some(&described);
                let images = self.images.images();
                images.keep_export(&main.image, &main_manifest, index).map_err(image::Error::from)?;
                if results.index {
                    let all: Vec<Digest> = results.each().map(|(_, built)| built.image.clone()).collect();
                    images.set_companions(&main.image, &all).map_err(image::Error::from)?;
                }
            }
            tell_root(&described, &mut told);
            root = Some(described);
        }
        if output.kind == OutputKind::Image {
            self.name(main, &names, &|_| {})?;
        }
        let docker = output.kind == OutputKind::Docker;
        Ok(Export {
            image: main.image.clone(),
            root,
            names,
            created: main.content.config.created.clone(),
            docker,
            told,
        })
    }

    /// The manifest of a result, or the index of several with the manifest of the one that is named here.
    fn describe(&self, results: &Results, output: &Output) -> Result<(Descriptor, Exported), Error> {
        let images = self.images.images();
        let main = results.main().map(|built| built.image.clone());
        let (mut manifests, mut named, mut blobs) = (Vec::new(), None, Vec::new());
        for (platform, built) in results.each() {
            let kept = built.base.as_ref().map_or(0, |(_, layers)| *layers);
            let exported = images
                .export(&built.content, kept, &output.format_for(platform))
                .map_err(image::Error::from)?;
            manifests.push(Descriptor { platform: Some(platform.clone()), ..exported.manifest.clone() });
            blobs.extend(exported.blobs.iter().cloned());
            if named.is_none() && main.as_ref() == Some(&built.image) {
                named = Some(exported);
            }
        }
        let named = named.ok_or(Error::Output("nothing was built".to_owned()))?;
        let (annotations, entry) = output.index_annotations();
        let mut root = match results.index {
            true => images.export_index(manifests, annotations).map_err(image::Error::from)?,
            false => named.manifest.clone(),
        };
        root.annotations.extend(entry);
        // With the named image all that the index names is kept.
        Ok((root, Exported { blobs, ..named }))
    }

    /// Writes the archive of an export. Blocks.
    ///
    /// # Errors
    /// If something of it is gone, or `out` fails.
    pub fn write_archive(&self, export: &Export, out: impl Write) -> Result<(), Error> {
        let root = export.root.clone().ok_or(Error::Output("nothing was exported".to_owned()))?;
        let layout = Layout {
            root,
            names: export.names.clone(),
            created: export.created.clone(),
            docker: export.docker,
        };
        Ok(self.images.images().write_layout(&layout, out).map_err(image::Error::from)?)
    }

    /// The files of a result.
    ///
    /// # Errors
    /// If its layers cannot be put together.
    pub fn rootfs(&self, built: &Built) -> Result<Rootfs, Error> {
        Ok(self.images.images().rootfs(&built.content).map_err(image::Error::from)?)
    }

    /// Pushes an export under its names, with credentials by registry; the digest of what is in the registry then is
    /// among what is told.
    ///
    /// # Errors
    /// If a registry or the disk fails.
    pub async fn push(
        &self,
        export: &mut Export,
        credentials: &BTreeMap<String, AuthConfig>,
    ) -> Result<(), Error> {
        for name in &export.names {
            let auth = credentials.get(name.domain()).map_or(Auth::Anonymous, image::auth);
            let digest = match &export.root {
                Some(root) => {
                    let pushed = self.images.push_exported(name, &export.image, root, auth, &Silent);
                    Some(pushed.await?.to_string())
                }
                None => {
                    let tag = name.tag().unwrap_or_default();
                    let pushed = self.images.push(&name.familiar_name(), tag, "", auth, &Silent).await?;
                    pushed.first().map(|pushed| pushed.digest.clone())
                }
            };
            export.told.extend(digest.map(|digest| ("containerimage.digest".to_owned(), digest)));
        }
        Ok(())
    }
}

fn tell_root(root: &Descriptor, told: &mut HashMap<String, String>) {
    told.insert("containerimage.digest".to_owned(), root.digest.to_string());
    if let Ok(json) = serde_json::to_vec(root) {
        told.insert("containerimage.descriptor".to_owned(), STANDARD.encode(json));
    }
}
