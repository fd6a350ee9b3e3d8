//! Rows as a damaged disk returns them: a row or an error, and a row that is read can be written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use p2pchat_udp::store::row::{Contact, ConversationRow, HistoryRow, OutboxRow};

macro_rules! rows {
    ($bytes:expr, $($row:ty),*) => {
        $(if let Ok(row) = rmp_serde::from_slice::<$row>($bytes) {
            let again = rmp_serde::to_vec_named(&row).expect("a row can be written");
            assert_eq!(rmp_serde::from_slice::<$row>(&again).expect("and read"), row);
        })*
    };
}

fuzz_target!(|bytes: &[u8]| {
    rows!(bytes, Contact, ConversationRow, HistoryRow, OutboxRow);
});
