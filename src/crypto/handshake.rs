//! Noise XX over three datagrams: initiation, response, confirm (protocol, HANDSHAKE). When to send or repeat
//! them and who may cost us one is `node`'s affair; what follows on the keys is in `keys`.
//!
//! Whatever is wrong with a datagram, it leaves the attempt as it was: anyone may send anything, so
//! only the genuine next datagram ends the waiting for it. snow restores less than its whole state
//! after a failed read, hence an attempt keeps what it was made of and starts over where one failed.

use blake2::{
    Blake2s256, Blake2sMac, Digest,
    digest::{Mac, consts::U16},
};
use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;
use snow::{Builder, HandshakeState};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    identity::{Identity, noise_public, peer_id_from_noise},
    resolver::Resolver,
};
use crate::{
    id::{PeerId, SessionIndex},
    wire::{
        HANDSHAKE_LEN_MAX, HANDSHAKE_PAYLOAD_LEN_MAX, MAC_LEN, WireError,
        message::HandshakePayload,
        packet::{Confirm, INITIATION_NOISE_LEN, Initiation, Response},
    },
};

/// The Noise protocol: nothing is negotiated.
const NOISE: &str = "Noise_XX_25519_ChaChaPoly_BLAKE2s";
/// The prologue; the network's name follows, so that other networks and versions never fit.
const PROLOGUE: &str = "p2pchat-udp/1";
/// Bytes of an ephemeral key: the beginning of the first and of the second Noise message.
const EPHEMERAL_LEN: usize = 32;

/// Which side of the handshake we are; it stays the side of the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Sent the initiation.
    Initiator,
    /// Answered it.
    Responder,
}

/// What a finished handshake has established. The keys are wiped with their owner.
#[derive(Clone)]
pub struct Established {
    /// Who is at the other end, proved.
    pub peer: PeerId,
    /// What the peer said about itself, sealed.
    pub payload: HandshakePayload,
    /// Which side we are.
    pub role: Role,
    /// What the peer calls the session when it sends to us.
    pub local: SessionIndex,
    /// What we call it when we send.
    pub remote: SessionIndex,
    /// The same on both sides and in no other handshake: salt of the first root.
    pub handshake_hash: [u8; 32],
    /// Seals what we send in epoch 0.
    pub send_key: Zeroizing<[u8; 32]>,
    /// Opens what we receive in epoch 0.
    pub receive_key: Zeroizing<[u8; 32]>,
}

/// Why a handshake datagram did nothing. The attempt is as it was before, in every case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// No handshake datagram of the expected kind.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// mac1 does not fit: noise, or meant for somebody else.
    #[error("mac1 does not fit")]
    Mac,
    /// It names another attempt.
    #[error("for another session")]
    Index,
    /// It does not open: forged, changed on its way, or of another network.
    #[error("does not open")]
    Noise,
    /// It opens, but whoever sent it is not the one we meant.
    #[error("answered by somebody else")]
    WrongPeer,
    /// The sender's static key is no id.
    #[error("the sender's key is no id")]
    Key,
    /// The sealed payload is malformed.
    #[error("malformed payload")]
    Payload,
    /// Our own payload has more than [`HANDSHAKE_PAYLOAD_LEN_MAX`] bytes.
    #[error("our payload is too long")]
    PayloadLength,
    /// This attempt has ended well already.
    #[error("already established")]
    Finished,
}

/// Keys mac1 (protocol, HANDSHAKE). Ids are public on a LAN, so this stops noise and scans, not attackers.
pub struct Mac1Key(Zeroizing<[u8; 32]>);

impl Mac1Key {
    /// H("mac1" ‖ id): for datagrams to the responder with this id.
    pub fn of_id(id: &PeerId) -> Self {
        Self::of(id.as_bytes())
    }

    /// H("mac1" ‖ ephemeral): for the response. Its receiver's id is what Noise hides, so whoever saw
    /// the initiation can make this one.
    fn of_ephemeral(ephemeral: &[u8; EPHEMERAL_LEN]) -> Self {
        Self::of(ephemeral)
    }

    fn of(subject: &[u8; 32]) -> Self {
        Self(Zeroizing::new(Blake2s256::new().chain_update(b"mac1").chain_update(subject).finalize().into()))
    }

