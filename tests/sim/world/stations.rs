//! Hosts that run a [`Service`] instead of a machine's node: they start, stop and start anew on virtual
//! time, under the same queue of events.

use std::{any::Any, time::Duration};

use p2pchat_udp::clock::{Instant, Now, Unix};

use super::{TURNS_PER_INSTANT_MAX, UNIX_START, What, World};
use crate::{
    dice::Dice,
    faults::Fault,
    network::{Parcel, To},
    service::{Begin, Service},
};

/// A host with a service.
pub(crate) struct Station {
    begin: Begin,
    lives: u64,
    /// None: it is switched off.
    service: Option<Box<dyn Service>>,
    /// Its clock that never goes back stands here when the world begins.
    boot_clock: Duration,
    turns: (Duration, u32),
}

impl Station {
    pub(super) fn deadline(&self) -> Option<Duration> {
        Some(self.service.as_ref()?.poll_timeout()?.since_start().saturating_sub(self.boot_clock))
    }
}

impl World {
    /// A service on a host that is no machine, switched off.
    pub(crate) fn add_station(&mut self, host: usize, begin: Begin) {
        let boot_clock = Dice::new(self.rng_seed, &format!("station {host}")).range(60..=1_000_000);
        let boot_clock = Duration::from_secs(boot_clock);
        self.stations.insert(host, Station { begin, lives: 0, service: None, boot_clock, turns: Default::default() });
    }

    /// It starts then.
    pub(crate) fn open_at(&mut self, at: Duration, host: usize) {
        self.at(at, What::Open { host });
    }

    /// It is killed then.
    pub(crate) fn close_at(&mut self, at: Duration, host: usize) {
        self.at(at, What::Close { host });
    }

    /// The service that runs on a host, where it is of this type.
    pub(crate) fn service<T: Service>(&self, host: usize) -> Option<&T> {
        let service: &dyn Any = self.stations.get(&host)?.service.as_deref()?;
        service.downcast_ref()
    }

    /// One input to the service of this type that runs on a host, and everything that comes of it.
    pub(crate) fn tell<T: Service>(&mut self, host: usize, input: impl FnOnce(Now, &mut T)) {
        assert!(self.service::<T>(host).is_some(), "no such service runs on host {host}");
        self.with_service(host, |now, service| {
            let service: &mut dyn Any = service;
            input(now, service.downcast_mut().expect("it was just there"));
        });
    }

    /// Its clocks: the wall clock is right.
    fn station_clocks(&self, station: &Station) -> Now {
        let unix = Unix(UNIX_START + self.now.as_millis() as u64);
        Now { instant: Instant::from_start(station.boot_clock + self.now), unix }
    }

    pub(super) fn open(&mut self, host: usize) {
        let rng_seed = |life| Dice::seed_of(self.rng_seed, &format!("station {host} {life}"));
        let station = &self.stations[&host];
        let (rng_seed, now) = (rng_seed(station.lives), self.station_clocks(station));
        let station = self.stations.get_mut(&host).expect("it was just there");
        if station.service.is_some() {
            return;
        }
        station.lives += 1;
        station.service = Some((station.begin)(rng_seed, now));
        self.note(format_args!("station {host} starts"), &[]);
        self.with_service(host, |_, _| ());
    }

    pub(super) fn close(&mut self, host: usize) {
        let station = self.stations.get_mut(&host).expect("a station");
        if station.service.take().is_some() {
            self.note(format_args!("station {host} is dead"), &[]);
        }
    }

    pub(super) fn restart(&mut self, host: usize, back: Duration) {
        self.fired.strike(Fault::StationRestart);
        self.close(host);
        self.open_at(self.now + back, host);
    }

    pub(super) fn station_timeout(&mut self, host: usize) {
        self.with_service(host, |now, service| service.handle_timeout(now));
    }

    /// What came to a station's host; only what hits the port of its socket reaches the service.
    pub(super) fn station_hears(&mut self, host: usize, mut parcel: Parcel) {
        if parcel.to.port() == self.network.address(host).port() {
            self.with_service(host, |now, service| service.handle_datagram(now, parcel.from, &mut parcel.bytes));
        }
    }

    fn with_service(&mut self, host: usize, input: impl FnOnce(Now, &mut dyn Service)) {
        let Some(station) = self.stations.get(&host) else { return };
        let now = self.station_clocks(station);
        let station = self.stations.get_mut(&host).expect("it was just there");
        let Some(service) = &mut station.service else { return };
        station.turns = if station.turns.0 == self.now { (self.now, station.turns.1 + 1) } else { (self.now, 0) };
        input(now, service.as_mut());
        let (mut leaving, mut out) = (Vec::new(), Vec::new());
        while let Some(to) = service.poll_transmit(&mut out) {
            leaving.push((to, std::mem::take(&mut out)));
        }
        if station.turns.1 > TURNS_PER_INSTANT_MAX {
            self.fail(&format_args!("station {host} does not sleep"));
        }
        for (to, bytes) in leaving {
            self.note(format_args!("station {host} sends {} bytes to {to}", bytes.len()), &bytes);
            self.carry(host, To::Unicast(to), &bytes);
        }
    }
}
