//! The profile's key.
