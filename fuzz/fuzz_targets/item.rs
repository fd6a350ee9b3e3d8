//! Items: what is read can be written, and read again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use p2pchat_udp::wire::message::Item;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(item) = Item::decode(bytes) {
        assert_eq!(Item::decode(&item.encode()), Ok(item));
    }
});
