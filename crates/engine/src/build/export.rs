//! Results of builds on their way out: into the store under their names, to a registry, as an archive, as files.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dray_api::auth::AuthConfig;
use dray_build::Built;
use dray_image::Silent;
use dray_image::export::{
    Exported, ExtraFile, Layout, PREDICATE_TYPE, Predicate, Rootfs, STATEMENT, image_purl,
};
use dray_registry::Auth;
use dray_spec::{Descriptor, Digest, Index, Manifest, Platform, Reference, media_type};

use super::attest::{self, Attests, Invocation, ProvenanceOptions, Statement};
use super::history::record::Role;
use super::history::{Document, Recording};
use super::{Error, Output, OutputKind, Service};
use crate::image;

/// The results of a build: an image, or one for each platform.
#[derive(Debug, Clone)]
pub struct Results {
    images: Vec<Made>,
    /// They go out as an index, also if it is only one.
    index: bool,
    /// What is to be said of how they were made.
    provenance: Option<ProvenanceOptions>,
    /// What they were asked for.
    invocation: Arc<Invocation>,
}

/// One of them.
#[derive(Debug, Clone)]
struct Made {
    /// The platform that it was asked for.
    platform: Platform,
    built: Built,
    /// What it is made of.
    parts: Vec<Statement>,
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
    /// In the registry it is known by its digest alone.
    by_digest: bool,
    /// What clients are told of it, by BuildKit's names.
    pub told: HashMap<String, String>,
}

impl From<Built> for Results {
    fn from(built: Built) -> Self {
        let platform = built.content.config.platform();
        let images = vec![Made { platform, built, parts: Vec::new() }];
        Results { images, index: false, provenance: None, invocation: Arc::default() }
    }
}

impl Results {
    /// Images of several platforms.
    #[must_use]
    pub fn of_platforms(images: Vec<(Platform, Built)>) -> Self {
        let made = |(platform, built)| Made { platform, built, parts: Vec::new() };
        let images = images.into_iter().map(made).collect();
        Results { images, index: true, provenance: None, invocation: Arc::default() }
    }

    /// The image that the names of all of them mean here: that of this machine's platform, else the first.
    #[must_use]
    pub fn main(&self) -> Option<&Built> {
        let host = Platform::host();
        let own = self.images.iter().find(|made| host.accepts(&made.platform));
        own.or(self.images.first()).map(|made| &made.built)
    }

    /// Each of them changed.
    ///
    /// # Errors
    /// The first failure.
    pub(super) fn map(self, mut change: impl FnMut(Built) -> Result<Built, Error>) -> Result<Self, Error> {
        let change = |made: Made| Ok(Made { built: change(made.built)?, ..made });
        let images = self.images.into_iter().map(change).collect::<Result<_, Error>>()?;
        Ok(Results { images, ..self })
    }

    /// One of them with what all builds have used of the cache: they share one.
    #[must_use]
    pub fn for_cache(&self) -> Option<Built> {
        let (first, others) = self.images.split_first()?;
        Some(others.iter().fold(first.built.clone(), |first, other| first.with_steps_of(&other.built)))
    }

    /// All of them, with their platforms.
    pub fn each(&self) -> impl Iterator<Item = (&Platform, &Built)> {
        self.images.iter().map(|made| (&made.platform, &made.built))
    }

    /// What is said of each of them; `layers` are the blobs of its layers, where it has some. Without `inline` only what
    /// is for files too.
    fn statements(&self, made: &Made, layers: &[Descriptor], inline: bool) -> Vec<Statement> {
        let told = attest::Told { invocation: &self.invocation, built: &made.built, layers };
        let provenance = self.provenance.as_ref().map(|options| attest::provenance(&told, options));
        // As BuildKit orders them.
        let all = made.parts.iter().cloned().chain(provenance);
        all.filter(|statement| inline || !statement.inline_only).collect()
    }

    /// Whether something is said of them in this kind of output.
    #[must_use]
    pub fn is_attested(&self, kind: OutputKind) -> bool {
        let inline = match kind {
            OutputKind::Image => true,
            OutputKind::Oci => self.index,
            _ => false,
        };
        let provenance = self.provenance.as_ref().is_some_and(|options| inline || !options.inline_only);
        provenance || self.images.iter().any(|made| !made.parts.is_empty())
    }

    /// Whether all that is said is what clients ask for by themselves: it can wait until the image leaves.
    fn may_wait(&self) -> bool {
        !self.index
            && self.provenance.as_ref().is_none_or(ProvenanceOptions::is_usual)
            && self.images.iter().all(|made| made.parts.is_empty())
    }

