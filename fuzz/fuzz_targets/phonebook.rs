//! A query, an answer, a probe: from any bytes, and back to the same value.
#![no_main]

use libfuzzer_sys::fuzz_target;
use p2pchat_udp::wire::{
    KIND_ANSWER, KIND_QUERY, MAGIC, WIRE_VERSION,
    phonebook::{Answer, Query, answer_txid, other_version},
    probe::Probe,
};

fuzz_target!(|body: &[u8]| {
    if let Ok(probe) = Probe::decode(body) {
        assert_eq!(probe.encode(), body, "a probe has one form");
    }
    for kind in [KIND_QUERY, KIND_ANSWER] {
        let mut datagram = vec![kind];
        datagram.extend(MAGIC);
        datagram.push(WIRE_VERSION);
        datagram.extend_from_slice(body);
        let mut again = Vec::new();
        if let Ok((header, query)) = Query::decode(&datagram) {
            query.encode(header, &mut again);
            assert_eq!(Query::decode(&again), Ok((header, query)));
        }
        if let Ok((header, answer)) = Answer::decode(&datagram) {
            answer.encode(header, &mut again);
            assert_eq!(Answer::decode(&again), Ok((header, answer)));
            assert_eq!(answer_txid(&datagram), Some(header.txid));
        }
        if let Some(told) = other_version(&datagram) {
            assert!(told.len() <= datagram.len(), "no answer is longer than its query");
        }
    }
});
