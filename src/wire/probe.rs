//! Probes: how two peers that a seed has introduced prove a path to each other (protocol, SEEDS). Their macs
//! are `crypto`'s affair; when and where they are sent is `node`'s.

use super::{KIND_PROBE, MAC_LEN, WireError};

/// Bytes of a probe, whatever its stage.
pub const PROBE_LEN: usize = 1 + 1 + 8 + MAC_LEN;

/// A step of proving a path between two peers, sent from either side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// What it answers.
    pub stage: ProbeStage,
    /// The knock's.
    pub attempt: u64,
    /// Keyed by the knock's secret, over stage, attempt and sender's side.
    pub mac: [u8; MAC_LEN],
}

/// Probe, ack, ack of the ack: who has seen one knows that its own datagrams arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeStage {
    /// Do you hear me?
    Probe,
    /// I hear you. Do you hear me?
    Ack,
    /// I do.
    AckOfAck,
}

impl Probe {
    /// The datagram.
    pub fn encode(&self) -> [u8; PROBE_LEN] {
        let mut out = [0; PROBE_LEN];
        let (head, rest) = out.split_at_mut(2);
        let (attempt, mac) = rest.split_at_mut(8);
        head.copy_from_slice(&[KIND_PROBE, self.stage.into()]);
        attempt.copy_from_slice(&self.attempt.to_le_bytes());
        mac.copy_from_slice(&self.mac);
        out
    }

    /// Reads a probe. That its sender knows the secret, nobody has checked.
    pub fn decode(datagram: &[u8]) -> Result<Self, WireError> {
        let bytes: &[u8; PROBE_LEN] = datagram.try_into().map_err(|_| WireError::Malformed)?;
        let [kind, stage, rest @ ..] = bytes;
        let (attempt, mac) = rest.split_first_chunk::<8>().ok_or(WireError::Malformed)?;
        let mac = mac.try_into().map_err(|_| WireError::Malformed)?;
        if *kind != KIND_PROBE {
            return Err(WireError::Malformed);
        }
        Ok(Self { stage: ProbeStage::try_from(*stage)?, attempt: u64::from_le_bytes(*attempt), mac })
    }
}

impl From<ProbeStage> for u8 {
    fn from(stage: ProbeStage) -> Self {
        match stage {
            ProbeStage::Probe => 0,
            ProbeStage::Ack => 1,
            ProbeStage::AckOfAck => 2,
        }
    }
}

impl TryFrom<u8> for ProbeStage {
    type Error = WireError;

    fn try_from(byte: u8) -> Result<Self, WireError> {
        match byte {
            0 => Ok(Self::Probe),
            1 => Ok(Self::Ack),
            2 => Ok(Self::AckOfAck),
            _ => Err(WireError::Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_have_one_length_and_three_stages() {
        for stage in [ProbeStage::Probe, ProbeStage::Ack, ProbeStage::AckOfAck] {
            let probe = Probe { stage, attempt: u64::MAX, mac: [8; MAC_LEN] };
            let bytes = probe.encode();
            assert!(bytes.len() <= 64);
            assert_eq!(Probe::decode(&bytes), Ok(probe));
            assert_eq!(Probe::decode(&bytes[1..]), Err(WireError::Malformed));
        }
        assert_eq!(Probe::decode(&[KIND_PROBE; PROBE_LEN]), Err(WireError::Malformed), "no such stage");
    }
}
