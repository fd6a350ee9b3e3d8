//! A way in from outside (protocol, SEEDS): asks the router of this network to send on to our session port what
//! comes to a port of its own, by PCP (RFC 6887) or else NAT-PMP (RFC 6886), never by UPnP. It happens beside
//! the loop, and how it ended is an input to it. What the outside address is good for is not decided here.
//!
//! A router that says nothing, no, or nonsense costs a few small datagrams an hour and a line of the log.

mod gateway;
// Where all of 127.0.0.0/8 is this machine.
#[cfg(all(test, target_os = "linux"))]
mod tests;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU16,
    time::Duration,
};

use crab_nat::{
    GatewayAddress, InternetProtocol, MappingFailure, PortMapping, PortMappingOptions, PortMappingType, TimeoutConfig, natpmp,
    pcp,
};
use tokio::{task::JoinSet, time};

use self::gateway::Gateway;
use crate::wire::addr::is_global;

/// What a mapping is asked for. A program that was killed leaves one behind for no longer.
const LIFETIME: Duration = Duration::from_secs(3_600);
/// A mapping is renewed at half of what the router gave, within these bounds.
const RENEW_MIN: Duration = Duration::from_secs(60);
const RENEW_MAX: Duration = Duration::from_secs(1_800);
/// Wait after a failure, doubled up to the other.
const RETRY_MIN: Duration = Duration::from_secs(60);
const RETRY_MAX: Duration = Duration::from_secs(3_600);
/// After a change of the network it is given so long to come to rest.
const SETTLE: Duration = Duration::from_secs(1);
/// How often one request is sent, and how long an answer is waited for: 3.75 s in all.
const PATIENCE: TimeoutConfig =
    TimeoutConfig { initial_timeout: Duration::from_millis(250), max_retries: 3, max_retry_timeout: None };
/// At the end the router gets this long to hear that the mapping is wanted no more.
const REMOVE_TIMEOUT: Duration = Duration::from_millis(200);

/// A router maps no port to us; the last mapping, if any, is not believed in any more.
#[derive(Debug, thiserror::Error)]
enum Unmapped {
    /// No router, a global address of our own, or a session port that the router does not reach.
    #[error("no router that could map a port to us")]
    NoGateway,
    #[error("the router maps no port: {0}")]
    Failed(#[from] MappingFailure),
    /// A router behind a router, or one that lies.
    #[error("the router's outside is {0}, where nobody could reach us")]
    NotGlobal(SocketAddr),
    #[error("the router takes the mapping away at once")]
    Expired,
}

/// A port of the router that leads to us.
#[derive(Debug)]
struct Mapped {
    mapping: PortMapping,
    outside: SocketAddr,
}

/// What is asked, of whichever router.
#[derive(Debug, Clone, Copy)]
struct Request {
    /// Our session port, and the address that it is bound to.
    port: NonZeroU16,
    listen: Ipv4Addr,
    /// Of one run: a PCP server lets nobody else change the mapping (RFC 6887 §11.2).
    nonce: pcp::Nonce,
    patience: TimeoutConfig,
    gateway: fn() -> Option<Gateway>,
}

/// Keeps a port of the router mapped to ours; the default one does nothing, for ever.
#[derive(Debug, Default)]
pub struct PortMapper {
    request: Option<Request>,
    /// One at most: waits until it is due, then asks.
    asking: JoinSet<Result<Mapped, Unmapped>>,
    mapped: Option<Mapped>,
    failures: u32,
}

impl PortMapper {
    /// Asks at once for the session port `port` that is bound to `listen`, and again whenever it is due. Must
    /// be called in a tokio runtime. Errors where the system has no randomness.
    pub fn start(port: u16, listen: Ipv4Addr) -> Result<Self, getrandom::Error> {
        let nonce = [getrandom::u32()?, getrandom::u32()?, getrandom::u32()?];
        let request = |port| Request { port, listen, nonce, patience: PATIENCE, gateway: gateway::find };
        Ok(Self::with(NonZeroU16::new(port).map(request)))
    }

    fn with(request: Option<Request>) -> Self {
        let mut mapper = Self { request, ..Self::default() };
        mapper.ask_after(Duration::ZERO);
        mapper
    }

    /// The network is another one, or the machine slept: asks anew.
    pub fn on_network(&mut self) {
        self.failures = 0;
        self.ask_after(SETTLE);
    }

