//! Pages of lists, and the opaque tokens that lead from one to the next.
//!
//! A token contains the position where the next page begins, and a digest that binds it to the
//! operation, account, region and filters of the call that returned it. A token that is used
//! elsewhere, or that this emulator never issued, is refused.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    call::Call,
    response::{ApiError, with},
};
use crate::emulator::store::collection::{self, Record, Tagged};

/// The page that a caller requests.
#[derive(Debug)]
pub(super) struct Page {
    token: Option<String>,
    limit: usize,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageInput {
    next_token: Option<String>,
    max_results: Option<usize>,
}

impl Call<'_> {
    /// Returns the requested page, with the size that the service model gives as the default.
    pub(super) fn page(&self, default_limit: usize) -> Result<Page, ApiError> {
        let PageInput { next_token, max_results } = self.input()?;
        Ok(Page { token: next_token, limit: max_results.unwrap_or(default_limit) })
    }

    /// Returns a page of a collection as `member` of the output, in the order of creation.
    pub(super) fn list<T: Record>(
        &self,
        page: &Page,
        member: &str,
        collection: &str,
        shape: impl Fn(&Tagged<T>) -> Value,
    ) -> Result<Value, ApiError> {
        self.list_filtered(page, member, collection, (&[], |_| true), shape)
    }

    /// Does the same for the records that pass a filter. `filters` bind the page token.
    pub(super) fn list_filtered<T: Record>(
        &self,
        page: &Page,
        member: &str,
        collection: &str,
        (filters, keep): (&[&str], impl Fn(&T) -> bool),
        shape: impl Fn(&Tagged<T>) -> Value,
    ) -> Result<Value, ApiError> {
        let store = &self.shared.store;
        let scope =
            PageScope { key: store.page_key(), operation: self.operation, collection, filters };
        let after = scope.start(page.token.as_deref())?;
        let found = store.read(|view| {
            Ok::<_, ApiError>(collection::page(view, collection, after, page.limit, keep)?)
        })?;
        let items: Vec<Value> = found.items.iter().map(shape).collect();
        let output = json!({ member: items });
        // On the last page it is absent rather than null: hand-written loops check for its presence.
        Ok(match found.next {
            Some(next) => with(output, json!({ "nextToken": scope.token(next) })),
            None => output,
        })
    }
}

/// The list that a token belongs to.
#[derive(Debug)]
struct PageScope<'a> {
    /// The random number of this emulator's data folder.
    key: u128,
    operation: &'a str,
    /// The collection, whose name contains account and region.
    collection: &'a str,
    filters: &'a [&'a str],
}

impl PageScope<'_> {
    /// Returns the sequence number after which the page begins. An empty token counts as absent.
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

    /// Returns the token of the page after `sequence`.
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
    fn token_returns_its_position() {
        let token = SCOPE.token(7);
        assert_eq!(SCOPE.start(Some(&token)), Ok(7));
        assert_eq!(SCOPE.start(None), Ok(0));
        assert_eq!(SCOPE.start(Some("")), Ok(0));
    }

    #[test]
    fn token_is_refused_elsewhere() {
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
