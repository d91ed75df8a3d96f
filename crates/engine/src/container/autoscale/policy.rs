//! How many containers a service should have, by what those that it has do: pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::Deserialize;

/// Within this of the target nothing is changed.
const TOLERANCE: f64 = 0.1;

/// What a service is scaled by, as its containers' label says it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Policy {
    /// As few containers.
    pub min: usize,
    /// As many containers.
    pub max: usize,
    /// Percent of one CPU that one is to use.
    pub cpu: Option<f64>,
    /// Connections that one is to have.
    pub connections: Option<f64>,
    /// Milliseconds for which it has to be too much.
    up_after: u64,
    /// Milliseconds for which it has to be too little.
    down_after: u64,
}

/// What a service's containers do, on average.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Percent of one CPU.
    pub cpu: f64,
    /// Connections.
    pub connections: f64,
}

impl Policy {
    /// The policy of a label.
    ///
    /// # Errors
    /// The text is no policy, or one that cannot be followed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let policy: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let target = |target: Option<f64>| target.is_none_or(|target| target.is_finite() && target > 0.0);
        let some = policy.cpu.is_some() || policy.connections.is_some();
        let good = policy.min > 0 && policy.min <= policy.max && some;
        if good && target(policy.cpu) && target(policy.connections) {
            Ok(policy)
        } else {
            Err("it needs 0 < min <= max and a target above 0".to_owned())
        }
    }

    /// How many containers this load is for, where there are so many now.
    pub fn wanted(&self, now: usize, load: Load) -> usize {
        let by = |value: f64, target: Option<f64>| {
            let ratio = target.map(|target| value / target)?;
            if (ratio - 1.0).abs() <= TOLERANCE {
                return Some(now);
            }
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_precision_loss,
                clippy::cast_sign_loss,
                reason = "a number of containers, which the clamp below bounds"
            )]
            Some((now as f64 * ratio).ceil() as usize)
        };
        let wanted = [by(load.cpu, self.cpu), by(load.connections, self.connections)];
        wanted.into_iter().flatten().max().unwrap_or(now).clamp(self.min, self.max)
    }

    fn up_after(&self) -> Duration {
        Duration::from_millis(self.up_after)
    }

    fn down_after(&self) -> Duration {
        Duration::from_millis(self.down_after)
    }
}

/// What has been wanted of late. One look alone changes nothing: more containers come when all of them wanted more for
/// some time, and some go when all wanted fewer, as many as the most careful of them said.
#[derive(Clone, Debug, Default)]
pub struct History {
    looks: VecDeque<(Instant, usize)>,
}

impl History {
    /// Begins anew: what was before says nothing of what is now.
    pub fn clear(&mut self) {
        self.looks.clear();
    }

    /// Takes a look in. Gives how many containers there shall be, if that is to change.
    pub fn decide(&mut self, at: Instant, now: usize, wanted: usize, policy: &Policy) -> Option<usize> {
        if now < policy.min || now > policy.max {
            self.clear();
            return Some(now.clamp(policy.min, policy.max));
        }
        self.looks.push_back((at, wanted));
        let longest = policy.up_after().max(policy.down_after());
        // The oldest one that is kept covers the whole time.
        while self.looks.get(1).is_some_and(|(second, _)| at.duration_since(*second) >= longest) {
            self.looks.pop_front();
        }
        let up = self.within(at, policy.up_after()).and_then(|looks| looks.min()).filter(|up| *up > now);
        let down = self.within(at, policy.down_after()).and_then(|looks| looks.max()).filter(|n| *n < now);
        let decided = up.or(down);
        if decided.is_some() {
            self.clear();
        }
        decided
    }

    /// What was wanted within a time until now, if that was looked at from its beginning on.
    fn within(&self, at: Instant, time: Duration) -> Option<impl Iterator<Item = usize> + '_> {
        let covers = self.looks.front().is_some_and(|(first, _)| at.duration_since(*first) >= time);
        let first = self.looks.iter().rposition(|(then, _)| at.duration_since(*then) >= time)?;
        covers.then(|| self.looks.iter().skip(first).map(|(_, wanted)| *wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        let text = r#"{"min":1,"max":5,"cpu":50,"connections":null,"up_after":2000,"down_after":10000}"#;
        Policy::parse(text).unwrap()
    }

    fn cpu(cpu: f64) -> Load {
        Load { cpu, ..Load::default() }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "x",
            "{}",
            r#"{"min":0,"max":5,"cpu":50,"up_after":1,"down_after":1}"#,
            r#"{"min":3,"max":2,"cpu":50,"up_after":1,"down_after":1}"#,
            r#"{"min":1,"max":2,"cpu":0,"up_after":1,"down_after":1}"#,
            r#"{"min":1,"max":2,"up_after":1,"down_after":1}"#,
        ] {
            Policy::parse(text).expect_err(text);
        }
    }

    #[test]
    fn what_is_wanted_goes_with_the_load() {
        let policy = policy();
        for (now, load, wanted) in [
            (1, 50.0, 1),
            (1, 54.0, 1),
            (1, 60.0, 2),
            (2, 100.0, 4),
            (3, 1000.0, 5),
            (4, 10.0, 1),
            (4, 26.0, 3),
            (4, 0.0, 1),
        ] {
            assert_eq!(policy.wanted(now, cpu(load)), wanted, "{now} at {load}");
        }
        let both = Policy { connections: Some(10.0), ..policy };
        assert_eq!(both.wanted(2, Load { cpu: 10.0, connections: 20.0 }), 4, "what asks for more counts");
    }

    #[test]
    fn it_has_to_last_and_the_most_careful_look_counts() {
        let policy = policy();
        let mut history = History::default();
        let begin = Instant::now();
        let mut look = |second: u64, now, wanted| {
            history.decide(begin + Duration::from_secs(second), now, wanted, &policy)
        };
        assert_eq!(look(0, 1, 4), None);
        assert_eq!(look(1, 1, 5), None);
        assert_eq!(look(2, 1, 3), Some(3), "for two seconds, at least three");
        assert_eq!(look(3, 3, 5), None, "it begins anew");
        assert_eq!(look(4, 3, 3), None);
        assert_eq!(look(5, 3, 5), None, "once it was enough");
        for second in 6..16 {
            assert_eq!(look(second, 3, if second == 9 { 2 } else { 1 }), None, "{second}");
        }
        assert_eq!(look(16, 3, 1), Some(2), "for ten seconds, at most two");
        assert_eq!(look(17, 7, 7), Some(5), "more than there may be");
    }
}
