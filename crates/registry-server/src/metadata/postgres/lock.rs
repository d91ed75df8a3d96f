//! Locks of a transaction (`pg_advisory_xact_lock`), which make transactions of many servers as if one came after the
//! other, without making them wait where they need not.
//!
//! ```text
//!                        everything   a repository        the quotas it is under
//! add to a repository    shared       -                   alone, if there are any
//! store a manifest       shared       shared              -        alone, if it depends on what a tag is
//! take something away    shared       alone               -
//! collect garbage        alone        -                   -
//! ```
//! What is added needs only what nobody takes away meanwhile: a manifest its blobs, a link its blob. So those who add
//! share, and those who take away are alone, in the repository or, the collector, everywhere, for one short
//! transaction. Two who add the same row meet at its unique index.
//!
//! Names are locked by a hash: two that share it wait for each other now and then, and no more. The order, everything
//! before repositories before quotas and each by its number, is the same for all, so nobody waits in a circle.

use std::fmt;

use crate::metadata::Quota;
use crate::name::Repository;

/// The first number of each kind of lock: `dray`, and what follows.
const EVERYTHING: i32 = 0x6472_6179;
const REPOSITORY: i32 = EVERYTHING + 1;
const QUOTA: i32 = EVERYTHING + 2;

/// Locks, as statements that take them.
pub(super) struct Locks(Vec<(i32, i32, bool)>);

impl Locks {
    /// Of who adds.
    pub(super) fn adding() -> Self {
        Self(vec![(EVERYTHING, 0, false)])
    }

    /// Of who adds to a repository under quotas.
    pub(super) fn adding_under(quotas: &[Quota]) -> Self {
        let mut locks = Self::adding();
        locks.0.extend(quotas.iter().map(|quota| (QUOTA, hash(&quota.prefix), true)));
        locks
    }

    /// Of who stores a manifest.
    pub(super) fn storing(repository: &Repository) -> Self {
        Self(vec![(EVERYTHING, 0, false), (REPOSITORY, hash(repository.as_str()), false)])
    }

    /// Of who takes something from a repository, or decides by what is in it.
    pub(super) fn taking(repository: &Repository) -> Self {
        Self(vec![(EVERYTHING, 0, false), (REPOSITORY, hash(repository.as_str()), true)])
    }

    /// Of the collector, and of migrations.
    pub(super) fn alone() -> Self {
        Self(vec![(EVERYTHING, 0, true)])
    }
}

impl fmt::Display for Locks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted.dedup();
        for (kind, number, alone) in sorted {
            let shared = if alone { "" } else { "_shared" };
            write!(f, "SELECT pg_advisory_xact_lock{shared}({kind}, {number}); ")?;
        }
        Ok(())
    }
}

/// FNV-1a: the same in every version of this program.
fn hash(text: &str) -> i32 {
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    text.bytes().fold(0x811c_9dc5, step).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_what_they_are() {
        // Servers of several versions share a database.
        assert_eq!((hash(""), hash("a"), hash("team/app")), (-2_128_831_035, -468_965_076, 226_171_688));
        let locks = Locks::storing(&Repository::parse("a").unwrap()).to_string();
        let expected = "SELECT pg_advisory_xact_lock_shared(1685217657, 0); \
                        SELECT pg_advisory_xact_lock_shared(1685217658, -468965076); ";
        assert_eq!(locks, expected);
    }

    #[test]
    fn everybody_takes_them_in_the_same_order() {
        let quota = |prefix: &str| Quota { prefix: prefix.into(), bytes: 1 };
        let one = Locks::adding_under(&[quota("a"), quota("b"), quota("a")]).to_string();
        let other = Locks::adding_under(&[quota("b"), quota("a")]).to_string();
        assert_eq!(one, other);
        assert_eq!(one.matches("pg_advisory").count(), 3);
    }
}
