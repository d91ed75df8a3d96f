//! What BuildKit's clients send: graphs of operations that may lead in circles, packets of files, requests.
#![no_main]

use dray_buildkit::proto::{Definition, control, gateway, session};
use dray_spec::Digest;
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(definition) = Definition::decode(bytes) {
        let files = definition.files(|operation| Digest::sha256_of(operation).to_string());
        // The same is read again of what would be sent on.
        let again = Definition::decode(&definition.encode_to_vec()[..]).expect("its own form");
        assert_eq!(again.files(|operation| Digest::sha256_of(operation).to_string()), files);
        assert_eq!(again.result(), definition.result());
    }
    if let Ok(packet) = session::Packet::decode(bytes)
        && let Some(stat) = &packet.stat
    {
        let _ = stat.kind();
    }
    let _ = control::SolveRequest::decode(bytes);
    let _ = gateway::SolveRequest::decode(bytes);
});
