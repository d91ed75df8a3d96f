//! What a client gives its build: results of other builds and files that it has fetched here (`input:`), and images in
//! its own folders (`oci-layout://`). An image stands in the build under its id.

use std::collections::BTreeMap;
use std::sync::Arc;

use dray_build::{ContextDir, Material};
use dray_buildkit::grpc::Status;
use dray_buildkit::proto::Definition;
use dray_engine::build::GivenImage;
use dray_spec::{Digest, Platform};

use super::attrs::Frontend;
use super::job::Job;
use super::{BuildKit, failure, graph, layout};

const INPUT: &str = "input:";
const LAYOUT: &str = "oci-layout:";

/// What a client hands to another build, to have this result as an input.
pub(super) fn definition(image: &Digest) -> Definition {
    Definition::of_result(image.as_str(), |bytes| Digest::sha256_of(bytes).to_string())
}

impl BuildKit {
    /// The contexts by name, those that are images of the client by their ids, and these images.
    pub(super) async fn given(
        &self,
        job: &Arc<Job>,
        wanted: &mut Frontend,
    ) -> Result<(BTreeMap<String, String>, Vec<GivenImage>), Status> {
        let mut named = std::mem::take(&mut wanted.options.contexts);
        let mut given = Vec::new();
        // For a question the images are not needed.
        if wanted.question.is_some() {
            named.retain(|_, value| !value.starts_with(INPUT) && !value.starts_with(LAYOUT));
            return Ok((named, given));
        }
        for (name, value) in &mut named {
            let image = if let Some(input) = value.strip_prefix(INPUT) {
                if let Some((folder, mut materials)) = self.input_files(job, name, input, wanted).await? {
                    *value = format!("local:{value}");
                    wanted.given.insert(value.trim_start_matches("local:").to_owned(), folder);
                    wanted.materials.append(&mut materials);
                    continue;
                }
                self.input(name, input, wanted)?
            } else if let Some(place) = layout_place(value) {
                let platform = platform_of(name, &wanted.options.platform)?;
                self.layout_image(job, name, place, &platform).await?
            } else {
                continue;
            };
            *value = image_context(&image);
            given.push(image);
        }
        Ok((named, given))
    }

    /// The files that an input stands for, if it is not the result of a build.
    async fn input_files(
        &self,
        job: &Arc<Job>,
        name: &str,
        input: &str,
        wanted: &Frontend,
    ) -> Result<Option<(ContextDir, Vec<Material>)>, Status> {
        let definition = wanted.inputs.get(input).ok_or_else(|| invalid_input(name, input))?;
        match definition.result() {
            Some(_) => Ok(None),
            None => self.fetch_files(job, graph::files(definition)?).await.map(Some),
        }
    }

    fn input(&self, name: &str, input: &str, wanted: &Frontend) -> Result<GivenImage, Status> {
        let definition = wanted.inputs.get(input).ok_or_else(|| invalid_input(name, input))?;
        let id = definition.result().ok_or_else(failure::definitions)?;
        let built = self.jobs.built(&id);
        built.as_ref().map(GivenImage::from).ok_or_else(|| {
            failure::not_found(format!("input {input} for {name}: the build that made {id} has ended"))
        })
    }

    async fn layout_image(
        &self,
        job: &Job,
        name: &str,
        place: &str,
        platform: &Platform,
    ) -> Result<GivenImage, Status> {
        let vertex = job.progress.vertex(&format!("[context {name}] OCI load from client"));
        vertex.begin();
        let image = async {
            let session = self.sessions.find(&job.session).await?;
            layout::image(&self.builds, session, place, platform).await
        };
        let image = image.await;
        vertex.end(image.as_ref().err().map(|status| status.message.clone()));
        image
    }
}

fn invalid_input(name: &str, input: &str) -> Status {
    failure::invalid(format!("invalid input {input} for {name}"))
}

/// The place that the value of a context in an OCI layout names.
pub(crate) fn layout_place(value: &str) -> Option<&str> {
    value.strip_prefix(LAYOUT).map(|place| place.trim_start_matches("//"))
}

/// The value of a context that is an image of the client.
pub(crate) fn image_context(image: &GivenImage) -> String {
    format!("docker-image://{}", image.id())
}

/// The platform of a context: its name's (`name::linux/arm64`), else the build's, else this machine's.
pub(crate) fn platform_of(name: &str, of_build: &str) -> Result<Platform, Status> {
    let text = name.split_once("::").map_or(of_build, |(_, platform)| platform);
    match text.split(',').next().unwrap_or_default() {
        "" => Ok(Platform::host()),
        text => Platform::parse(text).map_err(|error| failure::invalid(error.to_string())),
    }
}