    /// Where our session port can be reached from outside since the router was asked last; `None`: nowhere.
    /// Waits for the next answer; can be dropped at any time.
    pub async fn asked(&mut self) -> Option<SocketAddr> {
        loop {
            match self.asking.join_next().await {
                Some(Ok(outcome)) => return self.on_outcome(outcome),
                // Only an end of the runtime takes one away.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Takes the mapping away, where there is one; no longer than 200 ms, and whether or not the
    /// router hears it.
    pub async fn remove(self) {
        let Some(Mapped { mapping, outside }) = self.mapped else { return };
        match time::timeout(REMOVE_TIMEOUT, mapping.try_drop()).await {
            Ok(Ok(())) => tracing::debug!(%outside, "port mapping removed"),
            Ok(Err((error, _))) => tracing::debug!(%outside, %error, "port mapping not removed"),
            Err(_) => tracing::debug!(%outside, "port mapping not removed: no answer"),
        }
    }

    fn on_outcome(&mut self, outcome: Result<Mapped, Unmapped>) -> Option<SocketAddr> {
        let wait = match &outcome {
            Ok(Mapped { mapping, outside }) => {
                tracing::debug!(%outside, seconds = mapping.lifetime(), "port mapped");
                self.failures = 0;
                renew_after(mapping.lifetime())
            }
            Err(error) => {
                tracing::debug!(%error, "no port mapping");
                self.failures = self.failures.saturating_add(1);
                retry_after(self.failures)
            }
        };
        self.mapped = outcome.ok();
        self.ask_after(wait);
        self.mapped.as_ref().map(|mapped| mapped.outside)
    }

    /// Whatever was under way is given up.
    fn ask_after(&mut self, wait: Duration) {
        let Some(request) = self.request else { return };
        let last = self.mapped.as_ref().map(|mapped| mapped.outside);
        self.asking = JoinSet::new();
        self.asking.spawn(async move {
            time::sleep(wait).await;
            ask(request, last).await
        });
    }
}

fn renew_after(lifetime_seconds: u32) -> Duration {
    (Duration::from_secs(lifetime_seconds.into()) / 2).clamp(RENEW_MIN, RENEW_MAX)
}

fn retry_after(failures: u32) -> Duration {
    RETRY_MIN.saturating_mul(1 << failures.saturating_sub(1).min(8)).min(RETRY_MAX)
}

/// Asks the router of this moment, best for `last` or else for the port that we have ourselves.
async fn ask(request: Request, last: Option<SocketAddr>) -> Result<Mapped, Unmapped> {
    let gateway = (request.gateway)().filter(|gateway| request.listen.is_unspecified() || request.listen == gateway.client);
    let gateway = gateway.ok_or(Unmapped::NoGateway)?;
    match ask_pcp(request, gateway, last).await {
        // Older routers do not know it; some of them keep silent or refuse it with nonsense.
        Err(Unmapped::Failed(error)) => {
            tracing::debug!(%error, "asking by NAT-PMP");
            ask_natpmp(request, gateway, last).await
        }
        outcome => outcome,
    }
}

async fn ask_pcp(request: Request, gateway: Gateway, last: Option<SocketAddr>) -> Result<Mapped, Unmapped> {
    let (router, client) = (GatewayAddress::IpV4(gateway.router), IpAddr::V4(gateway.client));
    let base = pcp::BaseMapRequest::new(router, client, InternetProtocol::Udp, request.port);
    let suggested = last.map(|last| last.ip());
    let mapping = pcp::port_mapping(base, Some(request.nonce), suggested, request.options(last)).await;
    let mapping = mapping.map_err(MappingFailure::Pcp)?;
    let outside = match mapping.mapping_type() {
        PortMappingType::Pcp { external_ip, .. } => external_ip,
        PortMappingType::NatPmp => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    usable(mapping, outside).await
}

async fn ask_natpmp(request: Request, gateway: Gateway, last: Option<SocketAddr>) -> Result<Mapped, Unmapped> {
    let router = GatewayAddress::IpV4(gateway.router);
    let outside = natpmp::external_address(router, Some(request.patience)).await.map_err(MappingFailure::NatPmp)?;
    let mapping = natpmp::port_mapping(router, InternetProtocol::Udp, request.port, request.options(last)).await;
    usable(mapping.map_err(MappingFailure::NatPmp)?, IpAddr::V4(outside)).await
}

/// A mapping that helps nobody is given back.
async fn usable(mapping: PortMapping, outside: IpAddr) -> Result<Mapped, Unmapped> {
    let outside = SocketAddr::new(outside, mapping.external_port().get());
    if mapping.lifetime() == 0 {
        return Err(Unmapped::Expired);
    }
    if !outside.is_ipv4() || !is_global(&outside) {
        let _ = time::timeout(REMOVE_TIMEOUT, mapping.try_drop()).await;
        return Err(Unmapped::NotGlobal(outside));
    }
    Ok(Mapped { mapping, outside })
}

impl Request {
    fn options(&self, last: Option<SocketAddr>) -> PortMappingOptions {
        PortMappingOptions {
            external_port: last.map_or(Some(self.port), |last| NonZeroU16::new(last.port())),
            lifetime_seconds: u32::try_from(LIFETIME.as_secs()).ok(),
            timeout_config: Some(self.patience),
        }
    }
}
