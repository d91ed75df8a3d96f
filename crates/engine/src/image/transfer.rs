//! Images that come and go: pull, push, load, save, import, login.

use std::io::{Read, Write};

use dray_api::auth::{AuthConfig, AuthResponse};
use dray_api::image::{DistributionInspect, OciDescriptor, OciPlatform, PushResult};
use dray_image::pull::{PullOptions, Pulled};
use dray_image::{FilePart, Import, LoadOptions, Loaded, Progress, SaveTarget};
use dray_registry::Auth;
use dray_spec::{Descriptor, Digest, ImageConfig, ManifestOrIndex, Platform, Reference};

use super::{Error, Service, change, named};

/// What `POST /images/create` makes an image of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateSource {
    /// A registry's image, or all tags of a repository.
    Pull {
        /// What is pulled.
        reference: Reference,
        /// All tags.
        all_tags: bool,
    },
    /// A tarball of a root file system.
    Import,
}

impl CreateSource {
    /// Reads `fromImage` and `tag`, as Docker does: no tag is all tags.
    ///
    /// # Errors
    /// If the name is none.
    pub fn pull(image: &str, tag: &str) -> Result<Self, Error> {
        let reference = Reference::parse(image)?;
        if tag.is_empty() {
            let bare = reference.tag().is_none() && reference.digest().is_none();
            return Ok(CreateSource::Pull { reference, all_tags: bare });
        }
        let reference = match tag.parse::<Digest>() {
            Ok(digest) => Reference::parse(&format!("{}@{digest}", reference.name()))?,
            Err(_) => reference.with_tag(tag).map_err(|_| Error::Tag)?,
        };
        Ok(CreateSource::Pull { reference, all_tags: false })
    }
}

/// What an imported image gets beside its files.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Its name; none is nameless.
    pub repository: String,
    /// The name's tag.
    pub tag: String,
    /// Instructions of `--change`.
    pub changes: Vec<String>,
    /// Its note.
    pub message: String,
    /// Its platform; the host's if empty.
    pub platform: String,
}

/// How much of a name is pulled.
#[derive(Debug, Clone, Copy, Default)]
pub struct PullWhat<'a> {
    /// All tags of the repository.
    pub all_tags: bool,
    /// Keep the images of all platforms, and all else that an index names.
    pub all_platforms: bool,
    /// The platform asked for; the host's if empty.
    pub platform: &'a str,
    /// The name stays whose it is; the image is known by its digest there.
    pub by_digest: bool,
}

/// What was pushed, for the `aux` message.
pub type Pushing = Vec<PushResult>;

impl Service {
    /// Pulls an image, or all tags of a repository.
    ///
    /// # Errors
    /// If there is no such image for the platform, or registry, content or disk fail.
    pub async fn pull(
        &self,
        reference: &Reference,
        what: PullWhat<'_>,
        auth: Auth,
        progress: &dyn Progress,
    ) -> Result<Vec<Pulled>, Error> {
        let remote = self.remote();
        let PullWhat { all_tags, all_platforms, platform, by_digest } = what;
        let platform = parse_platform(platform)?;
        let options = PullOptions { platform, auth, all_tags, all_platforms, by_digest };
        let pulled = remote.puller.pull(reference, &options, progress).await?;
        for pulled in &pulled {
            let name = pulled.reference.familiar();
            self.announce("pull", &name, &pulled.reference.familiar_name(), None);
        }
        Ok(pulled)
    }

    /// Pushes a name, or all tags of a repository.
    ///
    /// # Errors
    /// If there is no such name here, or registry or disk fail.
    pub async fn push(
        &self,
        name: &str,
        tag: &str,
        platform: &str,
        auth: Auth,
        progress: &dyn Progress,
    ) -> Result<Pushing, Error> {
        let platform = platform_of_api(platform)?;
        let mut reference = Reference::parse(name)?;
        if !tag.is_empty() {
            reference = reference.with_tag(tag).map_err(|_| Error::Tag)?;
        }
        let remote = self.remote();
        self.say_what_was_promised(&reference).await?;
        let pushed = remote.pusher.push(&reference, platform.as_ref(), &auth, progress).await?;
        let told = pushed.into_iter().map(|pushed| {
            self.announce("push", &pushed.reference.familiar(), &pushed.reference.familiar_name(), None);
            PushResult {
                tag: pushed.reference.tag().unwrap_or_default().to_owned(),
                digest: pushed.digest.to_string(),
                size: i64::try_from(pushed.size).unwrap_or(i64::MAX),
            }
        });
        Ok(told.collect())
    }

    /// What a build was to say of its image goes along when the image leaves.
    async fn say_what_was_promised(&self, reference: &Reference) -> Result<(), Error> {
        let (images, reference) = (self.images.clone(), reference.clone());
        let work = move || {
            let of_repository = |tag: &dray_store::Tag| tag.reference.name() == reference.name();
            let meant =
                |tag: &dray_store::Tag| reference.tag().is_none() || tag.reference.tag() == reference.tag();
            for tag in images.store().tags().list().map_err(dray_image::Error::from)? {
                if tag.reference.digest().is_none()
                    && of_repository(&tag)
                    && meant(&tag)
                    && let Some(image) = images.get(&tag.image)?
                {
                    images.keep_promised(&image)?;
                }
            }
            Ok::<_, dray_image::Error>(())
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => Ok(done?),
            Err(_) => Ok(()),
        }
    }

