//! A key on a command line: whatever it holds, a real shell reads back the same and does nothing else.

use std::process::Command;

use lockstep::cli::show::{stuck::quoted, text::is_harmless};

/// What a shell makes of words.
fn read(words: &[String]) -> Vec<String> {
    let script = format!("printf '%s\\0' {}", words.join(" "));
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert!(
        output.status.success(),
        "{script}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_terminator('\0').map(str::to_owned).collect()
}

#[test]
fn a_shell_reads_back_what_was_quoted() {
    let texts = [
        "rigatoni:lock:orders",
        "",
        "=ls",
        "a b",
        "it's",
        "'",
        "$(reboot)",
        "`reboot`",
        "\"$HOME\"",
        "a\\",
        "!!",
        "*",
        "~",
        "-x",
        "#",
        "größe 表",
        "\u{1b}[2J",
        "two\nlines\n",
        "\r\t\u{7f}",
        "\u{202e}x",
        "e\u{301}",
        "\\033",
        "\u{1b}'1\u{1b}\\",
    ];
    let words: Vec<_> = texts.iter().map(|text| quoted(text).unwrap()).collect();
    assert_eq!(read(&words), texts);
    for word in &words {
        assert!(word.chars().all(is_harmless), "{word:?}");
    }
    assert_eq!(quoted("a\0b"), None);
    assert_eq!(quoted("rigatoni:lock:orders").unwrap(), "rigatoni:lock:orders");
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(32))]
    #[test]
    fn whatever_it_is(texts in proptest::collection::vec("[^\u{0}]{0,12}", 1..40)) {
        let words: Vec<_> = texts.iter().map(|text| quoted(text).unwrap()).collect();
        proptest::prop_assert_eq!(read(&words), texts);
    }
}
