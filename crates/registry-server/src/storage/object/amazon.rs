//! S3, and what speaks its protocol.
//!
//! Credentials are looked for where Amazon's own tools do, in their order: keys in the environment; a token of a web
//! identity (Kubernetes); the profile in `~/.aws`; the container's and the instance's role.

use object_store::ClientOptions;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};

use super::connect::{Unfit, checked, patience};
use super::environment::Environment;
use super::http::Connector;
use super::profile::Profile;

const ALLOW_HTTP: &str = "AWS_ALLOW_HTTP";

/// The bucket of this name.
pub(super) fn open(bucket: &str, environment: &Environment) -> Result<AmazonS3, Unfit> {
    let mut builder = AmazonS3Builder::new().with_client_options(ClientOptions::new());
    if let Some(profile) = Profile::of(environment)? {
        builder = described(builder, profile, environment);
    }
    for (name, value) in environment.beginning("AWS_") {
        if let Ok(key) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() {
            builder = builder.with_config(key, value);
        }
    }
    let endpoint = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint];
    if let Some(endpoint) = endpoint.iter().find_map(|key| builder.get_config_value(key)) {
        checked(&endpoint, ALLOW_HTTP, environment)?;
    }
    Ok(builder.with_bucket_name(bucket).with_http_connector(Connector).with_retry(patience()).build()?)
}

/// What the profile says and the environment does not.
fn described(mut builder: AmazonS3Builder, profile: Profile, environment: &Environment) -> AmazonS3Builder {
    if let Some(keys) = profile.keys {
        builder = builder.with_access_key_id(keys.id).with_secret_access_key(keys.secret);
        if let Some(token) = keys.token {
            builder = builder.with_token(token);
        }
    }
    let said = environment.any(&["AWS_REGION", "AWS_DEFAULT_REGION"]).is_some();
    if let Some(region) = profile.region.filter(|_| !said) {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = profile.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    builder
}
