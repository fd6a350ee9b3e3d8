//! The program: hands over to the library and leaves with its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    p2pchat_udp::store::hush_caught_panics();
    // A bug ends it as the manual says, whatever thread it is in.
    std::panic::catch_unwind(|| p2pchat_udp::app::main(std::env::args_os())).unwrap_or(ExitCode::FAILURE)
}
