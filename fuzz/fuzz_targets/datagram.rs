//! Any datagram to every reader of clear datagrams: at most one kind of it fits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use p2pchat_udp::wire::{
    self,
    announce::Signed,
    packet::{Confirm, Initiation, PacketHeader, Response},
    relay::{self, Relayed},
};

fuzz_target!(|datagram: &[u8]| {
    let fits = [
        PacketHeader::decode(datagram).is_ok(),
        Initiation::decode(datagram).is_ok(),
        Response::decode(datagram).is_ok(),
        Confirm::decode(datagram).is_ok(),
        Signed::decode(datagram).is_ok(),
        is_relayed(datagram),
    ];
    let fitting = fits.iter().filter(|fits| **fits).count();
    assert!(fitting <= 1);
    assert!(fitting == 0 || wire::kind(datagram).is_ok());
});

fn is_relayed(datagram: &[u8]) -> bool {
    let (mut copy, mut again) = (datagram.to_vec(), Vec::new());
    let relayed = Relayed::decode(&mut copy);
    if let Ok(relayed) = &relayed {
        relay::encode(relayed.channel, relayed.datagram, &mut again);
        assert_eq!(again, datagram, "what is relayed has one form");
    }
    relayed.is_ok()
}
