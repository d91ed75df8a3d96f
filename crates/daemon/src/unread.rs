//! What a route leaves unread of a request's body.
//!
//! A server that answers and closes while its client still writes breaks the connection under the answer: the
//! client sees EPIPE instead of the reason. So what is left is read and thrown away before the answer goes out (as
//! Go's HTTP server does, which Docker's clients are used to), within bounds of size and time. A route that hands
//! the body to work that goes on while it answers has the rest read when that work drops it.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::oneshot;

/// More than the end of an archive that its reader did not look at, or a small context of a refused build.
const MAX_BYTES: usize = 64 << 20;
/// A client that does not go on writing is not waited for any longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The rest of a body, once its reader is done with it.
pub struct Unread(oneshot::Receiver<Body>);

/// Lends a request's body to a route. Clients that ask before they write (`Expect: 100-continue`) keep what they
/// have when they are refused: theirs is not watched.
pub fn lend(request: Request<Body>) -> (Request<Body>, Option<Unread>) {
    if request.body().is_end_stream() || request.headers().contains_key(header::EXPECT) {
        return (request, None);
    }
    let (back, unread) = oneshot::channel();
    let lent = |body| Body::new(Lent { body: Some(body), back: Some(back) });
    (request.map(lent), Some(Unread(unread)))
}

impl Unread {
    /// Reads what is left now; if the body is in use still, what will be left then.
    pub async fn discard(mut self) {
        match self.0.try_recv() {
            Ok(body) => read_to_end(body).await,
            Err(oneshot::error::TryRecvError::Closed) => {}
            Err(oneshot::error::TryRecvError::Empty) => {
                tokio::spawn(async move {
                    if let Ok(body) = self.0.await {
                        read_to_end(body).await;
                    }
                });
            }
        }
    }
}

async fn read_to_end(mut body: Body) {
    let reading = async {
        let mut read = 0;
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > MAX_BYTES {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(PATIENCE, reading).await;
}

/// A body that goes back when it is dropped before its end.
struct Lent {
    body: Option<Body>,
    back: Option<oneshot::Sender<Body>>,
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = self.body.as_mut() else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(body), Some(back)) = (self.body.take(), self.back.take())
            && !body.is_end_stream()
        {
            let _ = back.send(body);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::StreamExt;

    use super::*;

    /// A body of pieces that counts those which were read.
    fn counted(pieces: usize) -> (Body, Arc<AtomicUsize>) {
        let read = Arc::new(AtomicUsize::new(0));
        let count = read.clone();
        let pieces = futures_util::stream::iter(0..pieces).map(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            Ok::<_, std::io::Error>(Bytes::from_static(&[0; 1 << 20]))
        });
        (Body::from_stream(pieces), read)
    }

    #[tokio::test]
    async fn what_is_not_read_is_read_before_the_answer() {
        let (body, read) = counted(3);
        let (request, unread) = lend(Request::new(body));
        drop(request);
        unread.unwrap().discard().await;
        assert_eq!(read.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn the_rest_is_read_when_the_work_ends() {
        let (body, read) = counted(3);
        let (request, unread) = lend(Request::new(body));
        let mut body = request.into_body();
        body.frame().await.unwrap().unwrap();
        unread.unwrap().discard().await;
        assert_eq!(read.load(Ordering::SeqCst), 1);
        drop(body);
        while read.load(Ordering::SeqCst) < 3 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn an_endless_body_has_an_end() {
        let (body, read) = counted(1000);
        let (request, unread) = lend(Request::new(body));
        drop(request);
        unread.unwrap().discard().await;
        assert_eq!(read.load(Ordering::SeqCst), (MAX_BYTES >> 20) + 1);
    }

    #[tokio::test]
    async fn nothing_is_watched_where_nothing_comes() {
        assert!(lend(Request::new(Body::empty())).1.is_none());
        let (request, unread) = lend(Request::new(Body::from("x")));
        request.into_body().collect().await.unwrap();
        unread.unwrap().discard().await;
        let asked = Request::builder().header(header::EXPECT, "100-continue").body(Body::from("x")).unwrap();
        assert!(lend(asked).1.is_none());
    }
}
