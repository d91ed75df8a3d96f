//! Restart policies: whether a container that ended is started again, and after how long.

use std::time::Duration;

use dray_api::container::RestartPolicy;

/// First pause before a restart; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(100);
/// Longest pause.
const LONGEST: Duration = Duration::from_secs(60);
/// A run of this length makes the next pause a first one.
const LONG_ENOUGH: Duration = Duration::from_secs(10);

/// The pauses of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restarts {
    pause: Duration,
    count: u32,
}

impl Restarts {
    /// Begins anew, as after a start by hand.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// After a run of length `ran` that ended with `exit_code`: the pause before the next one, none
    /// if there shall be none.
    pub fn next(
        &mut self,
        policy: &RestartPolicy,
        exit_code: i32,
        stopped: bool,
        ran: Duration,
    ) -> Option<Duration> {
        if ran >= LONG_ENOUGH {
            self.pause = Duration::ZERO;
        }
        let most = u32::try_from(policy.maximum_retry_count).unwrap_or(0);
        let wanted = match policy.name.as_str() {
            "always" | "unless-stopped" => true,
            "on-failure" => exit_code != 0 && (most == 0 || self.count < most),
            _ => false,
        };
        if !wanted || stopped {
            return None;
        }
        self.pause = if self.pause.is_zero() { FIRST } else { (self.pause * 2).min(LONGEST) };
        self.count += 1;
        Some(self.pause)
    }
}

/// Whether a container found stopped when the daemon starts is started.
pub fn at_boot(policy: &RestartPolicy, exit_code: i32, manually_stopped: bool) -> bool {
    match policy.name.as_str() {
        "always" => true,
        "unless-stopped" => !manually_stopped,
        "on-failure" => exit_code != 0 && !manually_stopped,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(name: &str, count: i64) -> RestartPolicy {
        RestartPolicy { name: name.into(), maximum_retry_count: count }
    }

    const SHORT: Duration = Duration::from_secs(1);

    #[test]
    fn pauses_double_up_to_a_minute_and_a_long_run_resets_them() {
        let mut restarts = Restarts::default();
        let always = policy("always", 0);
        let pauses: Vec<u128> = (0..12)
            .filter_map(|_| restarts.next(&always, 0, false, SHORT))
            .map(|pause| pause.as_millis())
            .collect();
        assert_eq!(pauses[..4], [100, 200, 400, 800]);
        assert_eq!(pauses[10..], [60_000, 60_000]);
        assert_eq!(restarts.next(&always, 0, false, LONG_ENOUGH), Some(FIRST));
    }

    #[test]
    fn on_failure_counts() {
        let mut restarts = Restarts::default();
        let twice = policy("on-failure", 2);
        assert!(restarts.next(&twice, 0, false, SHORT).is_none());
        assert!(restarts.next(&twice, 1, false, SHORT).is_some());
        assert!(restarts.next(&twice, 1, false, SHORT).is_some());
        assert!(restarts.next(&twice, 1, false, SHORT).is_none());
        restarts.reset();
        assert!(restarts.next(&twice, 1, false, SHORT).is_some());
    }

    #[test]
    fn stopped_by_hand_stays_stopped() {
        for name in ["always", "unless-stopped", "on-failure"] {
            assert!(Restarts::default().next(&policy(name, 0), 1, true, SHORT).is_none());
        }
        assert!(Restarts::default().next(&policy("no", 0), 1, false, SHORT).is_none());
        assert!(at_boot(&policy("always", 0), 0, true) && !at_boot(&policy("unless-stopped", 0), 0, true));
    }
}
