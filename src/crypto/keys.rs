//! Epoch keys: seal, open, rekey.
