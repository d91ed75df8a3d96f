//! Making calls over a connection that is already there.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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

/// The same for what is of use only as a whole. Dropped before its end, the call is broken off: the peer must not take
/// what came for all of it.
pub struct Uploading {
    messages: mpsc::Sender<Bytes>,
    whole: Arc<AtomicBool>,
}

impl Uploading {
    /// Sends a message from a thread that may block, waiting for room.
    ///
    /// # Errors
    /// If the call has ended, which its answer tells more of.
    pub fn blocking_send(&self, message: &impl Message) -> io::Result<()> {
        let ended = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the client takes no more");
        self.messages.blocking_send(framed(message)).map_err(ended)
    }

    /// Sends a message, waiting for room; lost if the call has ended, which its answer tells.
    pub async fn send(&self, message: &impl Message) {
        let _ = self.messages.send(framed(message)).await;
    }

    /// That was all.
    pub fn finish(self) {
        self.whole.store(true, Ordering::Release);
    }
}

/// The body of a request.
enum Sent {
    AsItComes(mpsc::UnboundedReceiver<Bytes>),
    Paced(mpsc::Receiver<Bytes>),
    Whole { messages: mpsc::Receiver<Bytes>, whole: Arc<AtomicBool> },
}

impl Body for Sent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let next = match &mut *self {
            Sent::AsItComes(messages) => messages.poll_recv(cx),
            Sent::Paced(messages) => messages.poll_recv(cx),
            Sent::Whole { messages, whole } => match messages.poll_recv(cx) {
                Poll::Ready(None) if !whole.swap(true, Ordering::AcqRel) => {
                    return Poll::Ready(Some(Err(io::ErrorKind::BrokenPipe.into())));
                }
                next => next,
            },
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
        let answer = self.request(method, metadata, Sent::AsItComes(sent)).await?.await?;
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
        let answer = async move { channel.request(method, metadata, Sent::Paced(sent)).await?.await };
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
        let mut answer = self.request(method, HeaderMap::new(), Sent::AsItComes(sent)).await?.await?;
        answer.only().await
    }

    /// Begins a call that sends something as a whole. The answer is a future: peers may not answer before all has come.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn upload(
        &self,
        method: &str,
        metadata: HeaderMap,
    ) -> Result<(Uploading, impl Future<Output = Result<Messages, Status>> + Send + use<>), Status> {
        let (sender, messages) = mpsc::channel(QUEUED);
        let whole = Arc::new(AtomicBool::new(false));
        let sent = Sent::Whole { messages, whole: Arc::clone(&whole) };
        let answer = self.request(method, metadata, sent).await?;
        Ok((Uploading { messages: sender, whole }, answer))
    }

    async fn request(
        &self,
        method: &str,
        metadata: HeaderMap,
        sent: Sent,
    ) -> Result<impl Future<Output = Result<Messages, Status>> + Send + use<>, Status> {
        let method = method.to_owned();
        let gone = {
            let method = method.clone();
            move |error: hyper::Error| Status::new(Code::Unavailable, format!("{method}: {error}"))
        };
        let wrong = |error: http::Error| Status::new(Code::Internal, format!("{method}: {error}"));
        let uri = format!("http://session{method}");
        let mut request = Request::builder().method(Method::POST).uri(uri).body(sent).map_err(wrong)?;
        *request.headers_mut() = metadata;
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        let mut requests = self.requests.clone();
        requests.ready().await.map_err(&gone)?;
        let response = requests.send_request(request);
        Ok(async move { accepted(response.await.map_err(gone)?) })
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
