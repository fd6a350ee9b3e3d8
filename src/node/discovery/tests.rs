//! Whole discoveries on a small LAN, on virtual time: seeded, exact, no sleeping. Keys are stand-ins:
//! what a signature is worth is `crypto`'s affair.

mod attacks;
mod changes;
mod figures;
mod lan;