    /// Whether they go out as an index.
    #[must_use]
    pub fn is_index(&self) -> bool {
        self.index
    }
}

impl Results {
    /// What is kept of them in the history: how each was made, with all that is known, and the lists of its parts.
    fn recorded(&self) -> Vec<Document> {
        let builder_id = self.provenance.as_ref().map(|options| options.builder_id.clone());
        let options =
            ProvenanceOptions { builder_id: builder_id.unwrap_or_default(), ..ProvenanceOptions::default() };
        let mut documents = Vec::new();
        for made in &self.images {
            let told = attest::Told { invocation: &self.invocation, built: &made.built, layers: &[] };
            let provenance = attest::provenance(&told, &options);
            let platform = if self.index { made.platform.to_string() } else { String::new() };
            for statement in std::iter::once(&provenance).chain(&made.parts) {
                documents.extend(document(&statement.predicate, &platform));
            }
        }
        documents
    }
}

impl Service {
    /// Keeps results with the build's record: what is said of them, and the manifests that its outputs are.
    pub fn record_results(&self, recording: &Recording, results: &Results, told: &HashMap<String, String>) {
        let mut documents = results.recorded();
        let root = told.get("containerimage.descriptor").and_then(|text| STANDARD.decode(text).ok());
        let root = root.and_then(|json| serde_json::from_slice::<Descriptor>(&json).ok());
        if let Some(root) = root {
            documents.extend(self.documents_of(&root));
        }
        recording.attach(documents);
    }

    /// A manifest or an index, with the documents that it names, as far as they are there.
    fn documents_of(&self, root: &Descriptor) -> Vec<Document> {
        let blobs = self.images.images().store().blobs();
        let read = |descriptor: &Descriptor| blobs.read(&descriptor.digest).ok();
        let Some(bytes) = read(root) else { return Vec::new() };
        let mut parts: Vec<Descriptor> = Vec::new();
        let manifests = match serde_json::from_slice::<Index>(&bytes) {
            Ok(index) if media_type::is_index(&root.media_type) => index.manifests,
            _ => Vec::new(),
        };
        parts.extend(manifests.iter().filter(|entry| !entry.is_attestation()).cloned());
        let manifests = parts.iter().chain((!media_type::is_index(&root.media_type)).then_some(root));
        let configs: Vec<Descriptor> = manifests
            .filter_map(|manifest| serde_json::from_slice::<Manifest>(&read(manifest)?).ok())
            .map(|manifest| manifest.config)
            .collect();
        parts.extend(configs);
        let mut documents = vec![Document::of(Role::Result, root, bytes)];
        documents.extend(parts.iter().filter_map(|part| Some(Document::of(Role::Part, part, read(part)?))));
        documents
    }

