//! Outputs of a build that come to this machine, over its session.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use dray_buildkit::filesend::EXPORTER_ID;
use dray_buildkit::grpc::{Call, Code, Messages, Reply, Status};
use dray_buildkit::proto::control::BytesMessage;
use tokio::io::AsyncRead;
use tokio::runtime::Handle;
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

/// Outputs that come here, by their number among those of the build.
#[derive(Default)]
pub struct Outputs(Mutex<HashMap<usize, Destination>>);

impl Outputs {
    /// Adds the output of this number.
    pub fn add(&mut self, number: usize, destination: Destination) {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).insert(number, destination);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Takes an output, once.
    pub async fn take(&self, call: Call) -> Result<Reply, Status> {
        let number = call.metadata.get(EXPORTER_ID).and_then(|value| value.to_str().ok()?.parse().ok());
        let number: usize = number.unwrap_or(0);
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
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
