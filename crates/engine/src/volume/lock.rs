//! A lock for each volume's name: who changes one waits for whoever changes the same one, not for a plugin that takes
//! its time with another.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The names that are held now.
#[derive(Debug, Default)]
pub(super) struct Names {
    held: Mutex<BTreeSet<String>>,
    freed: Condvar,
}

/// Names that are held until this is dropped.
#[must_use = "the names are held as long as this lives"]
pub(super) struct Held<'a> {
    names: &'a Names,
    own: Vec<String>,
}

impl Names {
    /// Waits for names, and holds all of them at once: nobody waits with one of them in hand.
    pub fn hold(&self, names: &[&str]) -> Held<'_> {
        let mut held = self.held();
        while names.iter().any(|name| held.contains(*name)) {
            held = self.freed.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
        let own: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        held.extend(own.iter().cloned());
        Held { names: self, own }
    }

    fn held(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut held = self.names.held();
        self.own.iter().for_each(|name| {
            held.remove(name);
        });
        self.names.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn one_name_waits_for_itself_and_for_no_other() {
        let names = Names::default();
        let (tell, told) = mpsc::channel();
        std::thread::scope(|scope| {
            let first = names.hold(&["a", "b"]);
            drop(names.hold(&["c"]));
            let (names, later) = (&names, tell.clone());
            scope.spawn(move || {
                let _held = names.hold(&["b", "d"]);
                later.send("second").expect("a listener");
            });
            tell.send("first").expect("a listener");
            drop(first);
        });
        assert_eq!(told.try_iter().collect::<Vec<_>>(), ["first", "second"]);
        drop(names.hold(&["a", "b", "c", "d"]));
    }
}
