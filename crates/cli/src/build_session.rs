//! The session of a build: a connection over which the daemon sends what the build puts out, and reads and writes
//! caches in folders.
//!
//! ```text
//! POST /session ── taken over, HTTP/2 ──► the daemon calls FileSend.DiffCopy for each output that comes here,
//!                                         and Content.Read and Write for caches
//! POST /build?session=ID
//! ```

pub mod content;

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use content::Stores;
use dray_buildkit::content::{READ, WRITE};
use dray_buildkit::filesend::{DIFF_COPY, EXPORTER_ID};
use dray_buildkit::grpc::{self, Call, Code, Messages, Reply, Status};
use dray_buildkit::proto::control::BytesMessage;
use dray_client::Client;
use tokio::io::AsyncRead;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::io::{StreamReader, SyncIoBridge};

use crate::command::output_file::Target;
use crate::command_error::Error;
use crate::unpack::Unpacker;

/// Where an output goes.
pub enum Destination {
    /// Its bytes, as they are.
    Bytes(Target),
    /// The files of a tar, in a folder.
    Folder(PathBuf),
}

/// A session, open until dropped.
pub struct BuildSession {
    id: String,
    serving: JoinHandle<()>,
}

impl Drop for BuildSession {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl BuildSession {
    /// Opens a session that takes outputs, by their number among those of the build, and serves these stores.
    ///
    /// # Errors
    /// The daemon cannot be reached or has no sessions.
    pub async fn open(
        client: &Client,
        outputs: HashMap<usize, Destination>,
        stores: Stores,
    ) -> Result<BuildSession, Error> {
        let mut random = [0; 16];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| Error::io("make a session id")(errno.into()))?;
        let id: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let connection = client.build_session(&id, &[DIFF_COPY, READ, WRITE]).await?;
        let service = Arc::new(Service { outputs: Mutex::new(outputs), stores });
        let serving = tokio::spawn(async move {
            let io = tokio::io::join(connection.output, connection.input);
            // When the daemon has gone, the build says so.
            let _ = grpc::serve(io, service).await;
        });
        Ok(BuildSession { id, serving })
    }

    /// What the daemon knows it by.
    pub fn id(&self) -> &str {
        &self.id
    }
}

struct Service {
    outputs: Mutex<HashMap<usize, Destination>>,
    stores: Stores,
}

impl grpc::Service for Service {
    fn call(self: Arc<Self>, call: Call) -> Pin<Box<dyn Future<Output = Result<Reply, Status>> + Send>> {
        Box::pin(async move {
            match call.method.as_str() {
                DIFF_COPY => self.take(call).await,
                READ => self.stores.read(call).await,
                WRITE => self.stores.write(call).await,
                other => Err(Status::unimplemented(format!("unknown method {other}"))),
            }
        })
    }
}

impl Service {
    /// Takes an output, once.
    async fn take(&self, call: Call) -> Result<Reply, Status> {
        let number = call.metadata.get(EXPORTER_ID).and_then(|value| value.to_str().ok()?.parse().ok());
        let number: usize = number.unwrap_or(0);
        let found = self.outputs.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        let missing = || Status::new(Code::NotFound, format!("exporter {number} not found"));
        let destination = found.ok_or_else(missing)?;
        let bytes = StreamReader::new(Box::pin(pieces(call.messages)));
        let work = move || write(destination, bytes);
        let written = tokio::task::spawn_blocking(work).await;
        match written {
            Ok(Ok(())) => Ok(Reply::many().1),
            Ok(Err(error)) => Err(Status::new(Code::Unknown, error.to_string())),
            Err(error) => Err(Status::new(Code::Internal, error.to_string())),
        }
    }
}

fn pieces(messages: Messages) -> impl futures_util::Stream<Item = io::Result<Bytes>> + Send {
    futures_util::stream::unfold(Some(messages), |messages| async move {
        let mut messages = messages?;
        match messages.next::<BytesMessage>().await {
            Ok(None) => None,
            Ok(Some(message)) => Some((Ok(message.data), Some(messages))),
            Err(status) => Some((Err(io::Error::other(status.message)), None)),
        }
    })
}

fn write(destination: Destination, bytes: impl AsyncRead + Unpin + Send) -> Result<(), Error> {
    match destination {
        Destination::Bytes(target) => Handle::current().block_on(target.write(bytes)),
        Destination::Folder(dir) => {
            std::fs::create_dir_all(&dir).map_err(Error::file("mkdir", &dir))?;
            let unpacker = Unpacker { dir, own: "/".to_owned(), name: String::new(), content: true };
            unpacker.run(&mut SyncIoBridge::new(bytes)).map_err(Error::io("unpack the build's files"))
        }
    }
}