    /// Pushes an image under a name by what was exported of it; gives the digest of what is in the registry then.
    ///
    /// # Errors
    /// If something of it is not here, or registry or disk fail.
    pub async fn push_exported(
        &self,
        name: &Reference,
        image: &Digest,
        root: &Descriptor,
        auth: Auth,
        progress: &dyn Progress,
    ) -> Result<Digest, Error> {
        let remote = self.remote();
        let pushed = remote.pusher.push_exported(name, image, root, &auth, progress).await?;
        self.announce("push", &name.familiar(), &name.familiar_name(), None);
        Ok(pushed.digest)
    }

    /// Pushes a manifest that is about no image.
    ///
    /// # Errors
    /// As [`Service::push_exported`].
    pub async fn push_content(
        &self,
        name: &Reference,
        root: &Descriptor,
        auth: Auth,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let remote = self.remote();
        remote.pusher.push_content(name, root, &auth, progress).await?;
        Ok(())
    }

    /// Loads the images of an archive. Blocks.
    ///
    /// # Errors
    /// If the archive is broken or the disk fails.
    pub fn load(
        &self,
        archive: impl Read + Send,
        platform: &str,
        progress: &dyn Progress,
    ) -> Result<Vec<Loaded>, Error> {
        let options = LoadOptions { platform: platform_of_api(platform)? };
        Ok(self.loaded(self.images.load_with(archive, &options, progress)?))
    }

    /// Loads the images of an archive that is a file here. Blocks.
    ///
    /// # Errors
    /// As [`Service::load`].
    pub fn load_file(
        &self,
        archive: FilePart,
        platform: &str,
        progress: &dyn Progress,
    ) -> Result<Vec<Loaded>, Error> {
        let options = LoadOptions { platform: platform_of_api(platform)? };
        Ok(self.loaded(self.images.load_file(archive, &options, progress)?))
    }

    fn loaded(&self, loaded: Vec<Loaded>) -> Vec<Loaded> {
        for loaded in &loaded {
            let id = loaded.id.to_string();
            self.announce("load", &id, &id, None);
        }
        loaded
    }

    /// Checks that images of these names can be saved, for a platform unless it is empty.
    ///
    /// # Errors
    /// If there is none of a name, or none for the platform.
    pub fn check_save(&self, names: &[String], platform: &str) -> Result<(), Error> {
        Ok(self.images.check_save(names, platform_of_api(platform)?.as_ref())?)
    }

    /// Saves images as one archive, for a platform unless it is empty. Blocks.
    ///
    /// # Errors
    /// If there is none of a name, or the archive cannot be written.
    pub fn save(&self, names: &[String], platform: &str, archive: impl Write) -> Result<(), Error> {
        self.images.save(names, platform_of_api(platform)?.as_ref(), archive)?;
        self.saved(names);
        Ok(())
    }

    /// Saves images as [`Service::save`] does, into a file here. Blocks.
    ///
    /// # Errors
    /// As [`Service::save`].
    pub fn save_file(&self, names: &[String], platform: &str, target: &SaveTarget) -> Result<(), Error> {
        self.images.save_file(names, platform_of_api(platform)?.as_ref(), target)?;
        self.saved(names);
        Ok(())
    }

    fn saved(&self, names: &[String]) {
        for name in names {
            if let Ok(image) = self.images.resolve(name) {
                let id = image.id.to_string();
                self.announce("save", &id, &id, image.config.labels());
            }
        }
    }

    /// Makes an image of a tarball of a root file system. Blocks.
    ///
    /// # Errors
    /// If the name or a change is none, or the tarball is broken.
    pub fn import(&self, tarball: impl Read + Send, options: ImportOptions) -> Result<Digest, Error> {
        let name = match options.repository.as_str() {
            "" => None,
            repository => Some(named(repository, &options.tag)?),
        };
        let platform = parse_platform(&options.platform)?.unwrap_or_else(Platform::host);
        let mut config = Default::default();
        change::apply(&mut config, &options.changes)?;
        let message = if options.message.is_empty() { "Imported from -".to_owned() } else { options.message };
        let image = self.images.import(tarball, Import { config, message, platform, name })?;
        let id = image.id.to_string();
        self.announce("import", &id, &id, image.config.labels());
        Ok(image.id)
    }

