//! Reading messages off a body.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use prost::Message;

use super::{Code, MAX_MESSAGE, PREFIX, Status};

/// The messages of one direction of a call. On the side of the caller the end is a status too.
pub struct Messages {
    body: Incoming,
    read: BytesMut,
    /// Whether the other side says in its trailers how it went.
    answered: bool,
}

impl Messages {
    /// What a caller sends.
    pub(super) fn of_request(body: Incoming) -> Self {
        Messages { body, read: BytesMut::new(), answered: false }
    }

    /// What a caller is answered.
    pub(super) fn of_answer(body: Incoming) -> Self {
        Messages { body, read: BytesMut::new(), answered: true }
    }

    /// The next message; `None` at the end.
    ///
    /// # Errors
    /// The status that the peer ended with, or a broken stream.
    pub async fn next<M: Message + Default>(&mut self) -> Result<Option<M>, Status> {
        let Some(bytes) = self.next_bytes().await? else { return Ok(None) };
        let wrong = |error| Status::new(Code::Internal, format!("cannot read a message: {error}"));
        M::decode(bytes).map(Some).map_err(wrong)
    }

    /// The one message of a unary call.
    ///
    /// # Errors
    /// If there is none, or as [`Messages::next`].
    pub async fn only<M: Message + Default>(&mut self) -> Result<M, Status> {
        let missing = || Status::new(Code::Internal, "the stream ended before its message");
        self.next().await?.ok_or_else(missing)
    }

    async fn next_bytes(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(message) = self.whole()? {
                return Ok(Some(message));
            }
            let broken = |error: hyper::Error| Status::new(Code::Unavailable, format!("stream: {error}"));
            match self.body.frame().await.transpose().map_err(broken)? {
                None => return self.ended(&HeaderMap::new()).map(|()| None),
                Some(frame) => match frame.into_data() {
                    Ok(data) => self.read.extend_from_slice(&data),
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        return self.ended(&trailers).map(|()| None);
                    }
                },
            }
        }
    }

    /// A message that is there completely.
    fn whole(&mut self) -> Result<Option<Bytes>, Status> {
        let Some(prefix) = self.read.first_chunk::<PREFIX>() else { return Ok(None) };
        let [compressed, length @ ..] = *prefix;
        if compressed != 0 {
            return Err(Status::unimplemented("compressed messages are not supported"));
        }
        let length = u32::from_be_bytes(length) as usize;
        if length > MAX_MESSAGE {
            let text = format!("received message larger than max ({length} vs. {MAX_MESSAGE})");
            return Err(Status::new(Code::ResourceExhausted, text));
        }
        if self.read.len() < PREFIX + length {
            return Ok(None);
        }
        self.read.advance(PREFIX);
        Ok(Some(self.read.split_to(length).freeze()))
    }

    fn ended(&self, trailers: &HeaderMap) -> Result<(), Status> {
        if !self.read.is_empty() {
            return Err(Status::new(Code::Internal, "the stream ended within a message"));
        }
        match (Status::read(trailers), self.answered) {
            (Some(result), _) => result,
            (None, false) => Ok(()),
            (None, true) => Err(Status::new(Code::Unavailable, "the stream ended without a status")),
        }
    }
}
