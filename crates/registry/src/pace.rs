//! The least that a registry must send: one that drips bytes never falls silent, and would hold a pull for ever.
//!
//! Only the time in which its bytes are waited for counts, not that in which whoever reads them is busy.

use std::time::Duration;

/// How much must come in how long a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Bytes of one answer.
    pub least: u64,
    /// The time that is spent waiting for them.
    pub within: Duration,
}

impl Default for Pace {
    /// 16 KiB a minute, which several streams at once still have over a modem.
    fn default() -> Self {
        Pace { least: 16 * 1024, within: Duration::from_secs(60) }
    }
}

/// What has come of one answer since it was last looked at.
#[derive(Debug)]
pub(crate) struct Meter {
    pace: Pace,
    waited: Duration,
    came: u64,
}

/// Too little has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slow {
    pub(crate) bytes: u64,
    pub(crate) seconds: u64,
}

impl Meter {
    pub(crate) fn new(pace: Pace) -> Self {
        Meter { pace, waited: Duration::ZERO, came: 0 }
    }

    /// How long may still be waited until it is looked at.
    pub(crate) fn left(&self) -> Duration {
        self.pace.within.saturating_sub(self.waited)
    }

    /// So much has come after such a wait; when it is time, it is looked at what that is together.
    pub(crate) fn add(&mut self, waited: Duration, bytes: usize) -> Result<(), Slow> {
        self.waited += waited;
        self.came += bytes as u64;
        if self.waited < self.pace.within {
            return Ok(());
        }
        if self.came < self.pace.least {
            return Err(Slow { bytes: self.came, seconds: self.waited.as_secs() });
        }
        *self = Meter::new(self.pace);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_wait_is_looked_at() {
        let second = Duration::from_secs(1);
        let mut meter = Meter::new(Pace { least: 100, within: 10 * second });
        for _ in 0..100 {
            assert_eq!(meter.add(second, 10), Ok(()), "as much as must come");
        }
        for _ in 0..9 {
            assert_eq!(meter.add(second, 9), Ok(()), "it is not time yet");
        }
        assert_eq!(meter.left(), second);
        assert_eq!(meter.add(second, 9), Err(Slow { bytes: 90, seconds: 10 }));
    }

    #[test]
    fn what_is_there_at_once_is_never_slow() {
        let mut meter = Meter::new(Pace { least: u64::MAX, within: Duration::from_secs(1) });
        assert!((0..1000).all(|_| meter.add(Duration::ZERO, 1).is_ok()));
    }
}
