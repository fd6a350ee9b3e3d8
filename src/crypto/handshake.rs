//! Noise XX over three datagrams. What happens after them (epochs, rekeys) lives in `keys`.

use zeroize::Zeroizing;

use crate::{
    id::{PeerId, SessionIndex},
    wire::message::HandshakePayload,
};

/// Which side of a session's handshake this is; it stays so for the session's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Sent the first handshake datagram.
    Initiator,
    /// Answered it.
    Responder,
}

/// What a finished handshake leaves: all that a session starts from.
#[derive(Clone)]
pub struct Established {
    /// Who is at the other end, proven.
    pub peer: PeerId,
    /// What the peer said about itself, sealed.
    pub payload: HandshakePayload,
    /// Our side.
    pub role: Role,
    /// Our name for the session: the receiver index of packets to us.
    pub local: SessionIndex,
    /// The peer's name for it.
    pub remote: SessionIndex,
    /// Noise's `h`: equal on both sides, unique to this handshake.
    pub handshake_hash: [u8; 32],
    /// The raw split key of our direction.
    pub send_key: Zeroizing<[u8; 32]>,
    /// The raw split key of the peer's direction.
    pub receive_key: Zeroizing<[u8; 32]>,
}
