//! Reliable messages with one peer over lossy datagrams.