    /// True where `datagram` is a handshake datagram to the owner of this key. Costs one hash and no
    /// memory: the first question about an initiation or a confirm, before anything is allocated.
    pub fn verify(&self, datagram: &[u8]) -> bool {
        let Some((rest, _mac2)) = datagram.split_last_chunk::<MAC_LEN>() else { return false };
        let Some((covered, mac1)) = rest.split_last_chunk::<MAC_LEN>() else { return false };
        datagram.len() <= HANDSHAKE_LEN_MAX && bool::from(self.mac1(covered).ct_eq(mac1))
    }

    fn mac1(&self, covered: &[u8]) -> [u8; MAC_LEN] {
        let mac = <Blake2sMac<U16> as Mac>::new_from_slice(self.0.as_slice()).expect("BLAKE2s takes keys of up to 32 bytes");
        mac.chain_update(covered).finalize().into_bytes().into()
    }

    /// Appends mac1 over what `datagram` holds, and a mac2 of zeros: no cookie is known yet.
    fn seal(&self, datagram: &mut Vec<u8>) {
        let mac1 = self.mac1(datagram);
        datagram.extend_from_slice(&mac1);
        datagram.extend_from_slice(&[0; MAC_LEN]);
    }
}

/// All that one side's Noise state is made of, so that it can be made again.
struct Recipe {
    secret: Zeroizing<[u8; 32]>,
    noise_public: [u8; 32],
    /// Seeds the generator of the ephemeral key.
    rng_seed: Zeroizing<[u8; 32]>,
    prologue: String,
}

impl Recipe {
    fn new(identity: &Identity, network: &str, rng: &mut ChaCha20Rng) -> Self {
        let mut rng_seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(rng_seed.as_mut_slice());
        Self {
            secret: identity.noise_secret(),
            noise_public: identity.noise_public(),
            rng_seed,
            prologue: format!("{PROLOGUE}{network}"),
        }
    }

    fn build(&self, role: Role) -> HandshakeState {
        let params = NOISE.parse().expect("the name is one that snow knows");
        let resolver = Resolver { rng_seed: self.rng_seed.clone(), noise_public: self.noise_public };
        let builder = Builder::with_resolver(params, Box::new(resolver))
            .local_private_key(self.secret.as_slice())
            .and_then(|builder| builder.prologue(self.prologue.as_bytes()))
            .expect("each is set once");
        match role {
            Role::Initiator => builder.build_initiator(),
            Role::Responder => builder.build_responder(),
        }
        .expect("the resolver has all that the name asks for")
    }

    /// The initiator's state behind its first message, and that message.
    fn initiate(&self) -> (HandshakeState, Vec<u8>) {
        let mut noise = self.build(Role::Initiator);
        // The payload of this message is in the clear and means nothing: zeros, for the length.
        let message = write(&mut noise, &[0; INITIATION_NOISE_LEN - EPHEMERAL_LEN]);
        (noise, message)
    }

    /// The responder's state behind its message, and that message.
    fn respond(&self, initiation: &[u8], payload: &[u8]) -> Result<(HandshakeState, Vec<u8>), HandshakeError> {
        let mut noise = self.build(Role::Responder);
        read(&mut noise, initiation)?;
        let message = write(&mut noise, payload);
        Ok((noise, message))
    }
}

/// One outgoing attempt to reach one peer.
pub struct Initiator {
    recipe: Recipe,
    state: State,
    peer: PeerId,
    local: SessionIndex,
    initiation: Vec<u8>,
    ephemeral: [u8; EPHEMERAL_LEN],
}

enum State {
    /// The next datagram may come.
    Ready(Box<HandshakeState>),
    /// A datagram failed and took the state with it.
    Spoilt,
    /// Established.
    Finished,
}

impl State {
    /// Takes a usable state out, to be put back by nobody: after success it is `Finished`, after a
    /// failure the caller says `Spoilt`.
    fn take(&mut self, again: impl FnOnce() -> Result<HandshakeState, HandshakeError>) -> Result<HandshakeState, HandshakeError> {
        match std::mem::replace(self, Self::Spoilt) {
            Self::Ready(state) => Ok(*state),
            Self::Spoilt => again(),
            Self::Finished => {
                *self = Self::Finished;
                Err(HandshakeError::Finished)
            }
        }
    }
}

