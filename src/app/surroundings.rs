//! What `doctor` is told of this machine: its interfaces, whether multicast comes back, and what guards its ports. What that means
//! is `control::doctor`'s.

use std::{fs, path::Path};

use crate::{
    config::Settings,
    control::doctor::{Echo, Firewall, Place, Surroundings},
    net::{
        echo, interfaces,
        socket::{GROUP_PORT, PORT_LAST, SocketConfig},
    },
    node::interface::Interface,
};

/// The sockets that these settings ask for.
pub(super) fn sockets(settings: &Settings) -> SocketConfig {
    SocketConfig {
        listen: settings.listen,
        groups: settings.groups,
        no_lan: settings.no_lan,
        interfaces: settings.interfaces.clone(),
    }
}

/// Looks at the machine as it is now.
pub(super) async fn look(settings: &Settings) -> Surroundings {
    let interfaces = interfaces::read().unwrap_or_default();
    let name = |index: u32| {
        let known = interfaces.iter().find(|interface| interface.index == index);
        known.map_or_else(|| index.to_string(), |interface| interface.name.clone())
    };
    let told = |echo: echo::Echo| Echo {
        interface: name(echo.interface),
        group: echo.group,
        sent: echo.sent.map_err(|error| error.to_string()),
        heard: echo.heard,
    };
    let config = sockets(settings);
    let (echoes, broadcasts) =
        tokio::join!(echo::listen_to_self(&config, &interfaces), echo::broadcast_to_self(&config, &interfaces));
    let echoes = echoes.map_err(|error| error.to_string()).map(|echoes| echoes.into_iter().map(told).collect());
    let broadcasts = broadcasts.map_err(|error| error.to_string()).map(|echoes| echoes.into_iter().map(told).collect());
    Surroundings {
        lan: !settings.no_lan,
        only: settings.interfaces.clone(),
        network: settings.network.clone(),
        echoes,
        broadcasts,
        ports: GROUP_PORT..=PORT_LAST,
        firewall: firewall(),
        interfaces: interfaces.iter().map(place).collect(),
    }
}

fn place(interface: &Interface) -> Place {
    Place {
        name: interface.name.clone(),
        addr: interface.addrs.first().map(|(addr, _)| *addr),
        loopback: interface.loopback,
        tunnel: interface.point_to_point && !interface.loopback,
    }
}

/// By what they leave in the file system: their own commands want more rights than ours.
fn firewall() -> Firewall {
    let is_on = |config: String| config.lines().any(|line| line.trim().eq_ignore_ascii_case("enabled=yes"));
    if fs::read_to_string("/etc/ufw/ufw.conf").is_ok_and(is_on) {
        Firewall::Ufw
    } else if Path::new("/run/firewalld").exists() || Path::new("/run/firewalld.pid").exists() {
        Firewall::Firewalld
    } else {
        Firewall::Other
    }
}
