//! Noise XX over three datagrams.
