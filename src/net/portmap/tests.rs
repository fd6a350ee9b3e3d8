//! Routers on this machine, each on a loopback address of its own since the protocols' port is fixed. They
//! are played by the tests, which write the answers byte by byte as the RFCs have them.

use std::sync::{Arc, Mutex};

use tokio::{net::UdpSocket, task::JoinHandle};

use super::*;

const PORT: u16 = 17_118;
const NONCE: pcp::Nonce = [0x0102_0304, 0x0506_0708, 0x090a_0b0c];
const CLIENT: Ipv4Addr = Ipv4Addr::LOCALHOST;
const OUTSIDE: [u8; 4] = [203, 0, 113, 9];

/// Requests that a router has heard, oldest first.
type Heard = Arc<Mutex<Vec<Vec<u8>>>>;

/// A router that answers each request as it is told; it ends with this.
struct Router {
    heard: Heard,
    task: JoinHandle<()>,
}

impl Router {
    async fn new(router: Ipv4Addr, answer: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + 'static) -> Self {
        let socket = UdpSocket::bind((router, crab_nat::GATEWAY_PORT)).await.unwrap();
        let heard = Heard::default();
        let hearing = heard.clone();
        let task = tokio::spawn(async move {
            let mut buffer = [0; 1_500];
            while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
                hearing.lock().unwrap().push(buffer[..len].to_vec());
                if let Some(answer) = answer(&buffer[..len]) {
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
        Self { heard, task }
    }

    /// Its port is free for the next.
    async fn ended(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    /// The requests so far, without repetitions in a row.
    fn heard(&self) -> Vec<Vec<u8>> {
        let mut heard = self.heard.lock().unwrap().clone();
        heard.dedup();
        heard
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// RFC 6886 §3.2 and §3.3: 60 s after the router's start.
fn natpmp(request: &[u8], outside: [u8; 4], port: u16, lifetime: u32) -> Option<Vec<u8>> {
    let head = |op: u8| [&[0, 128 + op, 0, 0][..], &60u32.to_be_bytes()].concat();
    match request {
        [0, 0] => Some([&head(0)[..], &outside].concat()),
        [0, 1, 0, 0, i0, i1, _, _, l0, l1, l2, l3] => {
            let is_removal = [l0, l1, l2, l3] == [&0; 4];
            let (port, lifetime) = if is_removal { (0, 0) } else { (port, lifetime) };
            Some([&head(1)[..], &[*i0, *i1], &port.to_be_bytes(), &lifetime.to_be_bytes()].concat())
        }
        // §3.5: what does not begin with version 0.
        [_, op, ..] => Some([&[0, 128 | op, 0, 1][..], &60u32.to_be_bytes()].concat()),
        _ => None,
    }
}

/// RFC 6887 §7.2 and §11.1.
fn pcp(request: &[u8], result: u8, outside: [u8; 4], port: u16, lifetime: u32) -> Option<Vec<u8>> {
    let [2, 1, 0, 0, asked @ ..] = request else { return None };
    let (asked, map) = (&asked[..4], &request[24..60]);
    let lifetime = if asked == [0; 4] { 0 } else { lifetime };
    let head = [&[2, 0x81, 0, result][..], &lifetime.to_be_bytes(), &60u32.to_be_bytes(), &[0; 12]].concat();
    let mapped = [&[0; 10][..], &[0xff, 0xff], &outside].concat();
    Some([&head[..], &map[..18], &port.to_be_bytes(), &mapped].concat())
}

fn request(gateway: fn() -> Option<Gateway>) -> Request {
    let patience = TimeoutConfig { initial_timeout: Duration::from_millis(5), max_retries: 1, max_retry_timeout: None };
    Request { port: NonZeroU16::new(PORT).unwrap(), listen: Ipv4Addr::UNSPECIFIED, nonce: NONCE, patience, gateway }
}

/// The same, for a router that answers: not even a busy machine makes it give up.
fn patient(gateway: fn() -> Option<Gateway>) -> Request {
    let patience = TimeoutConfig { initial_timeout: Duration::from_secs(5), max_retries: 1, max_retry_timeout: None };
    Request { patience, ..request(gateway) }
}

/// A loopback address of one test.
macro_rules! gateway {
    ($last:literal) => {
        || Some(Gateway { router: Ipv4Addr::new(127, 0, 53, $last), client: CLIENT })
    };
}

fn router_of(request: &Request) -> Ipv4Addr {
    (request.gateway)().unwrap().router
}

#[tokio::test]
async fn a_pcp_router_is_asked_once_renewed_with_the_same_nonce_and_told_at_the_end() {
    let request = patient(gateway!(1));
    let router = Router::new(router_of(&request), |asked| pcp(asked, 0, OUTSIDE, 40_000, 3_600)).await;
    let mut mapper = PortMapper::with(Some(request));
    let outside = mapper.asked().await;
    assert_eq!(outside, Some(SocketAddr::from((OUTSIDE, 40_000))));
    let again = ask(request, outside).await.unwrap();
    assert_eq!(Some(again.outside), outside);
    mapper.remove().await;
    let heard = router.heard();
    let [first, renewed, removed] = &heard[..] else { panic!("{heard:?}") };
    let nonce = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    for asked in &heard {
        assert_eq!((asked.len(), &asked[8..24], &asked[24..36]), (60, &CLIENT.to_ipv6_mapped().octets()[..], &nonce[..]));
        assert_eq!((asked[36], &asked[40..42]), (17, &PORT.to_be_bytes()[..]), "our UDP port");
    }
    assert_eq!((&first[4..8], &first[42..44]), (&3_600u32.to_be_bytes()[..], &PORT.to_be_bytes()[..]));
    assert_eq!((&renewed[42..44], &renewed[56..60]), (&40_000u16.to_be_bytes()[..], &OUTSIDE[..]), "what it gave before");
    assert_eq!(removed[4..8], [0; 4]);
}

#[tokio::test]
async fn a_router_that_knows_only_nat_pmp_is_asked_by_that() {
    let request = patient(gateway!(2));
    let router = Router::new(router_of(&request), |asked| natpmp(asked, OUTSIDE, PORT, 7_200)).await;
    let mut mapper = PortMapper::with(Some(request));
    assert_eq!(mapper.asked().await, Some(SocketAddr::from((OUTSIDE, PORT))));
    mapper.remove().await;
    let heard = router.heard();
    assert_eq!(heard[0][0], 2, "PCP goes first");
    let port = PORT.to_be_bytes();
    let asked = [&[0, 1, 0, 0][..], &port, &port, &3_600u32.to_be_bytes()].concat();
    let removed = [&[0, 1, 0, 0][..], &port, &[0; 6]].concat();
    assert_eq!(heard[1..], [vec![0, 0], asked, removed]);
}

/// As by a run that was killed: the server keeps the mapping for who made it, and NAT-PMP knows no nonces.
#[tokio::test]
async fn a_router_that_refuses_by_pcp_is_asked_by_nat_pmp() {
    const NOT_AUTHORIZED: u8 = 2;
    let request = patient(gateway!(3));
    let answer = |asked: &[u8]| pcp(asked, NOT_AUTHORIZED, OUTSIDE, PORT, 900).or_else(|| natpmp(asked, OUTSIDE, PORT, 900));
    let _router = Router::new(router_of(&request), answer).await;
    assert_eq!(ask(request, None).await.unwrap().outside, SocketAddr::from((OUTSIDE, PORT)));
}

#[tokio::test]
async fn an_outside_where_nobody_could_reach_us_is_given_back() {
    for outside in [[0; 4], [10, 0, 0, 7], [100, 64, 0, 7], [127, 0, 0, 1], [255; 4]] {
        let request = patient(gateway!(4));
        let router = Router::new(router_of(&request), move |asked| pcp(asked, 0, outside, PORT, 3_600)).await;
        let error = ask(request, None).await.unwrap_err();
        assert!(matches!(error, Unmapped::NotGlobal(at) if at == SocketAddr::from((outside, PORT))), "{error}");
        assert_eq!(router.heard().last().unwrap()[4..8], [0; 4], "taken away again");
        router.ended().await;
    }
    let request = patient(gateway!(5));
    let _router = Router::new(router_of(&request), |asked| natpmp(asked, OUTSIDE, 53, 3_600)).await;
    assert!(matches!(ask(request, None).await.unwrap_err(), Unmapped::NotGlobal(_)), "a port that services have");
}

#[tokio::test]
async fn a_mapping_for_no_time_is_none() {
    let request = patient(gateway!(6));
    let _router = Router::new(router_of(&request), |asked| pcp(asked, 0, OUTSIDE, PORT, 0)).await;
    assert!(matches!(ask(request, None).await.unwrap_err(), Unmapped::Expired));
}

/// Everything that a hostile router may send instead of an answer ends in a failure, and in nothing worse.
#[tokio::test]
async fn garbage_is_a_failure() {
    let right = |asked: &[u8]| pcp(asked, 0, OUTSIDE, PORT, 3_600).or_else(|| natpmp(asked, OUTSIDE, PORT, 3_600));
    for len in [0, 1, 2, 3, 4, 7, 8, 11, 12, 15, 16, 23, 24, 27, 59, 60, 61, 64, 1_100, 1_101, 1_400] {
        for byte in [0, 2, 0x81, 0xff] {
            let request = request(gateway!(7));
            let router = Router::new(router_of(&request), move |_| Some(vec![byte; len])).await;
            assert!(matches!(ask(request, None).await, Err(Unmapped::Failed(_))), "{len} times {byte}");
            router.ended().await;
        }
    }
    // Right but for one byte that must be as it is: version, response bit, nonce, protocol, inside port.
    for at in [0, 1, 24, 35, 36, 40, 41] {
        let request = request(gateway!(7));
        let wrong = move |asked: &[u8]| {
            let mut answer = right(asked)?;
            // NAT-PMP, which is asked next, has the inside port elsewhere.
            let at = if answer.len() == 60 { at } else { at.min(1) };
            answer[at] ^= 0x40;
            Some(answer)
        };
        let router = Router::new(router_of(&request), wrong).await;
        assert!(matches!(ask(request, None).await, Err(Unmapped::Failed(_))), "byte {at}");
        router.ended().await;
    }
}

#[tokio::test]
async fn silence_and_a_closed_port_are_failures_and_the_next_try_waits() {
    let silent = request(gateway!(8));
    let router = Router::new(router_of(&silent), |_| None).await;
    let mut mapper = PortMapper::with(Some(silent));
    assert_eq!(mapper.asked().await, None);
    assert_eq!(mapper.failures, 1);
    assert_eq!(router.heard().len(), 2, "asked by both protocols");
    mapper.remove().await;
    assert_eq!(router.heard().len(), 2, "there is nothing to take away");
    let mut closed = PortMapper::with(Some(request(gateway!(9))));
    assert_eq!(closed.asked().await, None);
}

#[tokio::test]
async fn another_network_is_asked_anew_and_an_old_answer_does_not_count() {
    let request = patient(gateway!(10));
    let _router = Router::new(router_of(&request), |asked| pcp(asked, 0, OUTSIDE, PORT, 3_600)).await;
    let mut mapper = PortMapper::with(Some(request));
    assert!(mapper.asked().await.is_some());
    mapper.failures = 3;
    mapper.request = Some(Request { gateway: || None, ..request });
    mapper.on_network();
    assert_eq!((mapper.asking.len(), mapper.failures), (1, 0));
    assert_eq!(mapper.asked().await, None);
    assert_eq!(mapper.asking.len(), 1, "and it will be asked for again");
}

#[tokio::test]
async fn a_session_port_on_another_address_is_not_mapped() {
    let elsewhere = Request { listen: Ipv4Addr::new(127, 0, 0, 2), ..request(gateway!(11)) };
    assert!(matches!(ask(elsewhere, None).await, Err(Unmapped::NoGateway)));
}

#[test]
fn waits_stay_within_their_bounds_whatever_a_router_says() {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    for (lifetime, wait) in [(1, 1), (119, 1), (600, 5), (3_600, 30), (7_200, 30), (u32::MAX, 30)] {
        assert_eq!(renew_after(lifetime), minutes(wait), "{lifetime} s");
    }
    for (failures, wait) in [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (100, 60), (u32::MAX, 60)] {
        assert_eq!(retry_after(failures), minutes(wait), "{failures} failures");
    }
}
