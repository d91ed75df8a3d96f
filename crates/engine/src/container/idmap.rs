//! Who owns the files of a bind mount or a volume, as the container sees them: id-mapped mounts (mount_setattr(2)).
//!
//! A mapping changes what is seen and what is written, for this mount alone: on the disk nothing changes owner, and what
//! the container's user makes there belongs to the owner of the source.

use dray_spec::runtime::IdMapping;
use serde::{Deserialize, Serialize};

use super::mount::Error;

/// How owners on the disk become owners in the container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ids {
    /// They are the same.
    #[default]
    Same,
    /// The owner of the source is the user that the container runs as, and the other way round.
    MatchUser,
    /// The owner of the source is root in the container, and the other way round.
    OwnerIsRoot,
    /// Those of these ranges, nobody else.
    Mapped {
        /// Users.
        uids: Vec<IdMapping>,
        /// Groups.
        gids: Vec<IdMapping>,
    },
}

/// User and group.
pub type Owner = (u32, u32);

/// Mappings of users and of groups; `container_id` is on the disk, `host_id` in the container.
pub type Mappings = (Vec<IdMapping>, Vec<IdMapping>);

impl Ids {
    /// Reads what a mount asks for: `idmap` (true for the word alone), `uids=DISK-CONTAINER-COUNT#…;gids=…`.
    ///
    /// # Errors
    /// If it is none of these, or both are asked for.
    pub fn parse(map: &str, match_user: bool) -> Result<Self, Error> {
        match (map, match_user) {
            ("", false) => Ok(Ids::Same),
            ("", true) => Ok(Ids::MatchUser),
            (_, true) => Err(Error::Conflict("IDMap && MatchUser")),
            ("true", false) => Ok(Ids::OwnerIsRoot),
            (text, false) => ranges(text).ok_or_else(|| Error::IdMap(text.to_owned())),
        }
    }

    /// The mappings for a source with this owner in a container with this user; none if nothing is to be mapped.
    pub fn mappings(&self, source: Owner, user: Owner) -> Option<Mappings> {
        let to = match self {
            Ids::Same => return None,
            Ids::Mapped { uids, gids } => return Some((uids.clone(), gids.clone())),
            Ids::MatchUser => user,
            Ids::OwnerIsRoot => (0, 0),
        };
        (source != to).then(|| (exchange(source.0, to.0), exchange(source.1, to.1)))
    }
}

/// All ids as they are but for two, which change places.
fn exchange(a: u32, b: u32) -> Vec<IdMapping> {
    let (low, high) = (a.min(b), a.max(b));
    let same = |from: u32, to: u32| IdMapping { container_id: from, host_id: from, size: to - from };
    let one = |on_disk: u32, seen: u32| IdMapping { container_id: on_disk, host_id: seen, size: 1 };
    if low == high {
        return vec![same(0, u32::MAX)];
    }
    let all = [
        same(0, low),
        one(low, high),
        same(low + 1, high),
        one(high, low),
        // The last number is nobody's.
        same(high.saturating_add(1), u32::MAX),
    ];
    all.into_iter().filter(|range| range.size > 0).collect()
}

fn ranges(text: &str) -> Option<Ids> {
    let (mut uids, mut gids) = (Vec::new(), Vec::new());
    for part in text.split(';') {
        let (name, list) = part.split_once('=')?;
        let into = match name {
            "uids" if uids.is_empty() => &mut uids,
            "gids" if gids.is_empty() => &mut gids,
            _ => return None,
        };
        for range in list.split('#') {
            let numbers: Vec<u32> = range.split('-').map(str::parse).collect::<Result<_, _>>().ok()?;
            let [container_id, host_id, size] = numbers[..] else { return None };
            let fits = |first: u32| first.checked_add(size).is_some();
            if size == 0 || !fits(container_id) || !fits(host_id) {
                return None;
            }
            into.push(IdMapping { container_id, host_id, size });
        }
    }
    // A namespace has both, and the kernel takes so many ranges.
    let sane = |list: &Vec<IdMapping>| (1..=340).contains(&list.len());
    (sane(&uids) && sane(&gids)).then_some(Ids::Mapped { uids, gids })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(mappings: &[IdMapping]) -> Vec<(u32, u32, u32)> {
        mappings.iter().map(|range| (range.container_id, range.host_id, range.size)).collect()
    }

    #[test]
    fn two_change_places_and_the_others_stay() {
        let max = u32::MAX;
        let expected = [(0, 0, 999), (999, 1000, 1), (1000, 999, 1), (1001, 1001, max - 1001)];
        assert_eq!(shown(&exchange(1000, 999)), expected);
        assert_eq!(shown(&exchange(0, 5)), [(0, 5, 1), (1, 1, 4), (5, 0, 1), (6, 6, max - 6)]);
        assert_eq!(shown(&exchange(0, max - 1)), [(0, max - 1, 1), (1, 1, max - 2), (max - 1, 0, 1)]);
        assert_eq!(shown(&exchange(7, 7)), [(0, 0, max)]);
    }

    #[test]
    fn a_mount_says_what_it_wants() {
        let parse = |map, match_user| Ids::parse(map, match_user).map_err(|error| error.to_string());
        assert_eq!(parse("", false), Ok(Ids::Same));
        let root = parse("true", false).unwrap();
        assert_eq!(root.mappings((0, 0), (33, 33)), None, "it is root already");
        let (uids, gids) = root.mappings((1000, 100), (33, 33)).unwrap();
        assert_eq!((shown(&uids)[0], shown(&gids)[0]), ((0, 1000, 1), (0, 100, 1)));
        assert_eq!(parse("", true).unwrap().mappings((33, 33), (33, 33)), None);
        let Ids::Mapped { uids, gids } = parse("uids=0-1-10#10-11-10;gids=0-100-1", false).unwrap() else {
            panic!("ranges")
        };
        assert_eq!(shown(&uids), [(0, 1, 10), (10, 11, 10)]);
        assert_eq!(shown(&gids), [(0, 100, 1)]);
        for wrong in [
            "uids=0-0-1",
            "x",
            "uids=0-1;gids=0-0-1",
            "uids=0-0-0;gids=0-0-1",
            "uids=1-1-4294967295;gids=0-0-1",
        ] {
            assert_eq!(
                parse(wrong, false).unwrap_err(),
                format!(
                    "invalid id mapping {wrong:?}: it is written uids=DISK-CONTAINER-COUNT#…;gids=DISK-CONTAINER-COUNT#…"
                )
            );
        }
        assert_eq!(parse("true", true).unwrap_err(), "mount options conflict: IDMap && MatchUser");
    }
}