impl Initiator {
    /// Starts an attempt; the bytes are the initiation, macs set, to be sent now and repeated as they
    /// are. `index` is what we want to be called.
    pub fn new(identity: &Identity, peer: PeerId, network: &str, index: SessionIndex, rng: &mut ChaCha20Rng) -> (Self, Vec<u8>) {
        let recipe = Recipe::new(identity, network, rng);
        let (noise, message) = recipe.initiate();
        let ephemeral = *message.first_chunk().expect("a first message begins with the ephemeral key");
        let mut initiation = Vec::new();
        Initiation::encode_without_macs(index, &message, &mut initiation);
        Mac1Key::of_id(&peer).seal(&mut initiation);
        let state = State::Ready(Box::new(noise));
        (Self { recipe, state, peer, local: index, initiation: initiation.clone(), ephemeral }, initiation)
    }

    /// Whom we mean.
    pub const fn peer(&self) -> PeerId {
        self.peer
    }

    /// What we want to be called: the receiver of the response.
    pub const fn local(&self) -> SessionIndex {
        self.local
    }

    /// The initiation again, for a retry.
    pub fn initiation(&self) -> &[u8] {
        &self.initiation
    }

    /// Takes the response. The bytes are the confirm, to be repeated until the first packet opens.
    /// After an error the attempt still waits for the genuine response.
    pub fn on_response(&mut self, datagram: &[u8], payload: &HandshakePayload) -> Result<(Established, Vec<u8>), HandshakeError> {
        let response = Response::decode(datagram)?;
        if response.receiver != self.local {
            return Err(HandshakeError::Index);
        }
        if !Mac1Key::of_ephemeral(&self.ephemeral).verify(datagram) {
            return Err(HandshakeError::Mac);
        }
        let ours = encode_payload(payload)?;
        let mut noise = self.state.take(|| Ok(self.recipe.initiate().0))?;
        let theirs = read(&mut noise, response.noise)?;
        // Compared in the form that it has: the way back to an id is longer.
        if noise.get_remote_static() != Some(&noise_public(&self.peer)) {
            return Err(HandshakeError::WrongPeer);
        }
        let theirs = HandshakePayload::decode(&theirs).map_err(|_| HandshakeError::Payload)?;
        let message = write(&mut noise, &ours);
        let mut confirm = Vec::new();
        Confirm::encode_without_macs(response.sender, &message, &mut confirm);
        Mac1Key::of_id(&self.peer).seal(&mut confirm);
        self.state = State::Finished;
        let keys = split(noise);
        let established = Established {
            peer: self.peer,
            payload: theirs,
            role: Role::Initiator,
            local: self.local,
            remote: response.sender,
            handshake_hash: keys.hash,
            send_key: keys.initiator_to_responder,
            receive_key: keys.responder_to_initiator,
        };
        Ok((established, confirm))
    }
}

/// One incoming attempt: half open until the confirm says who it is.
pub struct Responder {
    recipe: Recipe,
    state: State,
    /// The first Noise message and our payload: with the recipe, what the state is made of.
    message: Vec<u8>,
    payload: Vec<u8>,
    mac1: [u8; MAC_LEN],
    mac1_key: Mac1Key,
    local: SessionIndex,
    remote: SessionIndex,
    response: Vec<u8>,
}

impl Responder {
    /// Answers an initiation; the bytes are the response, never longer than the initiation. Ask
    /// [`Mac1Key::verify`] before anything else about the initiation; it is asked here once more.
    pub fn new(
        identity: &Identity,
        network: &str,
        initiation: &[u8],
        index: SessionIndex,
        payload: &HandshakePayload,
        rng: &mut ChaCha20Rng,
    ) -> Result<(Self, Vec<u8>), HandshakeError> {
        let mac1_key = Mac1Key::of_id(&identity.id());
        let Initiation { sender, noise: message, mac1, .. } = Initiation::decode(initiation)?;
        if !mac1_key.verify(initiation) {
            return Err(HandshakeError::Mac);
        }
        let payload = encode_payload(payload)?;
        let ephemeral = message.first_chunk().ok_or(WireError::Malformed)?;
        let recipe = Recipe::new(identity, network, rng);
        let (noise, answer) = recipe.respond(message, &payload)?;
        let mut response = Vec::new();
        Response::encode_without_macs(index, sender, &answer, &mut response);
        Mac1Key::of_ephemeral(ephemeral).seal(&mut response);
        let responder = Self {
            recipe,
            state: State::Ready(Box::new(noise)),
            message: message.to_vec(),
            payload,
            mac1,
            mac1_key,
            local: index,
            remote: sender,
            response: response.clone(),
        };
        Ok((responder, response))
    }

