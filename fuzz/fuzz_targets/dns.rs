//! Queries that a container sends to its resolver: every answer fits the transport and repeats the query's id.
#![no_main]

use std::net::IpAddr;

use dray_network::dns::{Action, Lookup, handle};
use libfuzzer_sys::fuzz_target;

struct Names;

impl Lookup for Names {
    fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        match name.len() {
            0 => None,
            length => Some((0..length * 8).map(|n| IpAddr::from([10, 0, 0, n as u8])).collect()),
        }
    }

    fn name_of(&self, _: IpAddr) -> Option<String> {
        Some("db.mynet".into())
    }

    fn is_private(&self, name: &str) -> bool {
        name.is_empty()
    }

    fn is_ours(&self, _: IpAddr) -> bool {
        false
    }
}

fuzz_target!(|query: &[u8]| {
    for udp in [true, false] {
        if let Action::Reply(answer) = handle(query, udp, &Names) {
            assert_eq!(answer[..2], query[..2]);
            assert!(answer.len() <= usize::from(u16::MAX));
        }
    }
});
