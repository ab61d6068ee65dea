//! Parses a `curl` command as a browser's developer tools copy it.
//!
//! Chromium and Firefox quote for a POSIX shell (`'…'`, and `$'…'` if there is an escape) or with carets for the
//! Windows command line. Nothing is run or expanded; only the URL and the `Origin` header are extracted.

use std::{iter::Peekable, str::Chars};

/// The parts of a command's request that inspection needs.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Command {
    pub(super) url: Option<String>,
    pub(super) origin: Option<String>,
}

impl Command {
    /// Parses a command; returns `None` if the text is not one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("curl.exe").or_else(|| text.strip_prefix("curl"))?;
        if !rest.starts_with(char::is_whitespace) {
            return None;
        }
        let mut words = split_words(&without_carets(rest)).into_iter();
        let mut command = Self::default();
        while let Some(word) = words.next() {
            match word.as_str() {
                "-H" | "--header" => {
                    if let Some(header) = words.next() {
                        command.header(&header);
                    }
                }
                "--url" => command.url = words.next(),
                option if takes_value(option) => drop(words.next()),
                option if option.starts_with('-') => {
                    if let Some(header) = option.strip_prefix("-H") {
                        command.header(header);
                    }
                }
                url => {
                    command.url.get_or_insert_with(|| url.to_owned());
                }
            }
        }
        Some(command)
    }

    fn header(&mut self, header: &str) {
        if let Some((name, value)) = header.split_once(':')
            && name.trim().eq_ignore_ascii_case("origin")
        {
            self.origin = Some(value.trim().to_owned());
        }
    }
}

/// Whether browsers write the value of this option as a separate word.
fn takes_value(option: &str) -> bool {
    matches!(
        option,
        "-X" | "--request"
            | "-A"
            | "--user-agent"
            | "-e"
            | "--referer"
            | "-b"
            | "--cookie"
            | "-d"
            | "--data"
            | "--data-raw"
            | "--data-binary"
            | "-o"
            | "--output"
            | "-x"
            | "--proxy"
            | "-u"
            | "--user"
            | "-m"
            | "--max-time"
    )
}

/// Removes the escapes of the Windows command line: `^` before a character or the end of a line.
fn without_carets(text: &str) -> String {
    if !text.contains("^\"") {
        return text.to_owned();
    }
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        plain.extend(if c == '^' { characters.next() } else { Some(c) });
    }
    plain
}

/// Splits a command into words as a POSIX shell does, without expanding anything.
fn split_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '\'' => quoted(&mut characters, '\'', Escapes::None, word.get_or_insert_default()),
            '"' => quoted(&mut characters, '"', Escapes::Literal, word.get_or_insert_default()),
            '$' if characters.next_if_eq(&'\'').is_some() => {
                quoted(&mut characters, '\'', Escapes::Ansi, word.get_or_insert_default());
            }
            '\\' => match characters.next() {
                // A backslash at the end of a line continues it.
                None | Some('\n') => {}
                Some('\r') => drop(characters.next_if_eq(&'\n')),
                Some(escaped) => word.get_or_insert_default().push(escaped),
            },
            c if c.is_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

type Characters<'a> = Peekable<Chars<'a>>;

/// The meaning of a backslash between quotes.
#[derive(Clone, Copy)]
enum Escapes {
    /// No meaning: `'…'`.
    None,
    /// The next character is taken literally: `"…"`.
    Literal,
    /// C escapes: `$'…'`.
    Ansi,
}

/// Reads up to the closing quote, or to the end if it is missing.
fn quoted(characters: &mut Characters<'_>, end: char, escapes: Escapes, word: &mut String) {
    while let Some(c) = characters.next() {
        match (c, escapes) {
            (c, _) if c == end => return,
            ('\\', Escapes::Literal) => word.extend(characters.next()),
            ('\\', Escapes::Ansi) => word.extend(ansi_escape(characters)),
            (c, _) => word.push(c),
        }
    }
}

/// Reads the character that a backslash introduces in `$'…'`.
fn ansi_escape(characters: &mut Characters<'_>) -> Option<char> {
    match characters.next()? {
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'u' => unicode(characters),
        other => Some(other),
    }
}

/// Reads the character of `\uXXXX`, the form in which Chromium writes `!` and non-ASCII characters.
fn unicode(characters: &mut Characters<'_>) -> Option<char> {
    let mut code = 0;
    for _ in 0..4 {
        let Some(digit) = characters.peek().and_then(|c| c.to_digit(16)) else { break };
        characters.next();
        code = code * 16 + digit;
    }
    char::from_u32(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://a.live-video.net/a.m3u8?token=x.y.z";

    fn command(text: &str) -> (String, Option<String>) {
        let command = Command::parse(text).expect(text);
        (command.url.expect(text), command.origin)
    }

    fn with_origin() -> (String, Option<String>) {
        (URL.to_owned(), Some("https://example.com".to_owned()))
    }

    #[test]
    fn chromium_command_for_bash_is_parsed() {
        let text = format!(
            "curl '{URL}' \\\n  -H 'accept: */*' \\\n  -b $'a=\\u0021b\\'c' \\\n  \
             -H 'origin: https://example.com' \\\n  -H 'referer: https://example.com/' \\\n  --compressed"
        );
        assert_eq!(command(&text), with_origin());
    }

    #[test]
    fn chromium_command_for_windows_is_parsed() {
        let text = format!(
            "curl ^\"{URL}^\" ^\r\n  -H ^\"accept: */*^\" ^\r\n  -H ^\"Origin: https://example.com^\""
        );
        assert_eq!(command(&text), with_origin());
    }

    #[test]
    fn firefox_command_is_parsed() {
        let text = format!(
            "curl '{URL}' --compressed -H 'User-Agent: Mozilla/5.0' -X GET -H 'Origin: https://example.com'"
        );
        assert_eq!(command(&text), with_origin());
    }

    #[test]
    fn typed_command_is_parsed() {
        assert_eq!(
            command(&format!("curl -i -HOrigin:https://example.com \"{URL}\"")),
            with_origin()
        );
        assert_eq!(command(&format!("curl -o /dev/null --url {URL} x")), (URL.to_owned(), None));
        assert_eq!(command("curl https://a.test/?a\\&b"), ("https://a.test/?a&b".to_owned(), None));
    }

    #[test]
    fn truncated_command_is_parsed_as_far_as_it_goes() {
        assert_eq!(Command::parse("curly x"), None);
        assert_eq!(Command::parse("curl"), None);
        assert_eq!(Command::parse("curl -H"), Some(Command::default()));
        for text in ["curl 'open", "curl \"open\\", "curl $'\\u00", "curl a\\", "curl ^\"^"] {
            assert!(Command::parse(text).is_some(), "{text}");
        }
    }
}
