//! Text for a terminal: made harmless, wrapped, shortened, coloured. Pure.
//!
//! Colours are always written; whoever prints takes them out where nobody wants them.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use textwrap::Options;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// How something is to be read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Tone {
    /// As it is.
    #[default]
    Plain,
    /// All is well.
    Good,
    /// Not known, or about to change.
    Unsure,
    /// Somebody must act.
    Bad,
    /// A heading.
    Strong,
    /// Less important than the rest.
    Faint,
}

impl Tone {
    fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Unsure => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
            Self::Strong => Style::new().bold(),
            Self::Faint => Style::new().dimmed(),
        }
    }
}

/// The text in its colour.
#[must_use]
pub fn paint(tone: Tone, text: &str) -> String {
    let style = tone.style();
    if text.is_empty() || style == Style::new() {
        return text.to_owned();
    }
    format!("{style}{text}{style:#}")
}

/// The text without anything that a terminal would obey or that a reader can't see: names of locks are whatever an
/// application chose. Such characters are shown as Rust writes them.
#[must_use]
pub fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_harmless(letter) {
            cleaned.push(letter);
        } else {
            // Writing to a String can't fail.
            let _ = write!(cleaned, "{}", letter.escape_default());
        }
    }
    cleaned
}

/// Whether a character only shows itself: no control character, no mark that turns the direction of others, nothing
/// without a width of its own.
#[must_use]
pub fn is_harmless(letter: char) -> bool {
    !letter.is_control() && letter.width().is_some_and(|width| width > 0)
}

/// Columns that the text takes.
#[must_use]
pub fn columns(text: &str) -> usize {
    text.width()
}

/// The text broken into lines of this width, each begun with `indent`. Names are never broken: they are there to be
/// copied.
#[must_use]
pub fn wrap(text: &str, width: usize, indent: &str) -> String {
    let options = Options::new(width)
        .initial_indent(indent)
        .subsequent_indent(indent)
        .break_words(false)
        .word_splitter(textwrap::WordSplitter::NoHyphenation)
        .wrap_algorithm(textwrap::WrapAlgorithm::FirstFit);
    textwrap::fill(text, options) + "\n"
}

/// The text in at most `width` columns, with an ellipsis for what is left out of its middle: both ends of a name tell it
/// apart from others.
#[must_use]
pub fn shorten(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(1);
    let (front, back) = (room / 3, room - room / 3);
    let begin = fitting(text.chars(), front);
    let end: String = fitting(text.chars().rev(), back).chars().rev().collect();
    format!("{begin}…{end}")
}

fn fitting(letters: impl Iterator<Item = char>, width: usize) -> String {
    let mut taken = 0;
    letters
        .take_while(|letter| {
            taken += letter.width().unwrap_or_default();
            taken <= width
        })
        .collect()
}

/// `1 lock`, `2 locks`.
#[must_use]
pub fn counted(count: usize, one: &str) -> String {
    if count == 1 {
        format!("1 {one}")
    } else {
        format!("{count} {one}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_would_obey_is_shown() {
        for (text, cleaned) in [
            ("mydb:users", "mydb:users"),
            ("größe 表", "größe 表"),
            ("\u{1b}[2Jgone", "\\u{1b}[2Jgone"),
            ("two\nlines\r\t", "two\\nlines\\r\\t"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("a\u{202e}b\u{200b}c\u{7f}", "a\\u{202e}b\\u{200b}c\\u{7f}"),
        ] {
            assert_eq!(clean(text), cleaned);
        }
    }

    #[test]
    fn a_shortened_name_keeps_both_ends_and_fits() {
        assert_eq!(shorten("shop-7d9c8b6f5d-bbbbb", 21), "shop-7d9c8b6f5d-bbbbb");
        assert_eq!(shorten("shop-7d9c8b6f5d-bbbbb", 13), "shop…5d-bbbbb");
        for width in 1..12 {
            assert!(columns(&shorten("表表表表表表表表", width)) <= width);
        }
    }

    #[test]
    fn names_are_not_broken() {
        let wrapped = wrap("held by shop-7d9c8b6f5d-bbbbb since then", 20, "  ");
        assert_eq!(wrapped, "  held by\n  shop-7d9c8b6f5d-bbbbb\n  since then\n");
    }
}
