//! Ports and addresses that several containers share: which one is fit for new connections, and how one that stops is
//! left in peace.
//!
//! ```text
//! starts ─▶ starting ──health check, or its program listens──▶ ready ◀──health check──▶ unhealthy
//!                         stop, pause ─▶ away: new connections go elsewhere, those that are there end by themselves
//! ```
//! A stop waits for them before it sends the signal: at most half of the time that the container has to stop, and only
//! while another container takes the new ones.

use std::sync::Arc;
use std::time::Duration;

use dray_api::Labels;
use dray_network::Readiness;

use super::Error;
use super::live::Container;
use super::record::Record;
use super::service::Service;

/// Containers whose label has the same value share the ports of the host that they publish.
const SHARE_PORTS: &str = "dev.dray.share-ports";
/// How long a connection may be under way to a container that was turned away from since.
const UNDER_WAY: Duration = Duration::from_millis(20);
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// Containers whose label has the same value are behind one address on the networks that they are on, which has this
/// name there.
const VIRTUAL_IP: &str = "dev.dray.virtual-ip";

/// The service behind whose address a container is.
pub fn service(labels: &Labels) -> Option<String> {
    labels.get(VIRTUAL_IP).filter(|name| !name.is_empty()).cloned()
}

/// The group that a container shares its ports with.
pub fn group(labels: &Labels) -> Option<String> {
    labels.get(SHARE_PORTS).filter(|group| !group.is_empty()).cloned()
}

fn shares(record: &Record) -> bool {
    record.config.labels.as_ref().is_some_and(|labels| group(labels).or(service(labels)).is_some())
}

fn readiness(record: &Record, leaving: bool) -> Readiness {
    let health = record.state.health.as_ref().map(|health| health.status.as_str());
    match health {
        _ if leaving || record.state.paused => Readiness::Away,
        Some("starting") => Readiness::Starting,
        Some("unhealthy") => Readiness::Unhealthy,
        _ => Readiness::Ready,
    }
}

impl Service {
    /// Tells the network how far a container is fit for new connections, if it shares.
    pub(super) fn settle_readiness(&self, container: &Container) {
        let now = || {
            let live = container.live();
            shares(&live.record).then(|| readiness(&live.record, live.leaving))
        };
        let mut told = None;
        // Another thread may tell of a later state before this one tells of its own: the last word is what holds then.
        while let Some(now) = now()
            && told != Some(now)
        {
            self.networking.set_readiness(&container.id, now);
            told = Some(now);
        }
    }

    /// A container is about to be paused.
    pub(super) fn turn_away(&self, container: &Container) {
        if container.with(shares) {
            self.networking.set_readiness(&container.id, Readiness::Away);
        }
    }

    /// A container has started: without a health check it is ready when its program listens.
    pub(super) fn await_readiness(&self, container: &Container) {
        let waits = {
            let mut live = container.live();
            live.leaving = false;
            shares(&live.record) && live.record.state.health.is_none()
        };
        if waits {
            self.networking.ready_when_listening(&container.id);
        }
    }

    /// Turns new connections away from a container that is to stop, and waits until those that it has by shared ports
    /// have ended: no longer than this.
    pub(super) async fn drain(self: &Arc<Self>, container: &Arc<Container>, most: Duration) {
        if !container.with(shares) {
            return;
        }
        container.live().leaving = true;
        let drained = async {
            let turned = Arc::clone(container);
            let turn = self.blocking(move |service| {
                service.settle_readiness(&turned);
                Ok::<_, Error>(())
            });
            if turn.await.is_err() {
                return;
            }
            tokio::time::sleep(UNDER_WAY).await;
            let mut pause = FIRST_PAUSE;
            loop {
                let asked = Arc::clone(container);
                let left = self.blocking(move |service| {
                    Ok::<_, Error>(service.networking.shared_connections(&asked.id))
                });
                match left.await {
                    Ok(Some(connections)) if connections > 0 && container.is_up() => {}
                    _ => return,
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        };
        // What is left then is the program's to end.
        let _ = tokio::time::timeout(most, drained).await;
    }
}

#[cfg(test)]
mod tests {
    use dray_api::container::Health;

    use super::*;

    #[test]
    fn readiness_is_that_of_the_health_check_unless_the_container_is_on_its_way_out() {
        let mut record = Record::default();
        assert_eq!(readiness(&record, false), Readiness::Ready);
        for (status, expected) in [
            ("starting", Readiness::Starting),
            ("unhealthy", Readiness::Unhealthy),
            ("healthy", Readiness::Ready),
        ] {
            record.state.health = Some(Health { status: status.into(), ..Health::default() });
            assert_eq!(readiness(&record, false), expected, "{status}");
        }
        assert_eq!(readiness(&record, true), Readiness::Away);
        record.state.paused = true;
        assert_eq!(readiness(&record, false), Readiness::Away);
    }
}
