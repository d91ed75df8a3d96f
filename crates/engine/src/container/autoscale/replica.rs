//! One more container of a service: like one that is there, with a name and number of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dray_api::container::{ContainerConfig, ContainerCreateRequest, NetworkingConfig};
use dray_api::network::EndpointSettings;

use super::super::Error;
use super::super::archive::UnpackOptions;
use super::super::record::Record;
use super::super::service::Service;

/// The number of a container in its service.
pub const NUMBER: &str = "com.docker.compose.container-number";
/// Files that were put into the container before it started, as a JSON list of paths.
const FILES: &str = "dev.dray.files";

/// The number of a container, 0 if it has none.
pub fn number(record: &Record) -> u32 {
    let labels = record.config.labels.as_ref();
    labels.and_then(|labels| labels.get(NUMBER)).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The lowest numbers that are free.
pub fn free_numbers(taken: &BTreeSet<u32>) -> impl Iterator<Item = u32> + '_ {
    (1..).filter(|number| !taken.contains(number))
}

/// The name of another number: that stands at the end of it.
fn name_of(like: &Record, number: u32) -> String {
    let own = self::number(like).to_string();
    match like.name.strip_suffix(&own) {
        Some(stem) => format!("{stem}{number}"),
        None => format!("{}-{number}", like.name),
    }
}

/// The request for a container like another one, and its name.
fn request(like: &Record, number: u32) -> (String, ContainerCreateRequest) {
    let name = name_of(like, number);
    let short = like.id.get(..12).unwrap_or_default();
    let mut config = ContainerConfig { image: like.image.clone(), ..like.config.clone() };
    config.labels.get_or_insert_default().insert(NUMBER.to_owned(), number.to_string());
    if config.hostname == short {
        config.hostname.clear();
    }
    let endpoint = |asked: &EndpointSettings| {
        let mut aliases = asked.aliases.clone().unwrap_or_default();
        aliases.retain(|alias| alias != short && *alias != like.name);
        aliases.insert(0, name.clone());
        // Addresses are one container's alone.
        EndpointSettings {
            aliases: Some(aliases),
            links: asked.links.clone(),
            driver_opts: asked.driver_opts.clone(),
            gw_priority: asked.gw_priority,
            ..EndpointSettings::default()
        }
    };
    let endpoints: BTreeMap<String, Option<EndpointSettings>> =
        like.endpoints.iter().map(|(network, asked)| (network.clone(), Some(endpoint(asked)))).collect();
    let request = ContainerCreateRequest {
        config,
        host_config: Some(like.host.clone()),
        networking_config: Some(NetworkingConfig { endpoints_config: Some(endpoints) }),
    };
    (name, request)
}

impl Service {
    /// Makes and starts a container like another one.
    ///
    /// # Errors
    /// What stood in the way; nothing of it is left then.
    pub(super) async fn replicate(self: &Arc<Self>, like: &Record, number: u32) -> Result<(), Error> {
        let like = like.clone();
        let id = self.blocking(move |service| service.make_replica(&like, number)).await?;
        let started = self.start(&id).await;
        if started.is_err()
            && let Err(error) = self.remove(&id, true, true).await
        {
            tracing::warn!(%error, container = id, "a container that did not start is left");
        }
        started
    }

    fn make_replica(self: &Arc<Self>, like: &Record, number: u32) -> Result<String, Error> {
        let (name, request) = request(like, number);
        let platform = Some(like.platform.as_str()).filter(|platform| platform.contains('/'));
        let made = self.create_like(&name, platform, request, &like.config.image)?;
        let labels = like.config.labels.as_ref();
        let files = labels.and_then(|labels| labels.get(FILES)).map_or("[]", String::as_str);
        let files: Vec<PathBuf> = serde_json::from_str(files).unwrap_or_default();
        let copied = files.iter().try_for_each(|path| self.copy_file(&like.id, &made, path));
        copied.inspect_err(|_| {
            if let Ok(container) = self.registry().find(&made) {
                self.auto_remove(&container);
            }
        })?;
        Ok(made)
    }

    fn copy_file(self: &Arc<Self>, from: &str, to: &str, path: &Path) -> Result<(), Error> {
        let mut archive = Vec::new();
        self.get_archive(from, &path.to_string_lossy(), &mut archive)?;
        let failed = |source| Error::io("copy", path)(source);
        let moved = below_root(&archive, path).map_err(failed)?;
        self.put_archive(to, "/", UnpackOptions::default(), moved.as_slice())
    }
}

/// The archive of one file, with its whole path instead of its name.
fn below_root(archive: &[u8], path: &Path) -> std::io::Result<Vec<u8>> {
    let at = path.strip_prefix("/").unwrap_or(path);
    let mut out = tar::Builder::new(Vec::new());
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let mut header = entry.header().clone();
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        out.append_data(&mut header, at, content.as_slice())?;
    }
    out.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_is_like_the_others_but_for_what_is_its_own() {
        let mut like = Record { id: "0123456789abcdef".into(), name: "p-web-2".into(), ..Record::default() };
        like.image = "sha256:1".into();
        like.config.image = "web".into();
        like.config.hostname = "0123456789ab".into();
        like.config.labels = Some([(NUMBER.to_owned(), "2".to_owned()), ("a".into(), "b".into())].into());
        let asked = EndpointSettings {
            aliases: Some(vec!["p-web-2".into(), "web".into(), "0123456789ab".into()]),
            ip_address: "10.0.0.2".into(),
            ..EndpointSettings::default()
        };
        like.endpoints = [("p_default".to_owned(), asked)].into();
        let (name, request) = request(&like, 12);
        assert_eq!(name, "p-web-12");
        assert_eq!((request.config.image.as_str(), request.config.hostname.as_str()), ("sha256:1", ""));
        let labels = request.config.labels.unwrap();
        assert_eq!((labels[NUMBER].as_str(), labels["a"].as_str()), ("12", "b"));
        let endpoints = request.networking_config.unwrap().endpoints_config.unwrap();
        let endpoint = endpoints["p_default"].clone().unwrap();
        assert_eq!(endpoint.aliases.unwrap(), ["p-web-12", "web"]);
        assert_eq!(endpoint.ip_address, "");
    }

    #[test]
    fn free_numbers_fill_gaps() {
        let taken = BTreeSet::from([1, 3]);
        assert_eq!(free_numbers(&taken).take(3).collect::<Vec<_>>(), [2, 4, 5]);
    }

    #[test]
    fn a_file_keeps_its_place() {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(2);
        header.set_mode(0o400);
        tar.append_data(&mut header, "token", b"hi".as_slice()).unwrap();
        let moved = below_root(&tar.into_inner().unwrap(), Path::new("/run/secrets/token")).unwrap();
        let mut archive = tar::Archive::new(moved.as_slice());
        let entry = archive.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(entry.path().unwrap(), Path::new("run/secrets/token"));
        assert_eq!(entry.header().mode().unwrap(), 0o400);
    }
}
