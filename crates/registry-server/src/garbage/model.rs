//! The model of the collection beside pushes, and the check of all that can happen in it.
//!
//! One blob, two repositories, two pushers that upload, mount, or find the blob there already and then put a manifest
//! that needs it; somebody who deletes manifests, blobs and uploads; a collector for which everything is old enough;
//! a search for objects that no record names. Each of them may stop for good at any point (a crash) and begin anew. A
//! step is what is one transaction of the metadata or one operation of the storage; between any two steps of one
//! process any steps of the others may come. Every reachable state is visited, breadth first, so a violation is shown
//! with the shortest way to it.
//!
//! The same model with keys that are used again (a blob's digest as its key, as registries usually do it) must be
//! found wanting: that is what the random keys are for, and it shows that the check can fail.

use std::collections::{HashMap, VecDeque};

/// How many objects are made in all: enough for each pusher to upload while an object of the other is being removed.
/// With three of them there are 948,249 states and no violation either; that takes too long for every day.
const KEYS: u8 = 2;
const REPOSITORIES: usize = 2;

/// Keys as bits.
type Keys = u8;

/// What the metadata and the storage hold, and where everybody is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    /// The blob's record: its key.
    blob: Option<u8>,
    links: [bool; REPOSITORIES],
    manifests: [bool; REPOSITORIES],
    uploads: Keys,
    garbage: Keys,
    store: Keys,
    /// How many keys have been made.
    made: u8,
    pushers: [Pusher; 2],
    collector: Collector,
    search: Search,
    /// A deletion may be asked for so many times.
    deletions: u8,
}

/// A client that pushes to the repository of its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Pusher {
    Idle,
    /// The upload's record names the key.
    Named(u8),
    /// The object is there, sealed.
    Written(u8),
    /// The registry has said that the blob is there.
    Ready,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Collector {
    Idle,
    /// It has read these keys from the garbage; the second ones are removed from the storage already.
    Sweeping(Keys, Keys),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Search {
    Idle,
    Listed(Keys),
    Unknown(Keys),
}

/// How keys are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Naming {
    /// Each is new.
    Unique,
    /// There is one for the blob.
    ByDigest,
}

const START: State = State {
    blob: None,
    links: [false; REPOSITORIES],
    manifests: [false; REPOSITORIES],
    uploads: 0,
    garbage: 0,
    store: 0,
    made: 0,
    pushers: [Pusher::Idle; 2],
    collector: Collector::Idle,
    search: Search::Idle,
    deletions: 0,
};

const DELETIONS: u8 = 2;

