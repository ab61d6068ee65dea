//! Batches: what is there is answered, and each item that is not has an error of its own.

use serde::Serialize;

use super::{
    Call,
    error::{ApiError, ErrorCode},
};
use crate::emulator::store::collection::{Record, Tagged};

/// What a batch of ARNs led to.
#[derive(Debug)]
pub(super) struct Found<T> {
    pub(super) items: Vec<Tagged<T>>,
    pub(super) errors: Vec<BatchError>,
}

/// The shape `BatchError`. AWS documents no codes for it; its sibling of viewer sessions has
/// `"403"`, so that a resource which is not found is `"404"` here.
#[derive(Debug, Serialize)]
pub(super) struct BatchError {
    arn: String,
    code: &'static str,
    message: &'static str,
}

impl Call<'_> {
    /// Looks each ARN up, in the order given. One that is given twice is answered once.
    pub(super) fn find_each<T: Record>(&self, arns: &[String]) -> Result<Found<T>, ApiError> {
        let mut found = Found { items: Vec::new(), errors: Vec::new() };
        self.shared.store.read(|view| {
            for (index, arn) in arns.iter().enumerate() {
                if arns.iter().take(index).any(|earlier| earlier == arn) {
                    continue;
                }
                match self.find(view, arn) {
                    Ok(item) => found.items.push(item),
                    Err(error) if error.code() == ErrorCode::ResourceNotFound => {
                        let (arn, code, message) = (arn.clone(), "404", "not found");
                        found.errors.push(BatchError { arn, code, message });
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        })?;
        Ok(found)
    }
}
