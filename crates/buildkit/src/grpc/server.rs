//! Answering calls.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::{Messages, Status, framed};

/// Messages of a stream that wait for a slow client.
const QUEUED: usize = 64;

/// A call that came in.
pub struct Call {
    /// `/package.Service/Method`.
    pub method: String,
    /// What came with it.
    pub metadata: HeaderMap,
    /// What the caller sends.
    pub messages: Messages,
}

/// What serves calls. A call whose client goes away is dropped where it waits.
pub trait Service: Send + Sync + 'static {
    /// Answers one call.
    fn call(self: Arc<Self>, call: Call) -> Pin<Box<dyn Future<Output = Result<Reply, Status>> + Send>>;
}

/// What a call is answered.
pub struct Reply {
    content: Content,
    metadata: Vec<(&'static str, HeaderValue)>,
}

enum Content {
    One(Bytes),
    Many(mpsc::Receiver<Result<Bytes, Status>>),
    Ended(Option<Status>),
    Done,
}

/// Writes the messages of a stream.
pub struct ReplySender(mpsc::Sender<Result<Bytes, Status>>);

impl Reply {
    /// One message.
    pub fn one(message: &impl Message) -> Self {
        Content::One(framed(message)).into()
    }

    /// A stream, and what writes it; it ends well when the writer is dropped.
    #[must_use]
    pub fn many() -> (ReplySender, Self) {
        let (sender, receiver) = mpsc::channel(QUEUED);
        (ReplySender(sender), Content::Many(receiver).into())
    }
}

impl Reply {
    /// The same, with a header before the messages. One that no header can carry is left out.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        self.metadata.extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
        self
    }
}

impl From<Content> for Reply {
    fn from(content: Content) -> Self {
        Reply { content, metadata: Vec::new() }
    }
}

impl ReplySender {
    /// Sends a message, waiting for room; false if the client is gone.
    pub async fn send(&self, message: &impl Message) -> bool {
        self.0.send(Ok(framed(message))).await.is_ok()
    }

    /// Waits until the client is gone.
    pub async fn closed(&self) {
        self.0.closed().await;
    }

    /// Ends the stream with a failure.
    pub async fn fail(self, status: Status) {
        let _ = self.0.send(Err(status)).await;
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Content::Many(receiver) = &mut self.content {
            match receiver.poll_recv(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(message))) => return Poll::Ready(Some(Ok(Frame::data(message)))),
                Poll::Ready(Some(Err(status))) => self.content = Content::Ended(Some(status)),
                Poll::Ready(None) => self.content = Content::Ended(None),
            }
        }
        let frame = match std::mem::replace(&mut self.content, Content::Done) {
            Content::One(message) => {
                self.content = Content::Ended(None);
                Frame::data(message)
            }
            Content::Ended(status) => Frame::trailers(Status::trailers(status.as_ref())),
            Content::Many(_) | Content::Done => return Poll::Ready(None),
        };
        Poll::Ready(Some(Ok(frame)))
    }
}

/// Serves the calls of a connection until it ends.
///
/// # Errors
/// If the connection breaks.
pub async fn serve<I>(io: I, service: Arc<impl Service>) -> Result<(), hyper::Error>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answer = service_fn(move |request: Request<Incoming>| {
        let service = Arc::clone(&service);
        async move {
            let (parts, body) = request.into_parts();
            let call = Call {
                method: parts.uri.path().to_owned(),
                metadata: parts.headers,
                messages: Messages::of_request(body),
            };
            let reply = service.call(call).await.unwrap_or_else(|status| Content::Ended(Some(status)).into());
            let metadata = reply.metadata.clone();
            let mut response = Response::new(reply);
            response
                .headers_mut()
                .extend(metadata.into_iter().map(|(name, value)| (HeaderName::from_static(name), value)));
            let grpc = HeaderValue::from_static("application/grpc");
            response.headers_mut().insert(header::CONTENT_TYPE, grpc);
            Ok::<_, Infallible>(response)
        }
    });
    http2::Builder::new(TokioExecutor::new())
        .max_header_list_size(1 << 20)
        .serve_connection(TokioIo::new(io), answer)
        .await
}
