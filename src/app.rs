//! Opens everything and wires it together.
