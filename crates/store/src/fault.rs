//! Fault points: named places right before and after each durable write, where the crash tests kill the
//! process. In anything but this crate's own tests they are nothing at all.

#[cfg(test)]
pub(crate) use armed::{POINTS, VARIABLE};

/// Dies here if a test has asked for it.
#[cfg(not(test))]
#[inline(always)]
pub(crate) fn point(_name: &'static str) {}

/// Dies here if a test has asked for it.
#[cfg(test)]
pub(crate) fn point(name: &'static str) {
    armed::pass(name);
}

#[cfg(test)]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Every fault point of this crate; `tests/crash.rs` kills at each of them.
    pub(crate) const POINTS: &[&str] = &[
        "blob.written",
        "blob.synced",
        "blob.renamed",
        "blob.done",
        "blob.relaxed",
        "layer.unpacked",
        "layer.row",
        "layer.renamed",
        "layer.done",
        "db.before-commit",
        "db.after-commit",
        "db.flushed",
        "collect.rows-gone",
        "collect.layer-moved",
        "collect.blob-gone",
        "collect.folder-gone",
    ];

    /// `name:n`: which point kills, at its n-th passing (from 0).
    pub(crate) const VARIABLE: &str = "DRAY_STORE_TEST_FAULT";

    static PASSED: AtomicU32 = AtomicU32::new(0);

    pub(super) fn pass(name: &str) {
        static ARMED: OnceLock<Option<(String, u32)>> = OnceLock::new();
        let armed = ARMED.get_or_init(|| {
            let text = std::env::var(VARIABLE).ok()?;
            let (name, count) = text.split_once(':')?;
            Some((name.into(), count.parse().ok()?))
        });
        if let Some((wanted, count)) = armed
            && wanted == name
            && PASSED.fetch_add(1, Ordering::SeqCst) == *count
        {
            // As `kill -9`: no destructor runs.
            std::process::abort();
        }
    }
}
