//! Bodies that are read as a whole before anything is done with them: manifests, forms.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;

use super::problem::Problem;

/// All of a body; nothing, if it is longer than `limit`. Who sends it so slowly that it is not there after `patience`
/// keeps a connection and memory for it no longer.
///
/// # Errors
/// The body breaks off, or does not come in time.
pub(crate) async fn whole<B>(body: B, limit: usize, patience: Duration) -> Result<Option<Bytes>, Problem>
where
    B: Body<Data = Bytes, Error: std::fmt::Display> + Unpin,
{
    let reading = tokio::time::timeout(patience, read(body, limit));
    reading.await.unwrap_or_else(|_| Err(Problem::BodyBroken("it did not come in time".into())))
}

async fn read<B>(mut body: B, limit: usize) -> Result<Option<Bytes>, Problem>
where
    B: Body<Data = Bytes, Error: std::fmt::Display> + Unpin,
{
    let mut content = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Problem::BodyBroken(error.to_string()))?;
        let Ok(piece) = frame.into_data() else { continue };
        if content.len() + piece.len() > limit {
            return Ok(None);
        }
        content.extend_from_slice(&piece);
    }
    Ok(Some(content.freeze()))
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;

    /// Some pieces, and then nothing for ever.
    fn hangs(pieces: usize) -> impl Body<Data = Bytes, Error = std::io::Error> + Unpin {
        let pieces = (0..pieces).map(|_| Ok(Frame::data(Bytes::from_static(b"piece"))));
        StreamBody::new(futures_util::stream::iter(pieces).chain(futures_util::stream::pending()))
    }

    #[tokio::test]
    async fn bodies_have_an_end() {
        let (short, long) = (Duration::from_millis(50), Duration::from_secs(600));
        let late = whole(hangs(3), 100, short).await;
        assert!(matches!(late, Err(Problem::BodyBroken(_))), "{late:?}");
        assert_eq!(whole(hangs(3), 14, long).await.unwrap(), None, "too long, which is known at once");
        let body = http_body_util::Full::new(Bytes::from_static(b"all"));
        assert_eq!(whole(body, 3, long).await.unwrap().as_deref(), Some(&b"all"[..]));
    }
}