impl State {
    /// What clients rely on. A manifest is in the state exactly as long as it has been acknowledged and its deletion
    /// has not been asked for.
    fn loss(&self) -> Option<&'static str> {
        let there = self.blob.is_some_and(|key| self.store & 1 << key != 0);
        (self.manifests.contains(&true) && !there).then_some("a manifest whose blob is not in the storage")
    }

    /// What must hold in every state.
    fn violation(&self) -> Option<&'static str> {
        if self.loss().is_some() {
            return self.loss();
        }
        if (0..REPOSITORIES).any(|at| self.manifests[at] && !self.links[at]) {
            return Some("a manifest without the link that it needs");
        }
        if self.links.contains(&true) && self.blob.is_none() {
            return Some("a link to no blob");
        }
        if self.blob.is_some_and(|key| self.garbage & 1 << key != 0) {
            return Some("a blob whose object is garbage");
        }
        None
    }

    /// All states that one step leads to, with the step's name.
    fn next(&self, naming: Naming) -> Vec<(&'static str, State)> {
        let mut steps = Vec::new();
        (0..self.pushers.len()).for_each(|pusher| self.push(pusher, naming, &mut steps));
        self.delete(&mut steps);
        self.collect(&mut steps);
        self.search(&mut steps);
        steps
    }

    fn with(&self, change: impl FnOnce(&mut State)) -> State {
        let mut state = self.clone();
        change(&mut state);
        state
    }

    fn push(&self, at: usize, naming: Naming, steps: &mut Vec<(&'static str, State)>) {
        let mut step =
            |name, change: &dyn Fn(&mut State)| steps.push((name, self.with(|state| change(state))));
        match self.pushers[at] {
            Pusher::Idle => {
                if self.made < KEYS {
                    let key = if naming == Naming::Unique { self.made } else { 0 };
                    step("record an upload and its key", &|s| {
                        s.made += 1;
                        s.uploads |= 1 << key;
                        s.pushers[at] = Pusher::Named(key);
                    });
                }
                if self.links[at] {
                    step("find the blob there already", &|s| s.pushers[at] = Pusher::Ready);
                }
                if self.links[1 - at] {
                    step("mount the blob", &|s| {
                        s.links[at] = true;
                        s.pushers[at] = Pusher::Ready;
                    });
                }
            }
            Pusher::Named(key) => step("write and seal the object", &|s| {
                s.store |= 1 << key;
                s.pushers[at] = Pusher::Written(key);
            }),
            Pusher::Written(key) => step("commit the upload", &|s| s.commit(at, key)),
            Pusher::Ready => step("put the manifest, if its blob is there", &|s| {
                s.manifests[at] |= s.links[at];
                s.pushers[at] = Pusher::Idle;
            }),
        }
        if self.pushers[at] != Pusher::Idle {
            step("a pusher stops", &|s| s.pushers[at] = Pusher::Idle);
        }
    }

    /// One transaction.
    fn commit(&mut self, at: usize, key: u8) {
        self.pushers[at] = Pusher::Idle;
        if self.uploads & 1 << key == 0 {
            return;
        }
        self.uploads &= !(1 << key);
        match self.blob {
            None => self.blob = Some(key),
            Some(known) if known != key => self.garbage |= 1 << key,
            Some(_) => {}
        }
        self.links[at] = true;
        self.pushers[at] = Pusher::Ready;
    }

    fn delete(&self, steps: &mut Vec<(&'static str, State)>) {
        if self.deletions == DELETIONS {
            return;
        }
        for at in 0..REPOSITORIES {
            if self.manifests[at] {
                steps.push((
                    "delete a manifest",
                    self.with(|s| {
                        s.manifests[at] = false;
                        s.deletions += 1;
                    }),
                ));
            } else if self.links[at] {
                steps.push((
                    "delete a blob from a repository",
                    self.with(|s| {
                        s.links[at] = false;
                        s.deletions += 1;
                    }),
                ));
            }
        }
    }

    fn collect(&self, steps: &mut Vec<(&'static str, State)>) {
        let mut step = |name, state| steps.push((name, state));
        match self.collector {
            Collector::Idle => {
                for at in 0..REPOSITORIES {
                    if self.links[at] && !self.manifests[at] {
                        step("collect a link", self.with(|s| s.links[at] = false));
                    }
                }
                if let Some(key) = self.blob.filter(|_| !self.links.contains(&true)) {
                    step(
                        "collect the blob",
                        self.with(|s| {
                            s.blob = None;
                            s.garbage |= 1 << key;
                        }),
                    );
                }
                for key in bits(self.uploads) {
                    step(
                        "give an upload up",
                        self.with(|s| {
                            s.uploads &= !(1 << key);
                            s.garbage |= 1 << key;
                        }),
                    );
                }
                if self.garbage != 0 {
                    step("read the garbage", self.with(|s| s.collector = Collector::Sweeping(s.garbage, 0)));
                }
            }
            Collector::Sweeping(keys, removed) => {
                for key in bits(keys & !removed) {
                    step(
                        "remove an object",
                        self.with(|s| {
                            s.store &= !(1 << key);
                            s.collector = Collector::Sweeping(keys, removed | 1 << key);
                        }),
                    );
                }
                if keys == removed {
                    step(
                        "forget the garbage",
                        self.with(|s| {
                            s.garbage &= !keys;
                            s.collector = Collector::Idle;
                        }),
                    );
                }
                step("the collector stops", self.with(|s| s.collector = Collector::Idle));
            }
        }
    }

    fn search(&self, steps: &mut Vec<(&'static str, State)>) {
        let mut step = |name, state| steps.push((name, state));
        match self.search {
            Search::Idle if self.store != 0 => {
                step("list the objects", self.with(|s| s.search = Search::Listed(s.store)));
            }
            Search::Idle => {}
            Search::Listed(keys) => step(
                "ask which are unknown",
                self.with(|s| {
                    let known = s.uploads | s.garbage | s.blob.map_or(0, |key| 1 << key);
                    s.search = Search::Unknown(keys & !known);
                }),
            ),
            Search::Unknown(0) => step("the search ends", self.with(|s| s.search = Search::Idle)),
            Search::Unknown(keys) => {
                for key in bits(keys) {
                    step(
                        "remove an unknown object",
                        self.with(|s| {
                            s.store &= !(1 << key);
                            s.search = Search::Unknown(keys & !(1 << key));
                        }),
                    );
                }
            }
        }
    }
}

fn bits(keys: Keys) -> impl Iterator<Item = u8> {
    (0..8).filter(move |key| keys & 1 << key != 0)
}

/// What was seen of all states.
#[derive(Debug, Default)]
struct Seen {
    states: usize,
    /// The shortest way to a state in which something does not hold.
    violation: Option<(&'static str, Vec<&'static str>)>,
    /// Whether both manifests were there at once; whether an object was collected and another took its place.
    both: bool,
    replaced: bool,
    /// Whether everything that was made was gone in the end.
    emptied: bool,
}

fn explore(naming: Naming, wrong: fn(&State) -> Option<&'static str>) -> Seen {
    let mut seen = Seen::default();
    let mut came: HashMap<State, Option<(State, &'static str)>> = HashMap::from([(START, None)]);
    let mut queue = VecDeque::from([START]);
    while let Some(state) = queue.pop_front() {
        seen.states += 1;
        if let Some(violation) = wrong(&state) {
            seen.violation = Some((violation, way(&came, &state)));
            return seen;
        }
        seen.both |= state.manifests == [true, true];
        seen.replaced |=
            state.manifests.contains(&true) && state.blob.is_some_and(|key| key > 0) && state.store & 1 == 0;
        seen.emptied |= state.made == KEYS && state.store == 0 && state.garbage == 0 && state.blob.is_none();
        for (step, next) in state.next(naming) {
            if !came.contains_key(&next) {
                came.insert(next.clone(), Some((state.clone(), step)));
                queue.push_back(next);
            }
        }
    }
    seen
}

fn way(came: &HashMap<State, Option<(State, &'static str)>>, to: &State) -> Vec<&'static str> {
    let mut way = Vec::new();
    let mut at = to;
    while let Some(Some((before, step))) = came.get(at) {
        way.push(*step);
        at = before;
    }
    way.reverse();
    way
}

#[test]
fn whatever_happens_what_is_acknowledged_is_there() {
    let seen = explore(Naming::Unique, State::violation);
    assert_eq!(seen.violation, None);
    assert!(seen.both && seen.replaced && seen.emptied, "the interesting states were reached: {seen:?}");
    assert!(seen.states > 30_000, "{} states", seen.states);
}

#[test]
fn keys_that_are_used_again_would_lose_blobs() {
    let seen = explore(Naming::ByDigest, State::loss);
    let (violation, way) = seen.violation.expect("a blob is lost");
    assert_eq!(violation, "a manifest whose blob is not in the storage", "{way:#?}");
    assert!(way.contains(&"put the manifest, if its blob is there"));
}
