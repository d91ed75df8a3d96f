//! What a file may cost. A few lines can ask for more than any machine has: variables that each hold the one before
//! twice, ranges of ports on many lines, services that all extend a large one, files that include one another.

use std::cell::Cell;

/// So much may be used, and no more.
#[derive(Debug)]
pub struct Allowance {
    left: Cell<usize>,
}

impl Allowance {
    /// So much.
    pub const fn new(amount: usize) -> Allowance {
        Allowance { left: Cell::new(amount) }
    }

    /// Uses some; whether there was enough.
    #[must_use]
    pub fn take(&self, amount: usize) -> bool {
        let rest = self.left.get().checked_sub(amount);
        self.left.set(rest.unwrap_or(0));
        rest.is_some()
    }
}

/// What the files of one project may cost together.
#[derive(Debug)]
pub struct Allowances {
    /// Bytes that variables bring into values.
    pub expanded: Allowance,
    /// Ports of all services.
    pub ports: Allowance,
    /// Values that services take over from others.
    pub extended: Allowance,
    /// Bytes of files; what is read again counts again.
    pub read: Allowance,
}

/// Bytes that variables may bring.
pub const EXPANDED: usize = 64 << 20;
/// Ports that services may have.
pub const PORTS: usize = 200_000;
/// Values that services may take over.
pub const EXTENDED: usize = 5_000_000;
/// Bytes that may be read.
pub const READ: usize = 256 << 20;

impl Default for Allowances {
    fn default() -> Allowances {
        Allowances {
            expanded: Allowance::new(EXPANDED),
            ports: Allowance::new(PORTS),
            extended: Allowance::new(EXTENDED),
            read: Allowance::new(READ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_no_more_than_there_is() {
        let allowance = Allowance::new(3);
        assert!(allowance.take(2));
        assert!(allowance.take(1));
        assert!(!allowance.take(1));
        assert!(allowance.take(0));
    }
}
