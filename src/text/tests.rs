//! What peers may write, and what of it reaches a screen.

use proptest::prelude::*;

use super::*;

fn line(text: &str) -> String {
    Shown::line(text).to_string()
}

/// What no terminal may ever get from a peer.
fn is_dangerous(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{2028}' | '\u{2029}')
}

#[test]
fn ordinary_writing_stays_as_it_is() {
    for text in [
        "hello",
        "Grüße, ça va? naïve",
        "שלום עולם",
        "مرحبا بالعالم",
        "می\u{200c}خواهم",
        "क\u{94d}\u{200d}ष",
        "日本語のテキスト",
        "葛\u{e0100}飾区",
        "❤\u{fe0f} 1\u{fe0f}\u{20e3}",
        "👨\u{200d}👩\u{200d}👧",
        "🧑🏽\u{200d}🚀",
        "🏳\u{fe0f}\u{200d}🌈",
        "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
        "🇨🇭",
        "e\u{301}\u{323}",
        "ש\u{5c1}\u{5bc}\u{5b8}",
        "한국어 \u{1112}\u{1161}\u{11ab}",
        "C:\\dir \\x1b",
    ] {
        assert_eq!(line(text), text);
    }
}

#[test]
fn what_steers_a_terminal_is_shown_escaped() {
    for (text, shown) in [
        ("\x1b[2Jhi", "\\x1b[2Jhi"),
        ("\u{9b}31m", "\\x9b31m"),
        ("a\rb\nc", "a\\rb\\nc"),
        ("a\u{2028}b", "a\\u{2028}b"),
        ("user\u{202e}txt.exe", "user\\u{202e}txt.exe"),
        ("\u{2066}x\u{2069}", "\\u{2066}x\\u{2069}"),
        ("a\u{200b}b", "a\\u{200b}b"),
        ("al\u{200d}ice", "al\\u{200d}ice"),
        ("x\u{fe0f}", "x\\u{fe0f}"),
        ("❤\u{fe0f}\u{fe0f}", "❤\u{fe0f}\\u{fe0f}"),
        ("👨\u{200d}x", "👨\\u{200d}x"),
        ("hid\u{e0041}den", "hid\\u{e0041}den"),
        ("\u{7f}\u{0}", "\\x7f\\x00"),
        ("\u{feff}bom", "\\u{feff}bom"),
        ("\u{ffff}", "\\u{ffff}"),
        ("a\tb", "a    b"),
    ] {
        assert_eq!(line(text), shown, "{text:?}");
    }
}

#[test]
fn marks_do_not_pile_up_nor_stand_on_our_own_characters() {
    let zalgo = format!("z{}a", "\u{351}".repeat(1_000));
    assert_eq!(line(&zalgo), format!("z{}[+996 marks]a", "\u{351}".repeat(4)));
    assert_eq!(line("\u{301}x"), "\u{25cc}\u{301}x");
}

#[test]
fn a_text_of_several_lines_is_harmless_line_by_line() {
    let lines: Vec<String> = Shown::lines("one\r\n\x1b[31mtwo\n").iter().map(Shown::to_string).collect();
    assert_eq!(lines, ["one", "\\x1b[31mtwo", ""]);
}

#[test]
fn a_shortened_text_says_so_and_fits() {
    assert_eq!(Shown::short("see you at eight", 10).as_str(), "see you a…");
    assert_eq!(Shown::short("short", 10).as_str(), "short");
    assert_eq!(Shown::short("日本語日本語", 6).as_str(), "日本…");
    assert_eq!(Shown::short("two\nlines", 20).as_str(), "two\\nlines");
}

#[test]
fn names_are_folded_and_bounded() {
    assert_eq!(Name::parse("  Ann \u{a0} Lee ").unwrap().as_str(), "Ann Lee");
    assert_eq!(Name::parse(&"x".repeat(64)).unwrap().as_str().len(), 64);
    assert_eq!(Name::parse("   "), Err(NameError::Empty));
    assert_eq!(Name::parse(&"x".repeat(65)), Err(NameError::TooLong));
    for text in ["a\nb", "a\x1b[1m", "a\u{202e}b", "a\u{200d}b", "a\u{2028}b", "a\u{fe0f}", "\u{301}a", "\u{3164}"] {
        assert_eq!(Name::parse(text), Err(NameError::Characters), "{text:?}");
    }
    for text in ["#room", "@dev", "/me", "-n", "p2pchat:abc", " P2PChat:abc"] {
        assert_eq!(Name::parse(text), Err(NameError::Beginning), "{text:?}");
    }
}

#[test]
fn names_are_compared_without_case_and_composition() {
    assert_eq!(name_key("JOSÉ"), name_key("jose\u{301}"));
    assert_eq!(name_key("Straße"), name_key("STRASSE"));
    assert_ne!(name_key("alice"), name_key("аlice"), "a Cyrillic letter is another letter");
}

#[test]
fn a_name_from_the_wire_that_is_none_becomes_the_short_id() {
    let mut base = [0x66; 32];
    base[0] = 0x58;
    let id = PeerId::from_bytes(base).unwrap();
    assert_eq!(Name::or_short_id("bob", &id).as_str(), "bob");
    assert_eq!(Name::or_short_id("\x1b]0;pwned\x07", &id).as_str(), id.short());
    assert_eq!(Name::or_short_id("", &id).as_str(), id.short());
}

