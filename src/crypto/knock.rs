//! Knocks, sealed to one peer by a seed's hands (Noise X: the sender is proved, one message, not forward
//! secret), and the keyed probes that follow (protocol, SEEDS). Who may knock, and where is probed, is
//! `node`'s affair.

use blake2::{
    Blake2sMac,
    digest::{Mac, consts::U16},
};
use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;
use snow::{Builder, HandshakeState};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    handshake::{HandshakeError, remote_static},
    identity::{Identity, noise_public},
    resolver::Resolver,
};
use crate::{
    id::PeerId,
    wire::{
        MAC_LEN, WireError,
        phonebook::SEALED_LEN_MAX,
        probe::{Probe, ProbeStage},
        record::Knock,
    },
};

/// The Noise protocol of a knock.
const NOISE: &str = "Noise_X_25519_ChaChaPoly_BLAKE2s";
/// The prologue; the network's name follows.
const PROLOGUE: &str = "p2pchat-udp knock/1";

/// Seals a knock to `to`, from us.
pub fn seal_knock(identity: &Identity, to: &PeerId, network: &str, knock: &Knock, rng: &mut ChaCha20Rng) -> Vec<u8> {
    let mut rng_seed = Zeroizing::new([0; 32]);
    rng.fill_bytes(rng_seed.as_mut_slice());
    let mut noise = build(identity, network, rng_seed, Some(to));
    let mut sealed = vec![0; SEALED_LEN_MAX];
    let len = noise.write_message(&knock.encode(), &mut sealed).expect("a knock within its limits fits");
    sealed.truncate(len);
    sealed
}

/// Opens a knock that was sealed to us; who sealed it is proved. Costs two X25519 and changes nothing.
pub fn open_knock(identity: &Identity, network: &str, sealed: &[u8]) -> Result<(PeerId, Knock), HandshakeError> {
    if sealed.len() > SEALED_LEN_MAX {
        return Err(WireError::Malformed.into());
    }
    let mut noise = build(identity, network, Zeroizing::new([0; 32]), None);
    let mut payload = vec![0; SEALED_LEN_MAX];
    let len = noise.read_message(sealed, &mut payload).map_err(|_| HandshakeError::Noise)?;
    payload.truncate(len);
    Ok((remote_static(&noise)?, Knock::decode(&payload)?))
}

/// Towards `to`, or from whoever it is.
fn build(identity: &Identity, network: &str, rng_seed: Zeroizing<[u8; 32]>, to: Option<&PeerId>) -> HandshakeState {
    let (secret, prologue) = (identity.noise_secret(), format!("{PROLOGUE}{network}"));
    let remote = to.map(noise_public);
    let params = NOISE.parse().expect("the name is one that snow knows");
    let resolver = Resolver { rng_seed, noise_public: identity.noise_public() };
    let mut builder = Builder::with_resolver(params, Box::new(resolver))
        .local_private_key(secret.as_slice())
        .and_then(|builder| builder.prologue(prologue.as_bytes()))
        .expect("each is set once");
    if let Some(remote) = &remote {
        builder = builder.remote_public_key(remote).expect("set once");
    }
    if to.is_some() { builder.build_initiator() } else { builder.build_responder() }
        .expect("the resolver has all that the name asks for")
}

/// Makes and checks the probes of one attempt.
pub struct ProbeKey {
    secret: Zeroizing<[u8; 16]>,
    attempt: u64,
    /// We knocked.
    caller: bool,
}

impl ProbeKey {
    /// Of the attempt that a knock began. `caller`: it was ours.
    pub fn new(knock: &Knock, caller: bool) -> Self {
        Self { secret: Zeroizing::new(knock.secret), attempt: knock.attempt, caller }
    }

    /// True where we knocked.
    pub const fn is_caller(&self) -> bool {
        self.caller
    }

    /// A probe of ours.
    pub fn probe(&self, stage: ProbeStage) -> Probe {
        Probe { stage, attempt: self.attempt, mac: self.mac(stage, self.caller) }
    }

    /// True where the other side made it: an echo of our own proves nothing.
    pub fn verify(&self, probe: &Probe) -> bool {
        probe.attempt == self.attempt && self.mac(probe.stage, !self.caller).ct_eq(&probe.mac).into()
    }

    fn mac(&self, stage: ProbeStage, caller: bool) -> [u8; MAC_LEN] {
        let mac = <Blake2sMac<U16> as Mac>::new_from_slice(self.secret.as_slice()).expect("BLAKE2s takes keys of up to 32 bytes");
        let head = [u8::from(stage), u8::from(caller)];
        mac.chain_update(head).chain_update(self.attempt.to_le_bytes()).finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;

    use super::*;
    use crate::wire::record::{ADDRS_MAX, PUNCH_SECRET_LEN};
    use crate::wire::{addr::Addr, phonebook::KNOCK_OVERHEAD};

    fn identity(rng_seed: u64) -> Identity {
        Identity::generate(&mut ChaCha20Rng::seed_from_u64(rng_seed))
    }

    fn knock() -> Knock {
        Knock {
            attempt: 5,
            secret: [7; PUNCH_SECRET_LEN],
            relay: false,
            addrs: vec![Addr("[2001:db8::7]:17118".parse().unwrap()); ADDRS_MAX],
        }
    }

    #[test]
    fn a_knock_opens_for_its_addressee_only_and_says_who_sealed_it() {
        let (alice, bob, eve) = (identity(1), identity(2), identity(3));
        let rng = &mut ChaCha20Rng::seed_from_u64(4);
        let sealed = seal_knock(&alice, &bob.id(), "lab", &knock(), rng);
        assert_eq!(sealed.len(), knock().encode().len() + KNOCK_OVERHEAD);
        assert_eq!(open_knock(&bob, "lab", &sealed).unwrap(), (alice.id(), knock()));
        assert!(open_knock(&eve, "lab", &sealed).is_err());
        assert!(open_knock(&bob, "", &sealed).is_err(), "another network");
        for place in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[place] ^= 1;
            assert!(open_knock(&bob, "lab", &flipped).is_err(), "byte {place}");
        }
        assert_ne!(sealed, seal_knock(&alice, &bob.id(), "lab", &knock(), rng), "each has a key of its own");
    }

    #[test]
    fn probes_prove_the_other_side_of_one_attempt() {
        let (caller, called) = (ProbeKey::new(&knock(), true), ProbeKey::new(&knock(), false));
        for stage in [ProbeStage::Probe, ProbeStage::Ack, ProbeStage::AckOfAck] {
            assert!(called.verify(&caller.probe(stage)) && caller.verify(&called.probe(stage)));
            assert!(!caller.verify(&caller.probe(stage)), "our own, sent back");
            let other = ProbeStage::try_from((u8::from(stage) + 1) % 3).unwrap();
            assert!(!called.verify(&Probe { stage: other, ..caller.probe(stage) }), "another stage");
            assert!(!called.verify(&Probe { attempt: 6, ..caller.probe(stage) }), "another attempt");
        }
        let elsewhere = ProbeKey::new(&Knock { secret: [8; PUNCH_SECRET_LEN], ..knock() }, true);
        assert!(!called.verify(&elsewhere.probe(ProbeStage::Probe)));
    }
}
