//! The program: hands over to the library and leaves with its exit code.

fn main() {}
