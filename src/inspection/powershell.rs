//! Parses an `Invoke-WebRequest` command as a browser's developer tools copy it for PowerShell.
//!
//! Strings are enclosed in double quotes, and a backtick escapes special characters. Nothing is run or expanded;
//! only the URL and the `Origin` header are extracted.

use super::curl::Command;

/// Parses a command; returns `None` if the text is not one.
pub(super) fn parse(text: &str) -> Option<Command> {
    let (_, command) = text.split_once("Invoke-WebRequest")?;
    let mut strings = strings(command);
    let mut read = Command::default();
    while let Some((before, string)) = strings.next() {
        let before = before.trim_end();
        if before.to_ascii_lowercase().ends_with("-uri") {
            read.url.get_or_insert(string);
        } else if string.eq_ignore_ascii_case("origin") {
            // "Origin"="https://www.example.com"
            read.origin = strings.next().map(|(_, value)| value);
        }
    }
    Some(read)
}

/// Returns the strings of a command, each with the text before it.
fn strings(command: &str) -> impl Iterator<Item = (&str, String)> {
    let mut rest = command;
    std::iter::from_fn(move || {
        let (before, quoted) = rest.split_once('"')?;
        let mut string = String::new();
        let mut characters = quoted.char_indices();
        rest = "";
        while let Some((at, c)) = characters.next() {
            match c {
                '"' => {
                    rest = quoted.get(at + 1..).unwrap_or_default();
                    break;
                }
                '`' => string.extend(characters.next().map(|(_, escaped)| escaped)),
                c => string.push(c),
            }
        }
        Some((before, string))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://a.live-video.net/a.m3u8?token=x.y.z";

    #[test]
    fn chromium_command_is_parsed() {
        let text = format!(
            "$session = New-Object Microsoft.PowerShell.Commands.WebRequestSession\n\
             $session.UserAgent = \"Mozilla/5.0\"\n\
             Invoke-WebRequest -UseBasicParsing -Uri \"{URL}&a=`$b\" `\n\
             -WebSession $session `\n\
             -Headers @{{\n\"Accept\"=\"*/*\"\n  \"Origin\"=\"https://example.com\"\n  \
             \"sec-ch-ua\"=\"`\"Chromium`\";v=`\"140`\"\"\n}}"
        );
        let command = parse(&text).unwrap();
        assert_eq!(command.url.unwrap(), format!("{URL}&a=$b"));
        assert_eq!(command.origin.as_deref(), Some("https://example.com"));
    }

    #[test]
    fn truncated_command_is_parsed_as_far_as_it_goes() {
        assert_eq!(parse("Get-Item x"), None);
        for text in ["", " -Uri", " -Uri \"", " -Uri \"`", " \"Origin\"", " \"origin\"=\""] {
            let command = parse(&format!("Invoke-WebRequest{text}")).unwrap();
            assert!(command.url.is_none_or(|url| url.is_empty()), "{text}");
        }
    }
}
