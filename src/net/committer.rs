//! The thread that commits batches.