    /// What a registry says of a name.
    ///
    /// # Errors
    /// If the registry has none of that name, or fails.
    pub async fn distribution(&self, name: &str, auth: &Auth) -> Result<DistributionInspect, Error> {
        let reference = Reference::parse(name)?.tagged();
        let digest = reference.digest().map(ToString::to_string);
        let wanted = digest.as_deref().or(reference.tag()).unwrap_or("latest");
        let found = self.client().repository(&reference, auth)?.manifest(wanted).await?;
        let mut inspect = DistributionInspect {
            descriptor: OciDescriptor {
                media_type: found.media_type.clone(),
                digest: found.digest.to_string(),
                size: i64::try_from(found.bytes.len()).unwrap_or(i64::MAX),
                ..Default::default()
            },
            platforms: Vec::new(),
        };
        if let Ok(ManifestOrIndex::Index(index)) =
            ManifestOrIndex::parse(Some(&found.media_type), &found.bytes)
        {
            let platforms = index.manifests.iter().filter_map(|manifest| manifest.platform.as_ref());
            inspect.platforms = platforms.map(oci_platform).collect();
        }
        Ok(inspect)
    }

    /// The configuration of an image at its registry; its layers are not fetched.
    ///
    /// # Errors
    /// If the registry has none of that name and platform, or fails.
    pub async fn remote_config(
        &self,
        reference: &Reference,
        platform: &Platform,
        auth: &Auth,
    ) -> Result<ImageConfig, Error> {
        let repository = self.client().repository(reference, auth)?;
        let digest = reference.digest().map(ToString::to_string);
        let mut wanted = digest.or(reference.tag().map(str::to_owned)).unwrap_or_else(|| "latest".into());
        // An index may lead to another one, but not forever.
        for _ in 0..3 {
            let found = repository.manifest(&wanted).await?;
            match ManifestOrIndex::parse(Some(&found.media_type), &found.bytes) {
                Ok(ManifestOrIndex::Manifest(manifest)) => {
                    let bytes = repository.small_blob(&manifest.config, MAX_CONFIG).await?;
                    return serde_json::from_slice(&bytes).map_err(|_| no_such(reference));
                }
                Ok(ManifestOrIndex::Index(index)) => {
                    let fitting = index.manifests.iter().filter_map(|manifest| {
                        let distance = platform.distance(manifest.platform.as_ref()?)?;
                        Some((distance, &manifest.digest))
                    });
                    let (_, digest) =
                        fitting.min_by_key(|(distance, _)| *distance).ok_or_else(|| no_such(reference))?;
                    wanted = digest.to_string();
                }
                Err(_) => break,
            }
        }
        Err(no_such(reference))
    }

    /// Checks credentials at a registry.
    ///
    /// # Errors
    /// If the registry refuses them, or cannot be reached.
    pub async fn login(&self, credentials: &AuthConfig) -> Result<AuthResponse, Error> {
        let server = if credentials.serveraddress.is_empty() {
            "https://index.docker.io/v1/"
        } else {
            &credentials.serveraddress
        };
        let login = self.client().login(server, &auth(credentials)).await?;
        Ok(AuthResponse {
            identity_token: login.identity_token.unwrap_or_default(),
            status: "Login Succeeded".to_owned(),
        })
    }
}

/// The largest configuration that is read, as in a pull.
const MAX_CONFIG: u64 = 8 << 20;

fn no_such(reference: &Reference) -> Error {
    dray_image::Error::NotFound(reference.familiar()).into()
}

/// Credentials as the registry client takes them.
#[must_use]
pub fn auth(config: &AuthConfig) -> Auth {
    if !config.registrytoken.is_empty() {
        return Auth::RegistryToken(config.registrytoken.clone());
    }
    if !config.identitytoken.is_empty() {
        return Auth::IdentityToken { user: config.username.clone(), token: config.identitytoken.clone() };
    }
    match (config.username.is_empty(), config.password.is_empty()) {
        (true, true) => Auth::Anonymous,
        _ => Auth::Basic { user: config.username.clone(), password: config.password.clone() },
    }
}

fn oci_platform(platform: &Platform) -> OciPlatform {
    OciPlatform {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone().unwrap_or_default(),
        ..Default::default()
    }
}

/// A platform, if one is named.
///
/// # Errors
/// If it is none.
pub(crate) fn parse_platform(text: &str) -> Result<Option<Platform>, Error> {
    if text.is_empty() { Ok(None) } else { Platform::parse(text).map(Some).map_err(Error::Platform) }
}

/// A platform as newer API versions send it (OCI's JSON), or as text.
pub(super) fn platform_of_api(text: &str) -> Result<Option<Platform>, Error> {
    match serde_json::from_str::<Platform>(text) {
        Ok(platform) => Ok(Some(platform)),
        Err(_) => parse_platform(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pull(image: &str, tag: &str) -> (String, bool) {
        match CreateSource::pull(image, tag).unwrap() {
            CreateSource::Pull { reference, all_tags } => (reference.to_string(), all_tags),
            CreateSource::Import => unreachable!("pull names an image"),
        }
    }

    #[test]
    fn no_tag_is_all_tags() {
        assert_eq!(pull("busybox", "latest"), ("docker.io/library/busybox:latest".into(), false));
        assert_eq!(pull("busybox", ""), ("docker.io/library/busybox".into(), true));
        assert_eq!(pull("busybox:v1", ""), ("docker.io/library/busybox:v1".into(), false));
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(pull("x.io/y", &digest), (format!("x.io/y@{digest}"), false));
        assert!(CreateSource::pull("x", "a b").is_err());
    }
}
