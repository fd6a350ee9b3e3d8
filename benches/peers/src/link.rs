//! A link that delays and loses: each side's thread lives in a network namespace of its own, whose only interface is a
//! TUN device, and what leaves one device enters the other later, or never.

use std::{
    io::{Read, Write},
    net::Ipv4Addr,
    process::Command,
    sync::mpsc,
    thread,
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use nix::{
    sched::{CloneFlags, unshare},
    sys::prctl,
    unistd::Uid,
};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use tun::Device;

use crate::plan::Impairment;

/// The two ends.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

const NETMASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);
const NAME: &str = "peers0";
const MTU: u16 = 1_500;
/// Packets that wait for us in a device: no burst is to be lost here.
const QUEUE_LEN: u32 = 20_000;
/// Nanoseconds by which a sleep may be late.
const TIMER_SLACK: u64 = 1;

/// Why there can be no such link here; `None`: there can be.
pub(crate) fn missing() -> Option<&'static str> {
    if !Uid::effective().is_root() {
        return Some("only root may make network namespaces");
    }
    if !std::path::Path::new("/dev/net/tun").exists() {
        return Some("this system has no /dev/net/tun");
    }
    Command::new("ip").arg("-V").output().is_err().then_some("there is no `ip` (iproute2)")
}

/// Moves this thread into a namespace of its own. Sockets that it opens from now on are there.
pub(crate) fn enter(address: Ipv4Addr) -> Result<Device> {
    unshare(CloneFlags::CLONE_NEWNET).context("a network namespace")?;
    let mut config = tun::Configuration::default();
    config.tun_name(NAME).address(address).netmask(NETMASK).mtu(MTU).up();
    let device = tun::create(&config).context("a TUN device")?;
    // The child is where this thread is.
    let queue = ["link", "set", NAME, "txqueuelen", &QUEUE_LEN.to_string()];
    ensure!(Command::new("ip").args(queue).status()?.success(), "ip {} fails", queue.join(" "));
    Ok(device)
}

/// Lets packets through, both ways, until the process ends.
pub(crate) fn connect(client: Device, server: Device, impairment: Impairment, rng_seed: u64) {
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    one_way(from_client, to_server, impairment, ChaCha20Rng::seed_from_u64(2 * rng_seed));
    one_way(from_server, to_client, impairment, ChaCha20Rng::seed_from_u64(2 * rng_seed + 1));
}

fn one_way(
    mut from: impl Read + Send + 'static,
    mut to: impl Write + Send + 'static,
    impairment: Impairment,
    mut rng: ChaCha20Rng,
) {
    let (sender, receiver) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut packet = vec![0; usize::from(MTU)];
        while let Ok(len) = from.read(&mut packet) {
            let packet = &packet[..len];
            // IPv6 looks for neighbours, of which there are none.
            let is_v4 = packet.first().is_some_and(|first| first >> 4 == 4);
            if is_v4 && f64::from(rng.next_u32()) >= impairment.loss * f64::from(u32::MAX) {
                let _ = sender.send((Instant::now() + impairment.delay, packet.to_vec()));
            }
        }
    });
    thread::spawn(move || {
        let _ = prctl::set_timerslack(TIMER_SLACK);
        for (at, packet) in receiver {
            thread::sleep(at.saturating_duration_since(Instant::now()));
            // A packet that the other side has no room for is lost, as on any link.
            let _ = to.write(&packet);
        }
    });
}
