//! What every storage back end must do; each back end's tests call [`run`].

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use std::os::unix::fs::FileExt;

use super::{Content, Storage};
use crate::name::Key;

/// More than one part of a multi-part upload.
const LARGE: usize = 11 * 1024 * 1024 + 17;

/// Checks a back end.
pub(crate) async fn run(storage: &dyn Storage) {
    storage.check().await.expect("it works");
    sealed_is_read_back(storage).await;
    ranges_are_exact(storage).await;
    a_checkpoint_is_gone_on_from(storage).await;
    what_follows_a_checkpoint_does_not_count(storage).await;
    nothing_is_gone_on_from_nothing(storage).await;
    removal_is_repeatable(storage).await;
}

fn pattern(length: usize) -> Bytes {
    (0..length).map(|at| (at * 31 + at / 251) as u8).collect::<Vec<u8>>().into()
}

async fn put(storage: &dyn Storage, bytes: &Bytes) -> Key {
    let key = Key::random();
    let mut draft = storage.create(&key).await.expect("create");
    for piece in bytes.chunks(1_000_003) {
        draft.write(vec![bytes.slice_ref(piece)]).await.expect("write");
    }
    draft.seal().await.expect("seal");
    key
}

/// Reads a range of an object; none if it is not there.
pub(crate) async fn read(storage: &dyn Storage, key: &Key, range: std::ops::Range<u64>) -> Option<Bytes> {
    match storage.open(key, range).await.expect("open")? {
        Content::File { file, range } => {
            let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap()];
            file.read_exact_at(&mut bytes, range.start).expect("read");
            Some(bytes.into())
        }
        Content::Stream(mut stream) => {
            let mut bytes = BytesMut::new();
            while let Some(piece) = stream.next().await {
                bytes.extend_from_slice(&piece.expect("read"));
            }
            Some(bytes.freeze())
        }
    }
}

async fn sealed_is_read_back(storage: &dyn Storage) {
    for length in [1, 70_000, LARGE] {
        let bytes = pattern(length);
        let key = put(storage, &bytes).await;
        assert_eq!(read(storage, &key, 0..length as u64).await.as_ref(), Some(&bytes), "{length} bytes");
        assert!(storage.keys().await.expect("keys").contains(&key));
        storage.remove(&key, &[]).await.expect("remove");
    }
    assert_eq!(read(storage, &Key::random(), 0..1).await, None, "an object that never was");
}

async fn ranges_are_exact(storage: &dyn Storage) {
    let bytes = pattern(LARGE);
    let key = put(storage, &bytes).await;
    for range in [0..1, 5..6, 1000..2_000_000, LARGE - 1..LARGE, 0..LARGE] {
        let part = read(storage, &key, range.start as u64..range.end as u64).await;
        assert_eq!(part, Some(bytes.slice(range.clone())), "{range:?}");
    }
    storage.remove(&key, &[]).await.expect("remove");
}

async fn a_checkpoint_is_gone_on_from(storage: &dyn Storage) {
    let bytes = pattern(LARGE);
    let key = Key::random();
    let cuts = [0, 1, 1000, 6_000_000, 6_000_001, LARGE];
    let mut draft = storage.create(&key).await.expect("create");
    for window in cuts.windows(2) {
        draft.write(vec![bytes.slice(window[0]..window[1])]).await.expect("write");
        let state = draft.checkpoint().await.expect("checkpoint");
        drop(draft);
        draft = storage.resume(&key, window[1] as u64, &state).await.expect("resume");
    }
    draft.seal().await.expect("seal");
    assert_eq!(read(storage, &key, 0..LARGE as u64).await, Some(bytes));
    storage.remove(&key, &[]).await.expect("remove");
}

async fn what_follows_a_checkpoint_does_not_count(storage: &dyn Storage) {
    let bytes = pattern(LARGE);
    let key = Key::random();
    let mut draft = storage.create(&key).await.expect("create");
    draft.write(vec![bytes.slice(..2_000_000)]).await.expect("write");
    let state = draft.checkpoint().await.expect("checkpoint");
    draft.write(vec![Bytes::from(vec![0xee; 9_000_000])]).await.expect("write");
    drop(draft);
    let mut draft = storage.resume(&key, 2_000_000, &state).await.expect("resume");
    draft.write(vec![bytes.slice(2_000_000..)]).await.expect("write");
    draft.seal().await.expect("seal");
    assert_eq!(read(storage, &key, 0..LARGE as u64).await, Some(bytes));
    storage.remove(&key, &[]).await.expect("remove");
}

async fn nothing_is_gone_on_from_nothing(storage: &dyn Storage) {
    let key = Key::random();
    let mut draft = storage.resume(&key, 0, &[]).await.expect("resume");
    draft.write(vec![Bytes::from_static(b"abc")]).await.expect("write");
    draft.seal().await.expect("seal");
    assert_eq!(read(storage, &key, 0..3).await, Some(Bytes::from_static(b"abc")));
    storage.remove(&key, &[]).await.expect("remove");
}

async fn removal_is_repeatable(storage: &dyn Storage) {
    let sealed = put(storage, &pattern(10)).await;
    for _ in 0..2 {
        storage.remove(&sealed, &[]).await.expect("remove");
    }
    assert_eq!(read(storage, &sealed, 0..10).await, None);
    let key = Key::random();
    let mut draft = storage.create(&key).await.expect("create");
    draft.write(vec![pattern(100)]).await.expect("write");
    let state = draft.checkpoint().await.expect("checkpoint");
    drop(draft);
    for _ in 0..2 {
        storage.remove(&key, &state).await.expect("remove an unfinished one");
    }
    assert_eq!(read(storage, &key, 0..100).await, None);
}
