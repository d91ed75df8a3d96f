//! Google Cloud Storage, by its XML interface.
//!
//! Credentials are looked for where Google's own tools do: the file that `GOOGLE_APPLICATION_CREDENTIALS` names, the
//! one that `gcloud auth application-default login` has left, the machine's own account. An emulator
//! (`STORAGE_EMULATOR_HOST`) is asked without any.

use std::sync::Arc;

use object_store::gcp::{GcpCredential, GoogleCloudStorage, GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{ClientOptions, StaticCredentialProvider};

use super::connect::{Unfit, checked, patience};
use super::environment::Environment;
use super::http::Connector;

const ALLOW_HTTP: &str = "GOOGLE_ALLOW_HTTP";
const EMULATOR: &str = "STORAGE_EMULATOR_HOST";
/// What says who somebody is.
const CREDENTIALS: [&str; 6] = [
    "SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_PATH",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_BEARER_TOKEN",
];

/// The bucket of this name.
pub(super) fn open(bucket: &str, environment: &Environment) -> Result<GoogleCloudStorage, Unfit> {
    let mut builder = GoogleCloudStorageBuilder::new().with_client_options(ClientOptions::new());
    if let Some(path) = environment.get("SERVICE_ACCOUNT") {
        builder = builder.with_service_account_path(path);
    }
    for (name, value) in environment.beginning("GOOGLE_") {
        if let Ok(key) = name.to_ascii_lowercase().parse::<GoogleConfigKey>() {
            builder = builder.with_config(key, value);
        }
    }
    if let Some(host) = environment.get(EMULATOR) {
        let scheme = if host.contains("://") { "" } else { "http://" };
        builder = builder.with_base_url(&format!("{scheme}{}", host.trim_end_matches('/')));
        if environment.any(&CREDENTIALS).is_none() {
            let nobody = GcpCredential { bearer: "owner".into() };
            builder = builder.with_credentials(Arc::new(StaticCredentialProvider::new(nobody)));
        }
    }
    if let Some(endpoint) = builder.get_config_value(&GoogleConfigKey::BaseUrl) {
        checked(&endpoint, ALLOW_HTTP, environment)?;
    }
    Ok(builder.with_bucket_name(bucket).with_http_connector(Connector).with_retry(patience()).build()?)
}
