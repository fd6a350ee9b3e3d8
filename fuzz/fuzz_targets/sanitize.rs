//! What peers wrote, on its way to a terminal: no control, format or line character comes through.
#![no_main]

use libfuzzer_sys::fuzz_target;
use p2pchat_udp::text::{Name, Shown, name_key};

fuzz_target!(|text: &str| {
    for shown in Shown::lines(text).into_iter().chain([Shown::line(text), Shown::short(text, 20)]) {
        let shown = shown.as_str();
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
        for hidden in ['\u{202e}', '\u{2066}', '\u{200b}', '\u{200f}', '\u{feff}', '\u{2028}', '\u{2029}', '\u{e0041}'] {
            assert!(!shown.contains(hidden), "{hidden:?} in {shown:?}");
        }
    }
    assert!(Shown::short(text, 20).columns() <= 20);
    if let Ok(name) = Name::parse(text) {
        assert_eq!(Name::parse(name.as_str()).as_ref(), Ok(&name), "a name is a name");
        let _ = name_key(name.as_str());
    }
});