    /// What we want to be called: the receiver of the confirm.
    pub const fn local(&self) -> SessionIndex {
        self.local
    }

    /// The response again: a repeated initiation gets the same bytes.
    pub fn response(&self) -> &[u8] {
        &self.response
    }

    /// True for the initiation that this attempt answers. Its mac1 was verified, so equal macs mean
    /// equal initiations to everybody but a forger, who gains the same answer.
    pub fn answers(&self, initiation: &[u8]) -> bool {
        Initiation::decode(initiation).is_ok_and(|initiation| initiation.mac1 == self.mac1 && initiation.sender == self.remote)
    }

    /// Takes the confirm: now it is known who the initiator is. After an error the attempt still waits
    /// for the genuine confirm.
    pub fn on_confirm(&mut self, datagram: &[u8]) -> Result<Established, HandshakeError> {
        let confirm = Confirm::decode(datagram)?;
        if confirm.receiver != self.local {
            return Err(HandshakeError::Index);
        }
        if !self.mac1_key.verify(datagram) {
            return Err(HandshakeError::Mac);
        }
        let mut noise = self.state.take(|| Ok(self.recipe.respond(&self.message, &self.payload)?.0))?;
        let theirs = read(&mut noise, confirm.noise)?;
        let peer = remote_static(&noise)?;
        let theirs = HandshakePayload::decode(&theirs).map_err(|_| HandshakeError::Payload)?;
        self.state = State::Finished;
        let keys = split(noise);
        Ok(Established {
            peer,
            payload: theirs,
            role: Role::Responder,
            local: self.local,
            remote: self.remote,
            handshake_hash: keys.hash,
            send_key: keys.responder_to_initiator,
            receive_key: keys.initiator_to_responder,
        })
    }
}

fn encode_payload(payload: &HandshakePayload) -> Result<Vec<u8>, HandshakeError> {
    let bytes = payload.encode();
    if bytes.len() <= HANDSHAKE_PAYLOAD_LEN_MAX { Ok(bytes) } else { Err(HandshakeError::PayloadLength) }
}

/// Writes the next message; our own payloads always fit.
fn write(noise: &mut HandshakeState, payload: &[u8]) -> Vec<u8> {
    let mut message = vec![0; HANDSHAKE_LEN_MAX];
    let len = noise.write_message(payload, &mut message).expect("it is our turn and the payload's length is checked");
    message.truncate(len);
    message
}

/// Reads the next message and returns its payload.
fn read(noise: &mut HandshakeState, message: &[u8]) -> Result<Vec<u8>, HandshakeError> {
    let mut payload = vec![0; HANDSHAKE_LEN_MAX];
    let len = noise.read_message(message, &mut payload).map_err(|_| HandshakeError::Noise)?;
    payload.truncate(len);
    Ok(payload)
}

/// Who is at the other end, once the Noise messages have proved it.
pub(super) fn remote_static(noise: &HandshakeState) -> Result<PeerId, HandshakeError> {
    let public = noise.get_remote_static().and_then(|key| key.try_into().ok()).ok_or(HandshakeError::Key)?;
    peer_id_from_noise(public).map_err(|_| HandshakeError::Key)
}

struct SplitKeys {
    hash: [u8; 32],
    initiator_to_responder: Zeroizing<[u8; 32]>,
    responder_to_initiator: Zeroizing<[u8; 32]>,
}

fn split(mut noise: HandshakeState) -> SplitKeys {
    let hash = noise.get_handshake_hash().try_into().expect("BLAKE2s has 32 bytes");
    let (first, second) = noise.dangerously_get_raw_split();
    SplitKeys { hash, initiator_to_responder: Zeroizing::new(first), responder_to_initiator: Zeroizing::new(second) }
}

#[cfg(test)]
mod tests;
