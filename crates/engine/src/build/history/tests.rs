use std::sync::Arc;

use super::record::{LogFile, Outcome, Thing};
use super::*;

fn history(dir: &std::path::Path) -> Arc<History> {
    History::open(Store::open(dir).expect("a store"))
}

fn build(id: &str, thing: Thing) -> BuildRecord {
    BuildRecord { id: id.into(), thing, ..BuildRecord::default() }
}

fn of(names: &[&str]) -> Thing {
    Thing { names: names.iter().map(|name| (*name).to_owned()).collect(), ..Thing::default() }
}

#[test]
fn a_build_is_there_from_its_beginning_and_after_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let first = history(dir.path());
    let done = first.begin(build("one", of(&[])), NoCache::default());
    assert_eq!(first.find("o").expect("found").outcome(), Outcome::Running);
    assert!(matches!(first.remove("one"), Err(HistoryError::Running(_))));
    done.write(b"log");
    done.finish(End::default());
    let given_up = first.begin(build("two", of(&[])), NoCache::default());
    drop(given_up);
    let killed = first.begin(build("three", of(&[])), NoCache::default());
    killed.write(b"some");
    killed.flush();
    // The daemon is killed: nobody finishes it.
    std::mem::forget(killed);
    let again = {
        let store = first.store.clone();
        drop(first);
        History::open(store)
    };
    let outcome = |id: &str| again.get(id).expect("a store").expect(id).outcome();
    assert_eq!(outcome("one"), Outcome::Completed);
    assert_eq!(outcome("two"), Outcome::Cancelled);
    assert_eq!(outcome("three"), Outcome::Failed);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut again.log("one").expect("a log"), &mut text).expect("read");
    assert_eq!(text, "log");
    let log = again.get("three").expect("a store").expect("three").log.expect("a log");
    assert_eq!((log.size, log.digest), (4, dray_spec::Digest::sha256_of(b"some").to_string()));
}

#[test]
fn builds_are_found_by_reference_beginning_and_place() {
    let dir = tempfile::tempdir().expect("a folder");
    let history = history(dir.path());
    assert!(matches!(history.find(""), Err(HistoryError::Empty)));
    for id in ["aa1", "aa2", "b"] {
        history.begin(build(id, of(&[])), NoCache::default()).finish(End::default());
    }
    let find = |name: &str| history.find(name).map(|record| record.id).map_err(|error| error.to_string());
    assert_eq!(find(""), Ok("b".into()));
    assert_eq!(find("^2"), Ok("aa1".into()));
    assert_eq!(find("aa2"), Ok("aa2".into()));
    assert_eq!(find("aa"), Err("\"aa\" is the beginning of several refs".into()));
    assert_eq!(find("x"), Err("no record found for ref \"x\"".into()));
    assert_eq!(find("^9"), Err("no completed build found with offset 9".into()));
    assert_eq!(find("^x"), Err("invalid offset \"^x\"".into()));
    history.remove("b").expect("removed");
    assert_eq!(find(""), Ok("aa2".into()));
    assert!(!history.log_path("b").exists());
}

#[test]
fn the_history_is_bounded_by_number_age_and_size() {
    let now = Timestamp::now();
    let record = |n: i64, size: u64| BuildRecord {
        id: n.to_string(),
        completed: Some(now - jiff::SignedDuration::from_hours(n)),
        log: Some(LogFile { digest: String::new(), size }),
        ..BuildRecord::default()
    };
    let limits = HistoryLimits { entries: 2, age: Duration::from_secs(4 * 3600) };
    let ids = |records: Vec<BuildRecord>| -> Vec<String> {
        beyond(records, limits, now).into_iter().map(|record| record.id).collect()
    };
    assert_eq!(ids((1..7).map(|n| record(n, 0)).collect()), ["4", "5", "6"]);
    let pinned = |n| BuildRecord { pinned: n == 5, ..record(n, 0) };
    assert_eq!(ids((1..7).map(pinned).collect()), ["4", "6"]);
    assert_eq!(ids((0..50).map(|_| record(1, 0)).collect()).len(), 10);
    assert_eq!(ids(vec![record(1, MOST_BYTES), record(2, 1)]), ["2"]);
    assert!(ids(vec![record(1, MOST_BYTES + 1)]).is_empty(), "the last build stays");
}

#[test]
fn builds_of_the_same_thing_are_known_by_context_and_names() {
    let at = |context: &str, names: &[&str], target: &str| BuildRecord {
        thing: Thing { context: context.into(), target: target.into(), ..of(names) },
        ..BuildRecord::default()
    };
    let near = |a: BuildRecord, b: BuildRecord| nearness(&a, &b);
    assert_eq!(near(at("/a", &["x"], ""), at("/a", &["x"], "")), Some(3));
    assert_eq!(near(at("/a", &["x"], ""), at("/a", &["y"], "")), Some(2));
    assert_eq!(near(at("/a", &["x"], ""), at("/b", &["x"], "")), Some(1));
    assert_eq!(near(at("", &[], ""), at("", &["y"], "")), Some(0));
    assert_eq!(near(at("/a", &["x"], ""), at("/b", &["y"], "")), None);
    assert_eq!(near(at("/a", &["x"], ""), at("/a", &["x"], "test")), None);
}

#[test]
fn limits_are_read_as_they_are_written() {
    let limits: HistoryLimits = "max-entries=7,max-age=1h30m".parse().expect("limits");
    assert_eq!(limits, HistoryLimits { entries: 7, age: Duration::from_secs(5400) });
    assert_eq!("".parse(), Ok(HistoryLimits::default()));
    for wrong in ["x", "max-entries=-1", "max-age=-1h", "max-size=1"] {
        assert!(wrong.parse::<HistoryLimits>().is_err(), "{wrong}");
    }
}
