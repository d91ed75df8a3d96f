//! Container names: which are allowed, and the ones made up for containers that got none.

use rustix::rand::{GetRandomFlags, getrandom};

/// What a container name must look like, as Docker's error text says it.
pub const ALLOWED: &str = "[a-zA-Z0-9][a-zA-Z0-9_.-]";

const QUALITIES: &[&str] = &[
    "able",
    "airy",
    "amber",
    "apt",
    "ashen",
    "awake",
    "balmy",
    "bold",
    "brisk",
    "bronze",
    "calm",
    "candid",
    "chalky",
    "civil",
    "clear",
    "coastal",
    "cobalt",
    "copper",
    "cosy",
    "crisp",
    "dapper",
    "dawning",
    "deft",
    "dewy",
    "downwind",
    "dry",
    "dusky",
    "eager",
    "early",
    "earnest",
    "even",
    "fair",
    "fleet",
    "fluent",
    "foggy",
    "fond",
    "frank",
    "fresh",
    "frosty",
    "gilded",
    "glad",
    "golden",
    "gusty",
    "hale",
    "handy",
    "hardy",
    "hazel",
    "hearty",
    "humble",
    "inland",
    "ivory",
    "jaunty",
    "jolly",
    "keen",
    "laden",
    "lasting",
    "level",
    "light",
    "limber",
    "lively",
    "loyal",
    "lucid",
    "lunar",
    "mellow",
    "merry",
    "mild",
    "misty",
    "modest",
    "mossy",
    "neat",
    "nimble",
    "noble",
    "northern",
    "oaken",
    "olive",
    "open",
    "patient",
    "pearly",
    "plain",
    "plucky",
    "polar",
    "polite",
    "prompt",
    "proud",
    "quick",
    "quiet",
    "rapid",
    "ready",
    "robust",
    "rosy",
    "ruddy",
    "rustic",
    "salty",
    "sandy",
    "seaworthy",
    "sedate",
    "silent",
    "silver",
    "sleek",
    "smooth",
    "snug",
    "sober",
    "solar",
    "sound",
    "southern",
    "spry",
    "stable",
    "starlit",
    "steady",
    "stout",
    "sturdy",
    "sunlit",
    "sunny",
    "sure",
    "swift",
    "tidal",
    "tidy",
    "timely",
    "tranquil",
    "trim",
    "true",
    "trusty",
    "upbeat",
    "upright",
    "vast",
    "vivid",
    "warm",
    "wary",
    "wavy",
    "willing",
    "windward",
    "wise",
    "witty",
    "woven",
    "zesty",
];

const THINGS: &[&str] = &[
    "anchor",
    "anvil",
    "axle",
    "ballast",
    "barge",
    "barrel",
    "basin",
    "bay",
    "beacon",
    "berth",
    "bollard",
    "bosun",
    "bowline",
    "bow",
    "breakwater",
    "brig",
    "buoy",
    "cable",
    "canal",
    "canvas",
    "capstan",
    "caravan",
    "cargo",
    "cart",
    "carter",
    "cask",
    "cleat",
    "clipper",
    "coble",
    "compass",
    "convoy",
    "cooper",
    "corvette",
    "cove",
    "crane",
    "crate",
    "current",
    "cutter",
    "davit",
    "deck",
    "delta",
    "derrick",
    "dinghy",
    "dory",
    "drover",
    "estuary",
    "fathom",
    "ferry",
    "fjord",
    "flagship",
    "flotilla",
    "freighter",
    "frigate",
    "galleon",
    "galley",
    "gangway",
    "gannet",
    "grapnel",
    "gull",
    "halyard",
    "harbour",
    "harness",
    "haven",
    "hawser",
    "helm",
    "heron",
    "hoist",
    "hold",
    "hull",
    "inlet",
    "islet",
    "jetty",
    "junk",
    "kayak",
    "keel",
    "kelp",
    "ketch",
    "knot",
    "lagoon",
    "lantern",
    "lighter",
    "lockkeeper",
    "longboat",
    "lugger",
    "manifest",
    "mariner",
    "mast",
    "meridian",
    "mooring",
    "narrows",
    "oar",
    "osprey",
    "outrigger",
    "packhorse",
    "packet",
    "pallet",
    "pelican",
    "petrel",
    "pier",
    "pilot",
    "pinnace",
    "plank",
    "plover",
    "porter",
    "prow",
    "pulley",
    "punt",
    "quay",
    "raft",
    "reef",
    "rigger",
    "roadstead",
    "rope",
    "rudder",
    "sail",
    "schooner",
    "scow",
    "sextant",
    "shoal",
    "skiff",
    "skipper",
    "sledge",
    "sloop",
    "spar",
    "spinnaker",
    "steamer",
    "stevedore",
    "strait",
    "tack",
    "tern",
    "tide",
    "tiller",
    "trawler",
    "trolley",
    "tug",
    "valise",
    "wagon",
    "wake",
    "warehouse",
    "wharf",
    "wheel",
    "winch",
    "yawl",
];

/// Whether `name` (without its leading slash) may be given to a container.
pub fn is_valid(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && name.len() > 1
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// A made-up name like `steady_ferry`; from the second attempt on a digit is appended, so that
/// a long run of collisions ends.
pub fn random(attempt: u32) -> String {
    let pick = u64::from_le_bytes(random_bytes());
    let quality = QUALITIES[usize::try_from(pick % QUALITIES.len() as u64).unwrap_or(0)];
    let thing = THINGS[usize::try_from((pick >> 32) % THINGS.len() as u64).unwrap_or(0)];
    match attempt {
        0 => format!("{quality}_{thing}"),
        _ => format!("{quality}_{thing}{}", pick >> 20 & 0xfff),
    }
}

/// A new container (or exec) id: 64 hex digits, whose first 12 are never all decimal, so that a
/// short id cannot be read as a number.
pub fn new_id() -> String {
    loop {
        let bytes: [u8; 32] = random_bytes();
        let id = bytes.iter().fold(String::with_capacity(64), |mut id, byte| {
            let digit = |n: u8| char::from(b"0123456789abcdef"[usize::from(n)]);
            id.push(digit(byte >> 4));
            id.push(digit(byte & 15));
            id
        });
        if !id[..12].bytes().all(|b| b.is_ascii_digit()) {
            return id;
        }
    }
}

fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        // Only an interrupted call can fail here, and it is simply made again.
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty()).unwrap_or(0);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_names_follow_dockers_pattern() {
        for good in ["a1", "web-app", "A.b_c", "0x"] {
            assert!(is_valid(good), "{good}");
        }
        for bad in ["", "a", "-a", "_a", "a b", "a/b", "ä1", "a\n", "a:b"] {
            assert!(!is_valid(bad), "{bad}");
        }
    }

    #[test]
    fn random_names_are_valid() {
        for attempt in 0..50 {
            assert!(is_valid(&random(attempt)));
        }
    }

    #[test]
    fn ids_are_64_hex_and_differ() {
        let (a, b) = (new_id(), new_id());
        assert_eq!(a.len(), 64);
        assert!(a.bytes().all(|c| c.is_ascii_hexdigit() && !c.is_ascii_uppercase()));
        assert_ne!(a, b);
    }
}
