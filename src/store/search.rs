//! Which lines a search means: words without case and accents, beginnings of words, phrases. Where such lines may stand, without
//! reading them all, is told by `index`.

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// What a search looks for.
#[derive(Debug)]
pub(super) struct Search(Vec<Pattern>);

/// A word, the beginning of one, or a phrase.
#[derive(Debug)]
pub(super) struct Pattern {
    pub(super) words: Vec<String>,
    /// The last word may go on.
    pub(super) open: bool,
}

impl Search {
    /// Each of `words` must be there: a word, the beginning of one and `*`, or a phrase.
    pub(super) fn new(words: &[String]) -> Self {
        let patterns = words.iter().map(|word| Pattern { words: split(word), open: word.ends_with('*') });
        Self(patterns.filter(|pattern| !pattern.words.is_empty()).collect())
    }

    /// True for one that everything fits.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn patterns(&self) -> &[Pattern] {
        &self.0
    }

    /// True where `text` has all of it.
    pub(super) fn matches(&self, text: &str) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let there = split(text);
        self.0.iter().all(|pattern| pattern.is_in(&there))
    }
}

impl Pattern {
    fn is_in(&self, there: &[String]) -> bool {
        let Some((last, before)) = self.words.split_last() else { return true };
        there.windows(self.words.len()).any(|window| {
            window.split_last().is_some_and(|(end, start)| {
                start == before && if self.open { end.starts_with(last.as_str()) } else { end == last }
            })
        })
    }
}

/// The words of a text, without case and accents. In scripts that set no blanks each sign is one: what stands together is found
/// as a phrase.
pub(super) fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut end = |word: &mut String| {
        if !word.is_empty() {
            words.push(std::mem::take(word));
        }
    };
    for char in text.nfkd().filter(|char| !is_combining_mark(*char)).flat_map(char::to_lowercase) {
        if stands_alone(char) {
            end(&mut word);
            word.push(char);
            end(&mut word);
        } else if char.is_alphanumeric() {
            word.push(char);
        } else {
            end(&mut word);
        }
    }
    end(&mut word);
    words
}

/// Thai to Myanmar, Khmer, kana, and the ideographs of Chinese and Japanese.
const fn stands_alone(char: char) -> bool {
    matches!(char,
        '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{3040}'..='\u{30ff}'
        | '\u{31f0}'..='\u{31ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lose_case_and_accents_and_signs_stand_alone() {
        let words = |text: &str| split(text).join("|");
        assert_eq!(words("Das Café, um 8!"), "das|cafe|um|8");
        assert_eq!(words("ΣΊΣΥΦΟΣ naïve ﬁne"), "σισυφοσ|naive|fine");
        assert_eq!(words("明日は雨 ok東京"), "明|日|は|雨|ok|東|京");
        assert_eq!(words("...\u{200b} \u{301}"), "");
    }

    #[test]
    fn a_phrase_in_a_script_without_blanks_is_found_in_the_middle() {
        let search = |word: &str| Search::new(&[word.to_owned()]);
        assert!(search("東京").matches("明日は東京です"));
        assert!(!search("京東").matches("明日は東京です"));
    }
}
