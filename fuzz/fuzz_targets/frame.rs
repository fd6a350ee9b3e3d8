//! The frames of an opened packet: what is read can be written, at the length foretold, and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use p2pchat_udp::wire::frame::Frames;

fuzz_target!(|payload: &[u8]| {
    for frame in Frames::new(payload).flatten() {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        assert_eq!(bytes.len(), frame.encoded_len());
        assert_eq!(Frames::new(&bytes).collect::<Vec<_>>(), [Ok(frame)]);
    }
});
