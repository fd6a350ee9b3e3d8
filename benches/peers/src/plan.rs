//! What is measured: the workloads, the transports, and who takes part in what.

use std::time::Duration;

use clap::ValueEnum;

/// A workload; what it is for stands in [`Workload::title`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Workload {
    /// Round trip of a message with the application's answer, both threads on one core.
    P1,
    /// CPU of small messages, as many as go.
    P2,
    /// CPU of large messages, as many as go.
    P3,
    /// Delivery at 5 % loss.
    P4,
    /// Delivery at 20 % loss.
    P5,
    /// Round trip in a LAN that loses.
    P6,
    /// Throughput of a long path that loses.
    P7,
    /// Connections: what one costs, and what it holds when idle.
    P8,
}

/// Who carries the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Peer {
    /// The program's sessions.
    Ours,
    /// UDP, a datagram for each message.
    Raw,
    /// quinn, a stream for each message.
    Quinn,
    /// quinn, one stream.
    QuinnStream,
    /// quinn, one stream, BBR.
    QuinnBbr,
    /// tokio_kcp.
    Kcp,
    /// rusty_enet.
    Enet,
    /// The kernel's.
    Tcp,
}

/// What the two sides do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Work {
    /// A message, an answer, and again.
    PingPong { count: usize },
    /// Messages of `len` bytes without a pause, for so long at most.
    Flood { count: usize, len: usize, limit: Duration },
    /// Messages at a steady pace.
    Paced { count: usize, per_second: u32 },
    /// Connections one after another, each with a message each way.
    Dials { count: usize },
}

/// A link that is not perfect, the same in both directions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Impairment {
    /// One way.
    pub(crate) delay: Duration,
    /// Share of packets that is lost, each by itself.
    pub(crate) loss: f64,
    /// No router stands for the delay: what a LAN is taken for.
    pub(crate) on_link: bool,
}

/// Bytes of a small message, and of the application's answer to it.
pub(crate) const SMALL_LEN: usize = 100;
pub(crate) const ANSWER_LEN: usize = 16;
/// Bytes of a large message.
pub(crate) const LARGE_LEN: usize = 65_536;

impl Workload {
    /// All.
    pub(crate) const ALL: [Self; 8] = [Self::P1, Self::P2, Self::P3, Self::P4, Self::P5, Self::P6, Self::P7, Self::P8];

    /// In a few words.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::P1 => "round trip on one core, 100-byte message, 16-byte answer",
            Self::P2 => "100-byte messages, pipelined",
            Self::P3 => "64 KiB messages, pipelined",
            Self::P4 => "500 messages/s, 25 ms one way, 5 % loss",
            Self::P5 => "500 messages/s, 25 ms one way, 20 % loss",
            Self::P6 => "round trip on a LAN, 0.3 ms one way, 1 % loss",
            Self::P7 => "20 MiB in 64 KiB messages, 25 ms one way, 1 % loss",
            Self::P8 => "2,000 connections, one message each way",
        }
    }

    /// Who takes part. What cannot arrive whole does not.
    pub(crate) fn peers(self) -> &'static [Peer] {
        use Peer::{Enet, Kcp, Ours, Quinn, QuinnBbr, QuinnStream, Raw, Tcp};
        match self {
            Self::P1 | Self::P2 => &[Ours, Raw, Quinn, QuinnStream, Kcp, Enet, Tcp],
            Self::P3 => &[Ours, Quinn, QuinnStream, Kcp, Enet, Tcp],
            Self::P4 | Self::P5 | Self::P6 => &[Ours, Quinn, QuinnStream, Kcp, Enet, Tcp],
            Self::P7 => &[Ours, QuinnBbr, Tcp, Kcp, QuinnStream, Enet],
            Self::P8 => &[Ours, Quinn, Kcp, Enet, Tcp],
        }
    }

    /// Times that each is run.
    pub(crate) fn repetitions(self, quick: bool) -> usize {
        match self {
            _ if quick => 1,
            // Long runs, of which the tail is looked at.
            Self::P4 | Self::P5 | Self::P6 => 1,
            Self::P7 | Self::P8 => 3,
            Self::P1 | Self::P2 | Self::P3 => 5,
        }
    }

    /// True for who waits more than it works here, so that several of them disturb nobody when they run side by side.
    pub(crate) fn is_patient(self, peer: Peer) -> bool {
        match self {
            Self::P4 | Self::P5 => true,
            Self::P7 => matches!(peer, Peer::QuinnStream | Peer::Enet),
            Self::P1 | Self::P2 | Self::P3 | Self::P6 | Self::P8 => false,
        }
    }

    /// The link, where it is not this machine's loopback interface.
    pub(crate) fn impairment(self) -> Option<Impairment> {
        let far = |loss| Some(Impairment { delay: Duration::from_millis(25), loss, on_link: false });
        match self {
            Self::P4 => far(0.05),
            Self::P5 => far(0.20),
            Self::P6 => Some(Impairment { delay: Duration::from_micros(300), loss: 0.01, on_link: true }),
            Self::P7 => far(0.01),
            Self::P1 | Self::P2 | Self::P3 | Self::P8 => None,
        }
    }

    /// True where both threads share a core: what is measured then is work, and no waking of another core.
    pub(crate) fn is_pinned(self) -> bool {
        self == Self::P1
    }

    /// What the two sides do; `quick`: as little of it as shows that it works.
    pub(crate) fn work(self, peer: Peer, quick: bool) -> Work {
        let few = |count: usize| if quick { count.div_ceil(10) } else { count };
        let limit = Duration::from_secs(if quick { 3 } else { 10 });
        match self {
            Self::P1 => Work::PingPong { count: few(20_000) },
            // Who has much to do for each message needs no million to show it.
            Self::P2 if matches!(peer, Peer::Raw | Peer::QuinnStream | Peer::Kcp | Peer::Tcp) => {
                Work::Flood { count: few(200_000), len: SMALL_LEN, limit }
            }
            Self::P2 => Work::Flood { count: few(1_000_000), len: SMALL_LEN, limit },
            Self::P3 => Work::Flood { count: few(4_096), len: LARGE_LEN, limit },
            Self::P4 | Self::P5 => Work::Paced { count: few(10_000), per_second: 500 },
            Self::P6 => Work::PingPong { count: few(2_000) },
            Self::P7 => Work::Flood { count: few(320), len: LARGE_LEN, limit },
            Self::P8 => Work::Dials { count: few(2_000) },
        }
    }
}

impl Peer {
    /// All, in the order of the columns.
    pub(crate) const ALL: [Self; 8] =
        [Self::Ours, Self::Raw, Self::Quinn, Self::QuinnStream, Self::QuinnBbr, Self::Kcp, Self::Enet, Self::Tcp];

    /// What stands above its column.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Raw => "raw UDP",
            Self::Quinn => "quinn, stream each",
            Self::QuinnStream => "quinn, one stream",
            Self::QuinnBbr => "quinn, BBR",
            Self::Kcp => "KCP",
            Self::Enet => "ENet",
            Self::Tcp => "TCP",
        }
    }
}
