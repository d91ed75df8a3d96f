//! Storage in a bucket: S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage.
//!
//! ```text
//! <prefix>/blobs/<first 2 digits>/<key>    objects
//! <prefix>/tails/<key>                     the last bytes of an unfinished one, too few for a part
//! ```
//! A draft is a multi-part upload of the store. Its name and its parts are the checkpoint's state, so any server that
//! shares the metadata can go on with it. Parts are pinned by what the store said of them: a part that was written over
//! by somebody else makes the end fail, it never gets into the object.

mod amazon;
mod azure;
mod connect;
mod draft;
mod environment;
mod google;
mod http;
mod profile;

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutPayload};

use super::{Content, Draft, Error, Result, Storage};
use crate::name::Key;
use draft::{ObjectDraft, State};

pub use environment::Environment;

/// Objects in a bucket.
pub struct Bucket {
    store: Arc<Store>,
}

/// The bucket's two faces, and where in it everything is.
struct Store {
    objects: Arc<dyn ObjectStore>,
    parts: Arc<dyn MultipartStore>,
    prefix: String,
}

impl Store {
    fn object(&self, key: &Key) -> Path {
        Path::from(format!("{}/blobs/{}/{key}", self.prefix, &key.as_str()[..2]))
    }

    fn tail(&self, key: &Key) -> Path {
        Path::from(format!("{}/tails/{key}", self.prefix))
    }
}

impl Bucket {
    /// The bucket of an address: `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`. Credentials
    /// and endpoints come from the environment, under the names that each cloud's own tools use (`AWS_…`,
    /// `GOOGLE_…`, `AZURE_…`), and from the files of these tools.
    ///
    /// # Errors
    /// The address is none, or something is missing or wrong in the environment.
    pub fn open(address: &str, environment: &Environment) -> Result<Self> {
        let (objects, parts, prefix) = connect::open(address, environment)?;
        Ok(Self { store: Arc::new(Store { objects, parts, prefix }) })
    }
}

fn failed(operation: &'static str, path: &Path) -> impl Fn(object_store::Error) -> Error + use<> {
    let path = path.to_string();
    move |source| Error::Object { operation, path: path.clone(), source: Box::new(source) }
}

fn is_missing(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::NotFound { .. })
}

#[async_trait]
impl Storage for Bucket {
    async fn create(&self, key: &Key) -> Result<Box<dyn Draft>> {
        Ok(Box::new(ObjectDraft::new(self.store.clone(), key.clone())))
    }

    async fn resume(&self, key: &Key, offset: u64, state: &[u8]) -> Result<Box<dyn Draft>> {
        Ok(Box::new(ObjectDraft::resume(self.store.clone(), key.clone(), offset, state).await?))
    }

    async fn open(&self, key: &Key, range: Range<u64>) -> Result<Option<Content>> {
        let path = self.store.object(key);
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        match self.store.objects.get_opts(&path, options).await {
            Ok(found) => {
                Ok(Some(Content::Stream(found.into_stream().map_err(failed("read", &path)).boxed())))
            }
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(failed("read", &path)(error)),
        }
    }

    async fn remove(&self, key: &Key, state: &[u8]) -> Result<()> {
        if let Some(state) = State::read(state) {
            state.abort(&self.store, key).await?;
        }
        let path = self.store.object(key);
        match self.store.objects.delete(&path).await {
            Err(error) if !is_missing(&error) => Err(failed("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    async fn keys(&self) -> Result<Vec<Key>> {
        let path = Path::from(format!("{}/blobs", self.store.prefix));
        let listed = self.store.objects.list(Some(&path));
        let keys = listed
            .try_filter_map(|object| async move { Ok(object.location.filename().and_then(Key::parse)) });
        keys.try_collect().await.map_err(failed("list", &path))
    }

    async fn check(&self) -> Result<()> {
        let path = Path::from(format!("{}/probe", self.store.prefix));
        self.store
            .objects
            .put(&path, PutPayload::from_static(b"probe"))
            .await
            .map_err(failed("write", &path))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
