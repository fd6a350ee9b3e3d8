//! Which interfaces there are.
