//! The receive sockets of LAN discovery.
