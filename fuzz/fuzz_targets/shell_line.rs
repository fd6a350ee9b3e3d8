//! A line typed or pasted into the shell.
#![no_main]

use libfuzzer_sys::fuzz_target;
use p2pchat_udp::shell::parse::parse_line;

fuzz_target!(|line: &str| {
    let _ = parse_line(line);
});