#[test]
fn texts_have_bounds() {
    assert!(check_text("x").is_ok());
    assert!(check_text(&"x".repeat(TEXT_LEN_MAX)).is_ok());
    assert!(check_text(&"x".repeat(TEXT_LEN_MAX + 1)).is_err());
    assert!(check_text("").is_err());
    assert!(check_text("a\0b").is_err());
}

/// Characters that do something, more often than chance would have them.
fn nasty() -> impl Strategy<Value = String> {
    let special = prop::sample::select(vec![
        '\x1b',
        '\u{9b}',
        '\r',
        '\n',
        '\t',
        '\u{200d}',
        '\u{200c}',
        '\u{202e}',
        '\u{2067}',
        '\u{fe0f}',
        '\u{fe00}',
        '\u{e0100}',
        '\u{e0067}',
        '\u{1f3f4}',
        '\u{301}',
        '\u{488}',
        '❤',
        '👩',
        '1',
        'ی',
        'क',
        '\u{94d}',
        'ש',
        '葛',
        '\u{25cc}',
        '\u{180b}',
        ' ',
    ]);
    prop::collection::vec(prop_oneof![3 => special, 1 => any::<char>()], 0..40).prop_map(String::from_iter)
}

proptest! {
    #[test]
    fn nothing_shown_steers_a_terminal(text in nasty()) {
        let shown = line(&text);
        prop_assert!(!shown.chars().any(is_dangerous), "{shown:?}");
        prop_assert!(shown.len() <= 10 * text.len() + 16, "growth is bounded: {} of {}", shown.len(), text.len());
    }

    #[test]
    fn marks_are_bounded_everywhere(text in nasty()) {
        let mut run = 0;
        for c in line(&text).chars() {
            run = if is_mark(c) && !is_selector(c) { run + 1 } else { 0 };
            prop_assert!(run <= MARKS_MAX);
        }
    }

    #[test]
    fn what_was_made_harmless_stays_as_it_is(text in nasty()) {
        let once = line(&text);
        prop_assert_eq!(line(&once), once);
    }

    #[test]
    fn a_name_is_its_own_shown_form(text in nasty()) {
        if let Ok(name) = Name::parse(&text) {
            prop_assert_eq!(line(name.as_str()), name.as_str());
            prop_assert!((1..=NAME_LEN_MAX).contains(&name.as_str().len()));
            let again = Name::parse(name.as_str());
            prop_assert_eq!(again.as_ref(), Ok(&name));
        }
    }

    #[test]
    fn shortened_texts_fit(text in nasty(), columns in 2usize..40) {
        let shown = Shown::short(&text, columns);
        prop_assert!(shown.columns() <= columns, "{shown:?}");
    }
}

/// Names that somebody may call himself to be taken for somebody else, by what he wants to be taken for.
const ALIKE: [(&str, &[&str]); 5] = [
    (
        "alice",
        &[
            "Alice",
            "ALICE",
            "аlice",
            "alісе",
            "ａｌｉｃｅ",
            "aIice",
            "a1ice",
            "al1ce",
            "αlice",
            "alicе",
            "аӏісе",
            "𝒂𝒍𝒊𝒄𝒆",
            "аliсe",
            "al\u{131}ce",
        ],
    ),
    ("bob", &["B0B", "b0b", "bоb", "Ьob", "𝐛𝐨𝐛", "ｂｏｂ", "BОB", "bοb"]),
    ("admin", &["аdmin", "adrnin", "admіn", "admln", "ADMIN", "ａdmin", "𝚊𝚍𝚖𝚒𝚗"]),
    ("paypal", &["pаypаl", "PaypaI", "раураl", "paypa1", "рaypal"]),
    ("Jörg", &["jörg", "Jo\u{308}rg", "Jӧrg", "JÖRG"]),
];

#[test]
fn every_name_of_the_corpus_looks_like_the_one_that_it_plays() {
    let looks = |name: &str| Name::parse(name).unwrap_or_else(|why| panic!("{name}: {why}")).looks();
    for (real, names) in ALIKE {
        for name in names {
            assert!(!looks(name).is_disjoint(&looks(real)), "{name} plays {real}");
        }
    }
    for (one, other) in [("alice", "alina"), ("bob", "rob"), ("anna", "anne"), ("ola", "ole"), ("jörg", "jurg"), ("東京", "京東")]
    {
        assert!(looks(one).is_disjoint(&looks(other)), "{one} and {other}");
    }
}

/// A capital letter may look like another one than the small one does.
#[test]
fn whoever_is_called_the_same_looks_the_same() {
    for (one, other) in [("вов", "ВОВ"), ("ВОВ", "BOB"), ("ìda", "ÌDA"), ("straße", "STRASSE")] {
        let [one, other] = [one, other].map(|name| Name::parse(name).unwrap().looks());
        assert!(!one.is_disjoint(&other), "{one:?} {other:?}");
    }
}