    /// Says of results what is wanted. Blocks while their files are looked through.
    ///
    /// # Errors
    /// If a folder cannot be read.
    pub(super) fn attest(
        &self,
        mut results: Results,
        attests: Attests,
        invocation: Invocation,
    ) -> Result<Results, Error> {
        if let Some(options) = attests.sbom {
            for made in &mut results.images {
                let rootfs = self.rootfs(&made.built)?;
                let scanned = attest::Scanned {
                    image: &made.built.image,
                    platform: &made.platform,
                    created: made.built.content.config.created.as_deref(),
                };
                made.parts = attest::sboms(&rootfs, &scanned, &made.built.scanned, options)?;
            }
        }
        (results.provenance, results.invocation) = (attests.provenance, Arc::new(invocation));
        Ok(results)
    }

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
        let attested = results.is_attested(output.kind);
        let waits = attested && !archive && !output.push && !output.needs_manifest() && results.may_wait();
        if output.kind == OutputKind::Image {
            self.promise(results, waits)?;
        }
        let is_index = results.index || (attested && !waits);
        // Else a push would find what an earlier build has made of the same image.
        let anew = output.push && self.images.images().has_index(&main.image);
        let mut root = None;
        if archive || output.needs_manifest() || is_index || anew {
            let (described, main_manifest) = self.describe(results, output, is_index)?;
            if output.kind == OutputKind::Image {
                let index = is_index.then_some(&described);
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
        if output.kind == OutputKind::Image && !output.by_digest {
            self.name(main, &names, &|_| {})?;
        }
        let docker = output.kind == OutputKind::Docker;
        Ok(Export {
            image: main.image.clone(),
            root,
            names,
            created: main.content.config.created.clone(),
            docker,
            by_digest: output.by_digest,
            told,
        })
    }

    /// The manifest of a result, or the index of several with the manifest of the one that is named here.
    fn describe(
        &self,
        results: &Results,
        output: &Output,
        is_index: bool,
    ) -> Result<(Descriptor, Exported), Error> {
        if output.without_oci && results.is_attested(output.kind) {
            let text = "cannot export attestations with \"oci-mediatypes=false\"";
            return Err(Error::Output(text.to_owned()));
        }
        let images = self.images.images();
        let main = results.main().map(|built| built.image.clone());
        let (mut manifests, mut named, mut blobs) = (Vec::new(), None, Vec::new());
        let mut said = Vec::new();
        for made in &results.images {
            let Made { platform, built, .. } = made;
            let kept = built.base.as_ref().map_or(0, |(_, layers)| *layers);
            let exported = images
                .export(&built.content, kept, &output.format_of(platform, is_index))
                .map_err(image::Error::from)?;
            if is_index {
                said.extend(self.said_of(results, made, output, &exported)?);
            }
            manifests.push(Descriptor { platform: Some(platform.clone()), ..exported.manifest.clone() });
            blobs.extend(exported.blobs.iter().cloned());
            if named.is_none() && main.as_ref() == Some(&built.image) {
                named = Some(exported);
            }
        }
        let named = named.ok_or(Error::Output("nothing was built".to_owned()))?;
        let (annotations, entry) = output.index_annotations();
        for statements in said {
            manifests.push(statements.manifest);
            blobs.extend(statements.blobs);
        }
        let mut root = match is_index {
            true => images
                .export_index(manifests, annotations, !output.without_oci)
                .map_err(image::Error::from)?,
            false => named.manifest.clone(),
        };
        root.annotations.extend(entry);
        // With the named image all that the index names is kept.
        Ok((root, Exported { blobs, ..named }))
    }

    /// The manifest of what is said of a result, if something is.
    fn said_of(
        &self,
        results: &Results,
        made: &Made,
        output: &Output,
        exported: &Exported,
    ) -> Result<Option<Exported>, Error> {
        let statements = results.statements(made, &exported.layers, true);
        if statements.is_empty() {
            return Ok(None);
        }
        let predicates: Vec<Predicate> = statements.into_iter().map(|said| said.predicate).collect();
        let names: Vec<String> = output.names.iter().map(|name| image_purl(name, &made.platform)).collect();
        let images = self.images.images();
        let said = images.export_attestations(&exported.manifest, &names, &predicates, output.artifact);
        Ok(Some(said.map_err(image::Error::from)?))
    }

    /// Remembers what is to be said of the image that stays here, or that nothing is.
    fn promise(&self, results: &Results, waits: bool) -> Result<(), Error> {
        for made in &results.images {
            let statements = if waits { results.statements(made, &[], true) } else { Vec::new() };
            let predicates: Vec<Predicate> = statements.into_iter().map(|said| said.predicate).collect();
            let images = self.images.images();
            images.promise_attestations(&made.built.image, &predicates).map_err(image::Error::from)?;
        }
        Ok(())
    }

    /// What is said of a result, as files beside its own: one for each statement, about each of the files.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn statement_files(
        &self,
        results: &Results,
        built: &Built,
        rootfs: &Rootfs,
    ) -> Result<Vec<ExtraFile>, Error> {
        let Some(made) = results.images.iter().find(|made| made.built.image == built.image) else {
            return Ok(Vec::new());
        };
        let statements = results.statements(made, &[], false);
        if statements.is_empty() {
            return Ok(Vec::new());
        }
        let subjects = attest::subjects(rootfs).map_err(|error| Error::Output(error.to_string()))?;
        let file = |said: Statement| {
            let content = said.predicate.statement(&subjects).map_err(image::Error::from)?;
            Ok(ExtraFile { name: said.file, content })
        };
        statements.into_iter().map(file).collect()
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
                Some(root) if export.by_digest => {
                    let name = name.with_digest(root.digest.clone());
                    let pushed = self.images.push_exported(&name, &export.image, root, auth, &Silent);
                    Some(pushed.await?.to_string())
                }
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

/// What is said, as it is kept without what it is said of.
fn document(predicate: &Predicate, platform: &str) -> Option<Document> {
    let kind = (PREDICATE_TYPE.to_owned(), predicate.kind.clone());
    Some(Document {
        role: Role::Statement,
        platform: platform.to_owned(),
        media_type: STATEMENT.to_owned(),
        annotations: [kind].into(),
        bytes: serde_json::to_vec_pretty(&predicate.content).ok()?,
    })
}

fn tell_root(root: &Descriptor, told: &mut HashMap<String, String>) {
    told.insert("containerimage.digest".to_owned(), root.digest.to_string());
    if let Ok(json) = serde_json::to_vec(root) {
        told.insert("containerimage.descriptor".to_owned(), STANDARD.encode(json));
    }
}
