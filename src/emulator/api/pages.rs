//! Pages of lists, and the opaque tokens between them.
//!
//! A token holds the place where the next page begins and a digest that binds it to the operation,
//! the account, the region and the filters of the call that gave it. A token used elsewhere, or
//! one that this emulator never gave, is refused.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Call, error::ApiError};
use crate::emulator::store::{
    collection::{self, Record, Tagged},
    records::Channel,
};

/// The members that all lists share.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PageInput {
    next_token: Option<String>,
    max_results: Option<usize>,
}

/// What a list operation lists.
#[derive(Debug)]
pub(super) struct Listing<'a> {
    /// The collection, whose name tells account and region.
    pub(super) collection: &'a str,
    /// The filters of the call, as the token is bound to them.
    pub(super) filters: &'a [&'a str],
    /// The member of the answer that holds the page.
    pub(super) member: &'static str,
    /// The page's size where the caller does not say (service model, each operation's text).
    pub(super) default_limit: usize,
}

impl Call<'_> {
    /// The asked page, in the order in which the resources were made.
    pub(super) fn list<T: Record>(
        &self,
        listing: &Listing<'_>,
        page: &PageInput,
        keep: impl Fn(&T) -> bool,
        shape: impl Fn(&Tagged<T>) -> Value,
    ) -> Result<Value, ApiError> {
        let scope = PageScope {
            key: self.shared.store.page_key(),
            operation: self.operation.name,
            collection: listing.collection,
            filters: listing.filters,
        };
        let after = scope.start(page.next_token.as_deref())?;
        let limit = page.max_results.unwrap_or(listing.default_limit);
        let found = self.shared.store.read(|view| {
            Ok::<_, ApiError>(collection::page(view, listing.collection, after, limit, keep)?)
        })?;
        let items: Vec<Value> = found.items.iter().map(shape).collect();
        let mut output = json!({ listing.member: items });
        // Absent at the end, never null: hand-written loops look whether it is there.
        if let (Some(next), Some(output)) = (found.next, output.as_object_mut()) {
            output.insert("nextToken".to_owned(), scope.token(next).into());
        }
        Ok(output)
    }

    /// The asked page of what belongs to a channel, which must be there.
    pub(super) fn list_of_channel<T: Record>(
        &self,
        channel_arn: &str,
        listing: &Listing<'_>,
        page: &PageInput,
        shape: impl Fn(&Tagged<T>) -> Value,
    ) -> Result<Value, ApiError> {
        self.shared.store.read(|view| self.find::<Channel>(view, channel_arn))?;
        self.list(listing, page, |_| true, shape)
    }
}

/// The list that a token belongs to.
#[derive(Debug)]
struct PageScope<'a> {
    /// The number of this emulator's data folder.
    key: u128,
    operation: &'a str,
    collection: &'a str,
    filters: &'a [&'a str],
}

impl PageScope<'_> {
    /// After which sequence number the asked page begins. An empty token is as none.
    fn start(&self, token: Option<&str>) -> Result<u64, ApiError> {
        match token {
            None | Some("") => Ok(0),
            Some(token) => self.read(token).ok_or_else(|| {
                ApiError::invalid(
                    "nextToken",
                    "it must be a token that the same operation with the same filters returned",
                )
            }),
        }
    }

    /// The token of the page after `sequence`.
    fn token(&self, sequence: u64) -> String {
        let mut token = sequence.to_be_bytes().to_vec();
        token.extend(self.digest(sequence));
        BASE64_URL_SAFE_NO_PAD.encode(token)
    }

    fn read(&self, token: &str) -> Option<u64> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
        let (sequence, digest) = bytes.split_first_chunk()?;
        let sequence = u64::from_be_bytes(*sequence);
        (digest == self.digest(sequence)).then_some(sequence)
    }

    fn digest(&self, sequence: u64) -> [u8; 16] {
        let mut hash = Sha256::new();
        hash.update(self.key.to_be_bytes());
        hash.update(sequence.to_be_bytes());
        for part in [self.operation, self.collection].iter().chain(self.filters) {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        let full = hash.finalize();
        full.first_chunk().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCOPE: PageScope<'_> = PageScope {
        key: 1,
        operation: "ListChannels",
        collection: "us-west-2",
        filters: &["", ""],
    };

    #[test]
    fn a_token_leads_to_where_it_was_given() {
        let token = SCOPE.token(7);
        assert_eq!(SCOPE.start(Some(&token)), Ok(7));
        assert_eq!(SCOPE.start(None), Ok(0));
        assert_eq!(SCOPE.start(Some("")), Ok(0));
    }

    #[test]
    fn a_token_is_worth_nothing_elsewhere() {
        let token = SCOPE.token(7);
        let elsewhere = [
            PageScope { key: 2, ..SCOPE },
            PageScope { operation: "ListStreams", ..SCOPE },
            PageScope { collection: "eu-west-1", ..SCOPE },
            PageScope { filters: &["name", "demo"], ..SCOPE },
            PageScope { collection: "us-west-", filters: &["2", ""], ..SCOPE },
        ];
        for scope in elsewhere {
            assert!(scope.start(Some(&token)).is_err(), "{scope:?}");
        }
        for made_up in ["a", "AAAAAAAAAAc", "=", "+/", &token[1..], &format!("{token}AAAA")] {
            assert!(SCOPE.start(Some(made_up)).is_err(), "{made_up}");
        }
    }
}
