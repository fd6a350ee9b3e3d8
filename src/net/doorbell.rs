//! Rings when an interface or an address changed, so that the next look at them need not wait. What has
//! changed is found by looking; a ring that is missed costs one interval.

#[cfg(any(target_os = "linux", target_os = "android"))]
pub use netlink::Doorbell;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub use silent::Doorbell;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod netlink {
    use std::{io, os::fd::AsRawFd};

    use nix::{
        errno::Errno,
        libc::{RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR, RTMGRP_LINK},
        sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket},
    };
    use tokio::{io::Interest, net::UdpSocket};

    /// The kernel's own announcements (rtnetlink(7)). Nothing of them is read but that they came. The
    /// reactor has no safe door for a socket of just any family, and does not care which it is: this one
    /// goes in by that for UDP.
    #[derive(Debug)]
    pub struct Doorbell(Option<UdpSocket>);

    impl Doorbell {
        /// Must be called in a tokio runtime. One that cannot be had never rings.
        pub fn new() -> Self {
            Self(open().inspect_err(|error| tracing::info!("interfaces are only polled: {error}")).ok())
        }

        /// Waits for the next ring.
        pub async fn rings(&self) {
            let Some(bell) = &self.0 else { return std::future::pending().await };
            if bell.readable().await.is_err() {
                return std::future::pending().await;
            }
            // However many announcements wait, and also where some were lost: one ring.
            let mut buffer = [0; 8_192];
            let mut drained = || match recv(bell.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(_) | Err(Errno::ENOBUFS | Errno::EINTR) => Ok(()),
                Err(_) => Err(io::ErrorKind::WouldBlock.into()),
            };
            while bell.try_io(Interest::READABLE, &mut drained).is_ok() {}
        }
    }

    fn open() -> io::Result<UdpSocket> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        let groups = u32::try_from(RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR).unwrap_or(0);
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        UdpSocket::from_std(fd.into())
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod silent {
    /// This system's way of ringing is not known here: interfaces are only polled.
    #[derive(Debug)]
    pub struct Doorbell;

    impl Doorbell {
        /// Never rings.
        pub fn new() -> Self {
            Self
        }

        /// Waits for ever.
        pub async fn rings(&self) {
            std::future::pending().await
        }
    }
}

impl Default for Doorbell {
    fn default() -> Self {
        Self::new()
    }
}
