//! A peer that is no node: made of handshake and session alone, it says what no node of this version
//! says. Here: a peer from the future, which speaks a newer version with everything that the wire lets
//! newer versions add (protocol, ENCODINGS).

use std::{net::SocketAddr, time::Duration};

use p2pchat_udp::{
    clock::Instant,
    crypto::{handshake::Responder, identity::Identity},
    id::{BootId, Incarnation, MessageId, PeerId, Seq, SessionIndex},
    session::{CREDIT_FULL, PathAddr, Session, SessionConfig, SessionEvent},
    wire::{
        KIND_CONFIRM, KIND_INITIATION, KIND_PACKET,
        announce::Announce,
        message::{Admission, Content, Conversation, HandshakePayload, Item, Mine, Receipt},
    },
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::network::{Parcel, SESSION_PORT, To};

/// The boot of its only run.
const BOOT: BootId = BootId(9_000);
const INCARNATION: Incarnation = Incarnation(77);

/// A peer of a later version.
pub(crate) struct Future {
    identity: Identity,
    rng: ChaCha20Rng,
    responder: Option<Responder>,
    session: Option<Session>,
    announced: u64,
    /// What the other side sent, as decoded items.
    pub(crate) heard: Vec<Item>,
    greeted: bool,
    said: u64,
    /// What leaves next.
    out: Vec<(To, Vec<u8>)>,
}

impl Future {
    pub(crate) fn new(rng_seed: u8) -> Self {
        let mut rng = ChaCha20Rng::from_seed([rng_seed; 32]);
        Self {
            identity: Identity::generate(&mut rng),
            rng,
            responder: None,
            session: None,
            announced: 0,
            heard: Vec::new(),
            greeted: false,
            said: 0,
            out: Vec::new(),
        }
    }

    pub(crate) fn id(&self) -> PeerId {
        self.identity.id()
    }

    /// Announces itself with flags and fields that this version does not know.
    pub(crate) fn announce(&mut self, interface: u32) {
        self.announced += 1;
        let announce = Announce {
            id: self.id(),
            boot: BOOT,
            seq: self.announced,
            port: SESSION_PORT,
            ttl: 60,
            network: [0; 8],
            flags: 0b1110_0000,
            peers: 1,
            digest: 0,
            nonce: 0,
            name: "future".to_owned(),
            ext: [&[0x81, 0xa3][..], b"new", &[0xc3]].concat(),
            pad: 0,
        };
        let datagram = self.identity.sign_announce(&announce);
        self.out.push((To::Multicast { interface, v6: false }, datagram));
    }

    fn payload(&self) -> HandshakePayload {
        let features = vec!["rooms".to_owned(), "files".to_owned()];
        HandshakePayload { version: 9, boot: BOOT, features, software: "p2pchat-udp/9.0".to_owned() }
    }

    /// Takes a datagram.
    pub(crate) fn handle(&mut self, now: Instant, parcel: &mut Parcel) {
        let from = PathAddr::direct(parcel.from, true);
        match parcel.bytes.first() {
            Some(&KIND_INITIATION) => self.on_initiation(parcel.from, &parcel.bytes),
            Some(&KIND_CONFIRM) => {
                let established = self.responder.as_mut().and_then(|responder| responder.on_confirm(&parcel.bytes).ok());
                if let Some(established) = established {
                    self.session = Some(Session::new(established, from, SessionConfig::default(), now, &mut self.rng));
                }
            }
            Some(&KIND_PACKET) => {
                if let Some(session) = &mut self.session {
                    let _ = session.handle_datagram(now, from, &mut parcel.bytes);
                }
            }
            _ => {}
        }
        self.turn(now);
    }

    fn on_initiation(&mut self, from: SocketAddr, datagram: &[u8]) {
        if let Some(responder) = self.responder.as_ref().filter(|responder| responder.answers(datagram)) {
            self.out.push((To::Unicast(from), responder.response().to_vec()));
            return;
        }
        let (index, payload) = (SessionIndex(4_711), self.payload());
        if let Ok((responder, response)) = Responder::new(&self.identity, "", datagram, index, &payload, &mut self.rng) {
            self.responder = Some(responder);
            self.session = None;
            self.greeted = false;
            self.out.push((To::Unicast(from), response));
        }
    }

    /// Time passes.
    pub(crate) fn turn(&mut self, now: Instant) {
        let Some(session) = &mut self.session else { return };
        if session.poll_timeout().is_some_and(|at| at <= now) {
            session.handle_timeout(now);
        }
        while let Some(event) = session.poll_event() {
            match event {
                SessionEvent::Opened => self.greeted = true,
                SessionEvent::Received { bytes, .. } => {
                    session.consumed(bytes.len());
                    let item = Item::decode(&bytes).expect("a node sends sound items");
                    match &item {
                        Item::Admission(_) => greet(session),
                        Item::Content(content) => {
                            let delivered = vec![(content.seq, content.seq)];
                            let receipt = Receipt { incarnation: content.incarnation, delivered, ..Receipt::default() };
                            session.send_control(with_more(Item::Receipt(receipt)));
                        }
                        _ => {}
                    }
                    self.heard.push(item);
                }
                _ => {}
            }
        }
        let mut datagram = Vec::new();
        while let Some(path) = session.poll_transmit(now, &mut datagram) {
            self.out.push((To::Unicast(path.remote), datagram.clone()));
        }
    }

    /// True once its session is open and it has said hello.
    pub(crate) fn is_open(&self) -> bool {
        self.greeted
    }

    /// Says something of a content kind.
    pub(crate) fn say(&mut self, id: MessageId, kind: u64, text: &str) {
        self.said += 1;
        // A map of one field: "colour": 7.
        let more = [&[0x81, 0xa6][..], b"colour", &[7]].concat();
        let content = Content {
            conversation: None,
            incarnation: INCARNATION,
            seq: Seq(self.said),
            id,
            author: None,
            age_ms: 0,
            kind,
            text: text.to_owned(),
            more,
        };
        let session = self.session.as_mut().expect("open");
        session.send_message(Item::Content(content).encode());
    }

    /// Says this, whatever a sound program would.
    pub(crate) fn control(&mut self, item: &Item) {
        self.session.as_mut().expect("open").send_control(item.encode());
    }

    /// What leaves now.
    pub(crate) fn leaving(&mut self) -> Vec<(To, Vec<u8>)> {
        std::mem::take(&mut self.out)
    }

    /// How often it looks at its clock.
    pub(crate) const TICK: Duration = Duration::from_millis(1);
}

/// What opens a conversation, and items that this version does not know.
fn greet(session: &mut Session) {
    session.grant(CREDIT_FULL);
    session.send_control(with_more(Item::Admission(Admission::FULL)));
    session.send_control([&[201][..], b"what is this"].concat());
    let mine = Mine { incarnation: INCARNATION, base: Seq(1), next: Seq(1), previous: None };
    session.send_control(with_more(Item::Conversation(Conversation { conversation: None, mine, yours: None })));
    session.send_control(vec![99]);
}

/// The item with one more field, of which this version knows nothing.
fn with_more(item: Item) -> Vec<u8> {
    let mut bytes = item.encode();
    assert!((0x80..0x8f).contains(&bytes[1]), "a small map");
    bytes[1] += 1;
    bytes.extend_from_slice(&[0xa3, b'n', b'e', b'w', 0x93, 1, 2, 3]);
    bytes
}
