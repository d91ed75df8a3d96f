//! What happened: the bus that every service announces on, and the streams that clients read.
//!
//! The bus keeps the last [`KEPT`] events, so that `since` can look back; a subscriber gets what it
//! asks for of them and then each new one, with none missed or doubled in between. A subscriber too
//! slow to keep up loses the oldest events, never slows the announcer.

mod filter;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use dray_api::event::{EventActor, EventMessage};
use dray_api::{Filters, Labels};
use jiff::Timestamp;
use tokio::sync::broadcast;

pub use filter::matches;

/// How many past events are kept.
pub const KEPT: usize = 1024;
/// How far a subscriber may fall behind.
const LAG: usize = 1024;

/// Announces events to all who listen. Cloning gives another handle to the same bus.
#[derive(Clone, Debug)]
pub struct EventBus {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    kept: Mutex<VecDeque<Arc<EventMessage>>>,
    live: broadcast::Sender<Arc<EventMessage>>,
}

impl Default for EventBus {
    fn default() -> Self {
        Self::new()
    }
}

impl EventBus {
    /// An empty bus.
    pub fn new() -> Self {
        let (live, _) = broadcast::channel(LAG);
        Self { shared: Arc::new(Shared { kept: Mutex::default(), live }) }
    }

    /// Announces that `action` happened to the thing `id` of type `kind` (`container`, `image`,
    /// `network`, `volume`, `daemon`, `builder`).
    pub fn publish(&self, kind: &str, action: &str, id: &str, attributes: Labels) {
        let legacy = kind == "container" || kind == "image";
        let field = |value: &str| if legacy { value.to_owned() } else { String::new() };
        let from = if kind == "container" { attributes.get("image").cloned() } else { None };
        // Under the lock: who asks again from the last event on that it has seen must not miss one that is earlier.
        let mut kept = self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Timestamp::now();
        let message = Arc::new(EventMessage {
            status: field(action),
            id: field(id),
            from: from.unwrap_or_default(),
            kind: kind.to_owned(),
            action: action.to_owned(),
            actor: EventActor { id: id.to_owned(), attributes },
            scope: "local".to_owned(),
            time: now.as_second(),
            time_nano: i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX),
        });
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(Arc::clone(&message));
        // Sent under the lock, so that live order is kept order. Nobody listening is fine.
        let _ = self.shared.live.send(message);
    }

    /// Listens: first kept events since `since` (none kept are given without `since` or `until`), then
    /// new ones, up to `until`.
    pub fn subscribe(
        &self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
        filters: Filters,
    ) -> Subscription {
        let kept = self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let live = self.shared.live.subscribe();
        let nanos = |time: Timestamp| i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX);
        let (from, to) = (since.map_or(i64::MIN, nanos), until.map_or(i64::MAX, nanos));
        let past = if since.is_none() && until.is_none() {
            VecDeque::new()
        } else {
            kept.iter().filter(|event| (from..=to).contains(&event.time_nano)).map(Arc::clone).collect()
        };
        Subscription { past, live, until, filters }
    }
}

/// A client's view of the bus.
#[derive(Debug)]
pub struct Subscription {
    past: VecDeque<Arc<EventMessage>>,
    live: broadcast::Receiver<Arc<EventMessage>>,
    until: Option<Timestamp>,
    filters: Filters,
}

impl Subscription {
    /// The next matching event; none when `until` has passed or the bus is gone.
    pub async fn next(&mut self) -> Option<Arc<EventMessage>> {
        while let Some(event) = self.past.pop_front() {
            if matches(&self.filters, &event) {
                return Some(event);
            }
        }
        loop {
            let event = match self.until {
                None => self.receive().await?,
                Some(until) => {
                    let left = until.duration_since(Timestamp::now()).try_into().unwrap_or_default();
                    tokio::time::timeout(left, self.receive()).await.ok()??
                }
            };
            if matches(&self.filters, &event) {
                return Some(event);
            }
        }
    }

    async fn receive(&mut self) -> Option<Arc<EventMessage>> {
        loop {
            match self.live.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(lost)) => {
                    tracing::warn!(lost, "an event subscriber is too slow");
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn what_comes_later_is_not_earlier() {
        let bus = EventBus::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..250).for_each(|_| bus.publish("container", "die", "c", Labels::new())));
            }
        });
        let past = bus.subscribe(Some(Timestamp::UNIX_EPOCH), None, Filters::default()).past;
        assert_eq!(past.len(), 1000);
        assert!(past.iter().is_sorted_by_key(|event| event.time_nano));
    }

    #[tokio::test]
    async fn past_then_live_without_gap() {
        let bus = EventBus::new();
        bus.publish("container", "create", "c1", attributes(&[("image", "busybox"), ("name", "a")]));
        let mut all = bus.subscribe(Some(Timestamp::UNIX_EPOCH), None, Filters::default());
        let mut live = bus.subscribe(None, None, Filters::default());
        bus.publish("network", "connect", "n1", Labels::new());
        let first = all.next().await.unwrap();
        assert_eq!(
            (first.status.as_str(), first.id.as_str(), first.from.as_str()),
            ("create", "c1", "busybox")
        );
        assert_eq!(first.scope, "local");
        assert_eq!(first.time, first.time_nano / 1_000_000_000);
        let second = all.next().await.unwrap();
        assert_eq!((second.action.as_str(), second.status.as_str()), ("connect", ""));
        assert_eq!(live.next().await.unwrap().action, "connect");
    }

    #[tokio::test]
    async fn until_in_the_past_ends_at_once() {
        let bus = EventBus::new();
        bus.publish("volume", "create", "v", Labels::new());
        let mut events = bus.subscribe(None, Some(Timestamp::now()), Filters::default());
        assert!(events.next().await.is_some());
        assert!(events.next().await.is_none());
    }

    #[tokio::test]
    async fn the_ring_is_bounded() {
        let bus = EventBus::new();
        for n in 0..KEPT + 10 {
            bus.publish("volume", "create", &n.to_string(), Labels::new());
        }
        let mut events = bus.subscribe(Some(Timestamp::UNIX_EPOCH), None, Filters::default());
        assert_eq!(events.next().await.unwrap().actor.id, "10");
    }
}
