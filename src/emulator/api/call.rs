//! A call as its handler sees it, and what the handlers share.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::response::{ApiError, ErrorCode};
use crate::{
    emulator::{
        Shared,
        ids::{self, IdError},
        store::{
            View,
            collection::{self, Record, Tagged},
            records::{self, Channel},
        },
    },
    ivs::arn::{Arn, Region, ResourceKind},
};

/// One call. Not `Debug`: callers send private keys by mistake.
pub(super) struct Call<'a> {
    pub(super) shared: &'a Shared,
    /// The name of the operation.
    pub(super) operation: &'static str,
    pub(super) region: Region,
    /// What URLs in the response begin with.
    pub(super) base_url: String,
    /// Whether a fault allows a public key to be imported twice.
    pub(super) accept_duplicates: bool,
    /// The members, which meet their constraints.
    pub(super) input: Map<String, Value>,
}

/// The input of operations on one resource.
#[derive(Debug, Deserialize)]
pub(super) struct ByArn {
    pub(super) arn: String,
}

/// The input of batches.
#[derive(Debug, Deserialize)]
pub(super) struct ByArns {
    pub(super) arns: Vec<String>,
}

/// The input of operations on what belongs to a channel.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ByChannel {
    pub(super) channel_arn: String,
}

/// The shape `BatchError`. AWS documents no codes for it. Its sibling for viewer sessions has
/// `"403"`, so a resource that is not found gets `"404"` here.
#[derive(Debug, Serialize)]
pub(super) struct BatchError {
    arn: String,
    code: &'static str,
    message: &'static str,
}

impl Call<'_> {
    /// Returns the input as the type of the operation.
    pub(super) fn input<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        T::deserialize(&self.input).map_err(|_| {
            // The table and the type disagree, which the tests of the table find. The error of serde
            // would repeat the caller's values.
            tracing::error!(
                event = "emulator_failed",
                operation = self.operation,
                "an input does not match its type"
            );
            ApiError::internal()
        })
    }

    /// Returns the collection of the caller's resources of a kind.
    pub(super) fn collection(&self, kind: ResourceKind) -> String {
        records::in_region(&self.region, &self.shared.account, kind)
    }

    /// Returns the ARN of a new resource of the caller.
    pub(super) fn new_arn(&self, kind: ResourceKind) -> Result<Arn, IdError> {
        ids::arn(&self.region, &self.shared.account, kind)
    }

    /// Finds a resource of the caller's account and region.
    pub(super) fn find<T: Record>(
        &self,
        view: &impl View,
        arn: &str,
    ) -> Result<Tagged<T>, ApiError> {
        self.check_own(arn)?;
        collection::find(view, arn)?.ok_or_else(|| ApiError::not_found(arn))
    }

    /// Finds a resource of the caller's account and region in a transaction of its own.
    pub(super) fn get<T: Record>(&self, arn: &str) -> Result<Tagged<T>, ApiError> {
        self.shared.store.read(|view| self.find(view, arn))
    }

    /// Finds each ARN, in the given order, and returns an error for each that is not found. An ARN
    /// that is given twice is returned once.
    pub(super) fn get_each<T: Record>(
        &self,
        arns: &[String],
    ) -> Result<(Vec<Tagged<T>>, Vec<BatchError>), ApiError> {
        let (mut found, mut errors) = (Vec::new(), Vec::new());
        self.shared.store.read(|view| {
            for (index, arn) in arns.iter().enumerate() {
                if arns.iter().take(index).any(|earlier| earlier == arn) {
                    continue;
                }
                match self.find(view, arn) {
                    Ok(item) => found.push(item),
                    Err(error) if error.code() == ErrorCode::ResourceNotFound => {
                        let (arn, code, message) = (arn.clone(), "404", "not found");
                        errors.push(BatchError { arn, code, message });
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        })?;
        Ok((found, errors))
    }

    /// Refuses to create a resource beyond the quota of the caller's account and region.
    pub(super) fn check_quota(
        &self,
        view: &impl View,
        kind: ResourceKind,
        (name, quota): (&str, usize),
    ) -> Result<(), ApiError> {
        if collection::count(view, &self.collection(kind))? < quota {
            return Ok(());
        }
        Err(ApiError::new(
            ErrorCode::ServiceQuotaExceeded,
            format!("{name} quota of {quota} for this account and region is reached."),
        ))
    }

    /// Deletes a resource of the caller's account and region.
    pub(super) fn delete<T: Record>(&self, arn: &str) -> Result<(), ApiError> {
        self.shared.store.write(|transaction| {
            self.find::<T>(transaction, arn)?;
            collection::remove(transaction, arn)?;
            Ok(())
        })
    }

    /// Deletes a resource, unless it is attached to a channel of the region.
    pub(super) fn delete_unattached<T: Record>(
        &self,
        arn: &str,
        is_attached: impl Fn(&Channel) -> bool,
    ) -> Result<Value, ApiError> {
        let channels = self.collection(ResourceKind::Channel);
        self.shared.store.write(|transaction| {
            self.find::<T>(transaction, arn)?;
            let attached = collection::page(transaction, &channels, 0, 1, &is_attached)?;
            if let Some(channel) = attached.items.first() {
                let channel = &channel.record.arn;
                let message =
                    format!("{arn} is attached to {channel}. Detach it with UpdateChannel first.");
                return Err(ApiError::new(ErrorCode::Conflict, message));
            }
            collection::remove(transaction, arn)?;
            Ok(Value::Null)
        })
    }

    /// Refuses the ARN of another account or region.
    pub(super) fn check_own(&self, arn: &str) -> Result<(), ApiError> {
        let own = format!("arn:aws:ivs:{}:{}:", self.region, self.shared.account);
        if arn.starts_with(&own) { Ok(()) } else { Err(ApiError::not_found(arn)) }
    }
}

/// Sets a value that the caller gave. An absent value changes nothing.
pub(super) fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}
