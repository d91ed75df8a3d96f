//! Making calls over a connection that is already there.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::{Code, Messages, Status, framed};

/// Where calls go. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Channel {
    requests: http2::SendRequest<Sent>,
}

/// What the caller of a stream sends. Dropped, the caller's side has ended.
pub struct Outgoing(mpsc::UnboundedSender<Bytes>);

impl Outgoing {
    /// Sends a message; lost if the call has ended, which its other direction tells.
    pub fn send(&self, message: &impl Message) {
        let _ = self.0.send(framed(message));
    }
}

/// The same for who sends without end: it waits for a slow peer.
pub struct Pacing(mpsc::Sender<Bytes>);

/// Messages that wait for a slow peer.
const QUEUED: usize = 16;

impl Pacing {
    /// Sends a message when there is room; false if the call has ended.
    pub async fn send(&self, message: &impl Message) -> bool {
        self.0.send(framed(message)).await.is_ok()
    }
}

/// The body of a request.
enum Sent {
    AsItComes(mpsc::UnboundedReceiver<Bytes>),
    Paced(mpsc::Receiver<Bytes>),
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match &mut *self {
            Sent::AsItComes(messages) => messages.poll_recv(cx),
            Sent::Paced(messages) => messages.poll_recv(cx),
        };
        next.map(|message| message.map(|message| Ok(Frame::data(message))))
    }
}

impl Channel {
    /// Greets the peer; the future that comes along is the connection, which ends with it.
    ///
    /// # Errors
    /// If the peer does not speak HTTP/2.
    pub async fn open<I>(
        io: I,
    ) -> Result<(Channel, impl Future<Output = Result<(), hyper::Error>>), hyper::Error>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let builder = http2::Builder::new(TokioExecutor::new());
        let (requests, connection) = builder.handshake(TokioIo::new(io)).await?;
        Ok((Channel { requests }, connection))
    }

    /// Begins a call. `metadata` may name a header several times.
    ///
    /// # Errors
    /// If the connection is gone, or the peer refuses at once.
    pub async fn stream(&self, method: &str, metadata: HeaderMap) -> Result<(Outgoing, Messages), Status> {
        let (outgoing, sent) = mpsc::unbounded_channel();
        let answer = self.request(method, metadata, Sent::AsItComes(sent)).await?;
        Ok((Outgoing(outgoing), answer))
    }

    /// Begins a call whose peer may wait for what is sent before it answers: both go on at the same time.
    pub fn paced(
        &self,
        method: &'static str,
        metadata: HeaderMap,
    ) -> (Pacing, impl Future<Output = Result<Messages, Status>> + use<>) {
        let (sender, sent) = mpsc::channel(QUEUED);
        let channel = self.clone();
        let answer = async move { channel.request(method, metadata, Sent::Paced(sent)).await };
        (Pacing(sender), answer)
    }

    /// Calls with one message and is answered one.
    ///
    /// # Errors
    /// The peer's status.
    pub async fn unary<M: Message + Default>(
        &self,
        method: &str,
        message: &impl Message,
    ) -> Result<M, Status> {
        let (outgoing, sent) = mpsc::unbounded_channel();
        Outgoing(outgoing).send(message);
        let mut answer = self.request(method, HeaderMap::new(), Sent::AsItComes(sent)).await?;
        answer.only().await
    }

    async fn request(&self, method: &str, metadata: HeaderMap, sent: Sent) -> Result<Messages, Status> {
        let gone = |error: hyper::Error| Status::new(Code::Unavailable, format!("{method}: {error}"));
        let wrong = |error: http::Error| Status::new(Code::Internal, format!("{method}: {error}"));
        let uri = format!("http://session{method}");
        let mut request = Request::builder().method(Method::POST).uri(uri).body(sent).map_err(wrong)?;
        *request.headers_mut() = metadata;
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        let mut requests = self.requests.clone();
        requests.ready().await.map_err(gone)?;
        let response = requests.send_request(request).await.map_err(gone)?;
        accepted(response)
    }
}

fn accepted(response: http::Response<Incoming>) -> Result<Messages, Status> {
    if response.status() != StatusCode::OK {
        let text = format!("unexpected HTTP status code received from server: {}", response.status());
        return Err(Status::new(Code::Unknown, text));
    }
    if let Some(Err(status)) = Status::read(response.headers()) {
        return Err(status);
    }
    Ok(Messages::of_answer(response.into_body()))
}
