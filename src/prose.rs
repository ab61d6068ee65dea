//! How texts become sentences.
//!
//! Errors begin in lower case and end without a full stop, since they mostly follow a colon. Where one
//! stands alone, it is made a sentence here, and the names in it stay as they are.

/// `text` with a capital and a full stop. Names that it begins with, such as paths, stay as they are.
pub(crate) fn sentence(text: &str) -> String {
    let is_word =
        text.split(' ').next().is_some_and(|it| it.bytes().all(|c| c.is_ascii_lowercase()));
    let (first, rest) = text.split_at_checked(1).unwrap_or_default();
    let begun = if is_word { format!("{}{rest}", first.to_uppercase()) } else { text.to_owned() };
    if begun.ends_with('.') { begun } else { format!("{begun}.") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_are_given_a_capital() {
        for (text, expected) in [
            ("the keyring is empty; run it", "The keyring is empty; run it."),
            ("keys/us-west-2 is open.", "keys/us-west-2 is open."),
            ("tokens.max_ttl is 5 s here", "tokens.max_ttl is 5 s here."),
            ("us-west-2 has no playback key yet", "us-west-2 has no playback key yet."),
            ("arn:aws:ivs:us-west-1:1:x/y signs", "arn:aws:ivs:us-west-1:1:x/y signs."),
            ("2 of 3 are used", "2 of 3 are used."),
            ("", "."),
        ] {
            assert_eq!(sentence(text), expected);
        }
    }
}
