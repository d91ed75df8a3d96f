//! One target over another: what it inherits, what further files say.

use std::collections::{BTreeMap, BTreeSet};

use super::entry::{Attest, Secret, Ssh};
use super::{Pairs, Target};

fn replace<T: Clone>(old: &mut Option<T>, new: &Option<T>) {
    if new.is_some() {
        old.clone_from(new);
    }
}

fn extend<T: Clone>(old: &mut Option<Vec<T>>, new: &Option<Vec<T>>) {
    if let Some(new) = new {
        old.get_or_insert_default().extend(new.iter().cloned());
    }
}

/// Names without a value take nothing away.
fn add(old: &mut Option<Pairs>, new: &Option<Pairs>) {
    for (name, value) in new.iter().flatten().filter(|(_, value)| value.is_some()) {
        old.get_or_insert_default().insert(name.clone(), value.clone());
    }
}

impl Target {
    /// Puts another target over this one.
    pub(crate) fn merge(&mut self, over: &Target) {
        replace(&mut self.context, &over.context);
        replace(&mut self.dockerfile, &over.dockerfile);
        replace(&mut self.dockerfile_inline, &over.dockerfile_inline);
        add(&mut self.args, &over.args);
        add(&mut self.labels, &over.labels);
        add(&mut self.extra_hosts, &over.extra_hosts);
        for (name, context) in over.contexts.iter().flatten() {
            self.contexts.get_or_insert_default().insert(name.clone(), context.clone());
        }
        replace(&mut self.tags, &over.tags);
        replace(&mut self.target, &over.target);
        replace(&mut self.call, &over.call);
        extend(&mut self.annotations, &over.annotations);
        extend(&mut self.attest, &over.attest);
        by_key(&mut self.attest, |attest: &Attest| attest.kind.clone());
        extend(&mut self.secrets, &over.secrets);
        by_key(&mut self.secrets, |secret: &Secret| secret.id.clone());
        extend(&mut self.ssh, &over.ssh);
        by_key(&mut self.ssh, |ssh: &Ssh| ssh.id.clone());
        replace(&mut self.platforms, &over.platforms);
        extend(&mut self.cache_from, &over.cache_from);
        without_doubles(&mut self.cache_from);
        replace(&mut self.cache_to, &over.cache_to);
        replace(&mut self.outputs, &over.outputs);
        replace(&mut self.pull, &over.pull);
        replace(&mut self.no_cache, &over.no_cache);
        replace(&mut self.network, &over.network);
        extend(&mut self.no_cache_filter, &over.no_cache_filter);
        replace(&mut self.shm_size, &over.shm_size);
        extend(&mut self.ulimits, &over.ulimits);
        if !over.description.is_empty() {
            self.description.clone_from(&over.description);
        }
        extend(&mut self.entitlements, &over.entitlements);
        extend(&mut self.inherits, &over.inherits);
    }

    /// Takes away what is there twice, or empty.
    pub(crate) fn normalise(&mut self) {
        once(&mut self.annotations);
        by_key(&mut self.attest, |attest: &Attest| attest.kind.clone());
        once(&mut self.tags);
        by_key(&mut self.secrets, |secret: &Secret| secret.id.clone());
        by_key(&mut self.ssh, |ssh: &Ssh| ssh.id.clone());
        once(&mut self.platforms);
        without_doubles(&mut self.cache_from);
        without_doubles(&mut self.cache_to);
        without_doubles(&mut self.outputs);
        once(&mut self.no_cache_filter);
        once(&mut self.ulimits);
        if self.network.as_deref() == Some("host") {
            self.entitlements.get_or_insert_default().push("network.host".to_owned());
        }
        once(&mut self.entitlements);
        if let Some(contexts) = &mut self.contexts {
            contexts.retain(|_, context| !context.is_empty());
        }
        self.contexts = self.contexts.take().filter(|contexts: &BTreeMap<_, _>| !contexts.is_empty());
    }
}

/// Each text once, none that is empty.
fn once(texts: &mut Option<Vec<String>>) {
    let mut seen = BTreeSet::new();
    if let Some(texts) = texts {
        texts.retain(|text| !text.is_empty() && seen.insert(text.clone()));
    }
}

/// The last one of each key, where the first one was.
pub(super) fn by_key<T: Clone>(all: &mut Option<Vec<T>>, key: fn(&T) -> String) {
    let Some(all) = all else { return };
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut kept: Vec<T> = Vec::new();
    for one in all.drain(..) {
        match places.get(&key(&one)) {
            Some(place) => kept[*place] = one,
            None => {
                places.insert(key(&one), kept.len());
                kept.push(one);
            }
        }
    }
    *all = kept;
}

/// Each once; the last one comes to where a double was, as buildx does it, so that the order is the same.
pub(super) fn without_doubles<T: PartialEq>(all: &mut Option<Vec<T>>) {
    let Some(all) = all else { return };
    for at in (0..all.len().saturating_sub(1)).rev() {
        if let Some(double) = (at + 1..all.len()).find(|other| all[*other] == all[at]) {
            all.swap_remove(double);
        }
    }
}
