//! Texts that try to do something to a terminal: every sequence that steers one, every character that
//! hides or moves what others see, alone, in the middle of words, repeated and cut off.

/// More than 300 of them. None has a line feed or a NUL in it.
pub(crate) fn hostile() -> Vec<String> {
    let sequences = [
        "\x1b[2J",
        "\x1b[H",
        "\x1b[31m",
        "\x1b[8m",
        "\x1b[1;1H",
        "\x1b[999A",
        "\x1b[6n",
        "\x1b[c",
        "\x1b[5n",
        "\x1b[?1049h",
        "\x1b[?25l",
        "\x1b[?2004l",
        "\x1b[200~rm -rf ~\x1b[201~",
        "\x1b]0;title\x07",
        "\x1b]2;title\x1b\\",
        "\x1b]52;c;ZXZpbA==\x07",
        "\x1b]8;;http://evil.example\x07click\x1b]8;;\x07",
        "\x1b]4;1;?\x07",
        "\x1bP$qm\x1b\\",
        "\x1bPq#0;2;0;0;0\x1b\\",
        "\x1b_apc\x1b\\",
        "\x1b^pm\x1b\\",
        "\x1bX",
        "\x1bc",
        "\x1b7",
        "\x1b8",
        "\x1bM",
        "\x1b(0lqqk\x1b(B",
        "\x1b#8",
        "\x1b[!p",
        "\x1b[3J",
        "\x1b[20t",
        "\x1b[21t",
        "\x1b[>c",
        "\x1b[?6c",
        "\x1b[1000;1000r",
        "\x1b[4h",
        "\x1b[12l",
        "\x1b[?7l",
        "\x1b[?1000h",
        "\x1b[b",
        "\x1b[1000b",
        "\u{9b}2J",
        "\u{9b}31m",
        "\u{9d}0;title\u{9c}",
        "\u{90}q\u{9c}",
        "\u{98}",
        "\u{9e}",
        "\u{9f}",
        "\u{85}",
        "\u{84}",
        "\u{8d}",
        "\x07",
        "\x08\x08\x08",
        "\x7f",
        "\x0b",
        "\x0c",
        "\x0e",
        "\x0f",
        "\x05",
        "\x11",
        "\x13",
        "\x1a",
        "\x1c",
        "\x01",
        "\x04",
        "\x18",
        "ok\rgone",
    ];
    let characters = [
        '\u{202a}',
        '\u{202b}',
        '\u{202c}',
        '\u{202d}',
        '\u{202e}',
        '\u{2066}',
        '\u{2067}',
        '\u{2068}',
        '\u{2069}',
        '\u{200e}',
        '\u{200f}',
        '\u{61c}',
        '\u{200b}',
        '\u{200c}',
        '\u{200d}',
        '\u{2060}',
        '\u{2061}',
        '\u{2063}',
        '\u{feff}',
        '\u{ad}',
        '\u{34f}',
        '\u{115f}',
        '\u{1160}',
        '\u{17b4}',
        '\u{180e}',
        '\u{3164}',
        '\u{ffa0}',
        '\u{2800}',
        '\u{2028}',
        '\u{2029}',
        '\u{206a}',
        '\u{206f}',
        '\u{fff9}',
        '\u{fffb}',
        '\u{fe0f}',
        '\u{fe00}',
        '\u{e0100}',
        '\u{e0001}',
        '\u{e0041}',
        '\u{e007f}',
        '\u{1d173}',
        '\u{ffff}',
        '\u{fdd0}',
        '\u{10ffff}',
        '\u{301}',
        '\u{489}',
        '\u{20dd}',
    ];
    let mut texts = Vec::new();
    for sequence in sequences {
        texts.push(format!("x{sequence}"));
        texts.push(format!("before{sequence}after"));
        texts.push(format!("cut {}", &sequence[..sequence.char_indices().last().map_or(0, |(at, _)| at)]));
    }
    for c in characters {
        texts.push(format!("x{c}"));
        texts.push(format!("al{c}ice"));
        texts.push(format!("{c}{}", c.to_string().repeat(50)));
    }
    texts.push(format!("z{}", "\u{351}\u{35b}\u{489}".repeat(300)));
    texts.push(format!("{}12:34 <alice> I owe you 100", "\u{a0}".repeat(70)));
    texts.push("x".repeat(3_000));
    texts.push("\u{fdfd}\u{1242b}\u{a9c1}".repeat(20));
    texts.push("👨\u{200d}".repeat(100));
    texts.push("-- bob is gone".to_owned());
    texts.retain(|text| !text.trim().is_empty() && !text.contains('\n'));
    assert!(texts.len() >= 300, "{}", texts.len());
    texts
}

/// The first thing in what was written to a terminal that our own line editor does not write.
pub(crate) fn foreign(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8(bytes.to_vec()).map_err(|e| e.to_string());
    let text = match text {
        Ok(text) => text,
        Err(error) => return Some(error),
    };
    let mut rest = text.as_str();
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("\x1b[") {
            let end = after.find(|c: char| c.is_ascii_alphabetic() || c == '~')?;
            let (arguments, letter) = (&after[..end], &after[end..=end]);
            let own = match letter {
                "A" | "B" | "C" | "D" | "K" | "J" => arguments.bytes().all(|b| b.is_ascii_digit()),
                "m" => ["", "0", "1", "2", "31", "32", "1;32", "1;36"].contains(&arguments),
                "h" | "l" => ["?2004", "?2026", "?25"].contains(&arguments),
                _ => false,
            };
            if !own {
                return Some(format!("escape sequence {arguments:?}{letter}"));
            }
            rest = &after[end + 1..];
            continue;
        }
        let moves = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{2028}' | '\u{2029}');
        if moves || c.is_control() && !matches!(c, '\r' | '\n' | '\x07') {
            return Some(format!("{c:?} before {:?}", rest.chars().take(20).collect::<String>()));
        }
        rest = &rest[c.len_utf8()..];
    }
    None
}
