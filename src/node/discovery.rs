//! Who is on this LAN.
