//! The control socket: JSON lines.
