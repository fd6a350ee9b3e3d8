//! A record from any bytes, before and after its signature check; and what a knock says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use p2pchat_udp::{
    crypto::record::verify_record,
    wire::record::{Claim, Knock, RECORD_LEN_MAX, Record},
};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(record) = Record::decode(bytes) {
        let claim = Claim::decode(bytes).expect("what is a record is a claim");
        assert_eq!((&claim.id, claim.seq, claim.name), (record.id.as_bytes(), record.seq, record.name.as_str()));
        assert_eq!((claim.expires(), claim.is_farewell()), (record.expires(), record.is_farewell()));
        let again = record.encode();
        assert!(again.len() <= RECORD_LEN_MAX, "{} bytes", again.len());
        assert_eq!(Record::decode(&again), Ok(record));
    }
    if let Some((signature, bytes)) = bytes.split_first_chunk() {
        assert!(verify_record(bytes, signature).is_err(), "the fuzzer holds no key");
    }
    if let Ok(knock) = Knock::decode(bytes) {
        assert_eq!(Knock::decode(&knock.encode()), Ok(knock));
    }
});
