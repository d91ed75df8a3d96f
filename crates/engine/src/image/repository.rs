//! Repositories of registries, for what is no image but is kept where images are.

use dray_registry::{Auth, Repository};
use dray_spec::Reference;

use super::{Error, Service};

impl Service {
    /// Where a name is pulled from, and its tag or digest.
    ///
    /// # Errors
    /// If the name is none, or its registry cannot be used.
    pub fn pull_source(&self, name: &str, auth: &Auth) -> Result<(Repository, String), Error> {
        let reference = Reference::parse(name)?.tagged();
        Ok((self.client().repository(&reference, auth)?, version(&reference)))
    }

    /// Where a name is pushed to, and its tag.
    ///
    /// # Errors
    /// If the name is none or has a digest, or its registry cannot be used.
    pub fn push_target(&self, name: &str, auth: &Auth) -> Result<(Repository, String), Error> {
        let reference = Reference::parse(name)?.tagged();
        if reference.digest().is_some() {
            return Err(Error::Tag);
        }
        Ok((self.client().push_target(&reference, auth)?, version(&reference)))
    }
}

fn version(reference: &Reference) -> String {
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.unwrap_or("latest").to_owned(),
    }
}
