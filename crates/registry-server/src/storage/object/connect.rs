//! From an address and the environment to a bucket.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::multipart::MultipartStore;
use object_store::{BackoffConfig, ObjectStore, RetryConfig};

use super::environment::Environment;
use super::{amazon, azure, google, http};
use crate::storage::{self, Error};

/// How long a store that is away is waited for, as long as a database is.
const PATIENCE: Duration = Duration::from_secs(10);

type Opened = (Arc<dyn ObjectStore>, Arc<dyn MultipartStore>, String);

/// Why what the environment says gives no bucket.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfit {
    /// The library finds something missing or wrong.
    #[error(transparent)]
    Library(#[from] object_store::Error),
    /// An endpoint that is no address.
    #[error("the endpoint {0:?} is no http:// or https:// address")]
    Endpoint(String),
    /// Credentials would be seen by others.
    #[error(
        "the endpoint {endpoint} would be sent credentials over plain HTTP: use https, or say {allow}=true"
    )]
    Plain {
        /// The endpoint.
        endpoint: String,
        /// The variable that allows it.
        allow: &'static str,
    },
    /// A file of settings cannot be read.
    #[error("read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A profile of AWS that no file has.
    #[error("the profile {profile:?} ($AWS_PROFILE) is in none of {}", files.join(", "))]
    NoProfile {
        /// Its name.
        profile: String,
        /// Where it was looked for.
        files: Vec<String>,
    },
    /// A profile of AWS without keys.
    #[error(
        "the profile {profile:?} gets its keys by {way}, which is not supported: give aws_access_key_id and aws_secret_access_key, or an instance's role"
    )]
    Indirect {
        /// Its name.
        profile: String,
        /// The setting that says how.
        way: &'static str,
    },
    /// A connection string of Azure that lacks something.
    #[error("AZURE_STORAGE_CONNECTION_STRING: {0}")]
    ConnectionString(&'static str),
}

/// Opens the bucket of an address.
pub(super) fn open(address: &str, environment: &Environment) -> storage::Result<Opened> {
    let wrong = |problem: String| Error::Address { address: address.to_owned(), problem };
    let url = url::Url::parse(address).map_err(|error| wrong(error.to_string()))?;
    let bucket =
        url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| wrong("it names no bucket".into()))?;
    let prefix = match url.path().trim_matches('/') {
        "" => "registry".to_owned(),
        prefix => prefix.to_owned(),
    };
    let unfit = |error: Unfit| wrong(error.to_string());
    match url.scheme() {
        "s3" => Ok(both(amazon::open(bucket, environment).map_err(unfit)?, prefix)),
        "gs" => Ok(both(google::open(bucket, environment).map_err(unfit)?, prefix)),
        "az" => Ok(both(azure::open(bucket, environment).map_err(unfit)?, prefix)),
        other => Err(wrong(format!("{other} is none of s3, gs and az"))),
    }
}

fn both<S: ObjectStore + MultipartStore>(store: S, prefix: String) -> Opened {
    let store = Arc::new(store);
    (store.clone(), store, prefix)
}

/// Refuses an endpoint that would be sent credentials for everybody to see.
pub(super) fn checked(endpoint: &str, allow: &'static str, environment: &Environment) -> Result<(), Unfit> {
    let uri: ::http::Uri = endpoint.parse().map_err(|_| Unfit::Endpoint(endpoint.to_owned()))?;
    match uri.scheme_str() {
        Some("http" | "https") => {}
        _ => return Err(Unfit::Endpoint(endpoint.to_owned())),
    }
    if http::is_private(&uri) || environment.is_on(allow) {
        return Ok(());
    }
    Err(Unfit::Plain { endpoint: endpoint.to_owned(), allow })
}

/// Many tries, soon after each other: who waits is a client with a push.
pub(super) fn patience() -> RetryConfig {
    let backoff = BackoffConfig { max_backoff: Duration::from_secs(1), ..BackoffConfig::default() };
    RetryConfig { backoff, max_retries: 100, retry_timeout: PATIENCE }
}
