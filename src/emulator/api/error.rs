//! Errors of the control plane, in the form that every AWS client reads.
//!
//! Clients disagree on where the code and the message are: the header `x-amzn-ErrorType` or
//! `__type`, `message` or the `exceptionMessage` of the service model. All four are sent.

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::response;
use crate::emulator::{ids::IdError, store::StoreError};

/// An answer other than success.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::emulator) struct ApiError {
    code: ErrorCode,
    message: String,
}

impl ApiError {
    /// An error with a message for the caller. It repeats nothing that the caller sent, but for
    /// ARNs.
    pub(in crate::emulator) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// A failure of the emulator itself. Its cause is logged where it is met.
    pub(in crate::emulator) fn internal() -> Self {
        Self::new(
            ErrorCode::InternalServer,
            "The emulator failed to handle the call. Its log has the cause.",
        )
    }

    /// There is nothing of that ARN in the caller's account and region.
    pub(in crate::emulator) fn not_found(arn: &str) -> Self {
        Self::new(
            ErrorCode::ResourceNotFound,
            format!("ResourceNotFoundException: {arn} does not exist in this account and region."),
        )
    }

    /// More calls a second than the quota allows, which is a resource's where one is named.
    pub(in crate::emulator) fn throttled(
        operation: &str,
        limit: usize,
        resource: Option<&str>,
    ) -> Self {
        let of = resource.map_or_else(String::new, |arn| format!(" for resource: {arn}"));
        let message = format!("Operation: ivs:{operation} exceeded call rate: {limit}{of}");
        Self::new(ErrorCode::Throttling, message)
    }

    /// A member of the input breaks a rule that the table of constraints cannot state.
    pub(in crate::emulator) fn invalid(member: &str, rule: &str) -> Self {
        let message = format!("Request member: {member} failed to satisfy the constraints: {rule}");
        Self::new(ErrorCode::Validation, message)
    }

    /// What kind of error it is.
    pub(in crate::emulator) fn code(&self) -> ErrorCode {
        self.code
    }

    /// What the caller is told.
    #[cfg(test)]
    pub(in crate::emulator) fn message(&self) -> &str {
        &self.message
    }
}

/// The errors that the emulator answers with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::emulator) enum ErrorCode {
    /// The caller may not do that.
    AccessDenied,
    /// Nothing is live on the channel.
    ChannelNotBroadcasting,
    /// The state of a resource forbids the call.
    Conflict,
    /// The `Authorization` header is not what `SigV4` writes.
    IncompleteSignature,
    /// The emulator failed.
    InternalServer,
    /// The signature is for another service, too old, or not the caller's.
    InvalidSignature,
    /// The call is not signed.
    MissingAuthenticationToken,
    /// The account is not verified yet.
    PendingVerification,
    /// The body is larger than the emulator reads.
    RequestEntityTooLarge,
    /// There is no such resource.
    ResourceNotFound,
    /// The body is not JSON, or a member has another type than the model says.
    Serialization,
    /// A quota is used up.
    ServiceQuotaExceeded,
    /// IVS cannot answer now.
    ServiceUnavailable,
    /// The stream cannot be reached now.
    StreamUnavailable,
    /// More calls a second than the quota allows.
    Throttling,
    /// There is no such operation, or it is not emulated.
    UnknownOperation,
    /// The call is signed with another access key than the emulator was given.
    UnrecognizedClient,
    /// A member breaks a constraint.
    Validation,
}

impl ErrorCode {
    /// The errors of the service model.
    pub(in crate::emulator) const MODELLED: [Self; 11] = [
        Self::AccessDenied,
        Self::ChannelNotBroadcasting,
        Self::Conflict,
        Self::InternalServer,
        Self::PendingVerification,
        Self::ResourceNotFound,
        Self::ServiceQuotaExceeded,
        Self::ServiceUnavailable,
        Self::StreamUnavailable,
        Self::Throttling,
        Self::Validation,
    ];

    /// The name on the wire.
    pub(in crate::emulator) const fn name(self) -> &'static str {
        self.spec().1
    }

    /// The status that it comes with.
    pub(in crate::emulator) const fn status(self) -> StatusCode {
        self.spec().0
    }

    /// The status and the name on the wire. Names without `Exception` are IVS's own.
    const fn spec(self) -> (StatusCode, &'static str) {
        match self {
            Self::AccessDenied => (StatusCode::FORBIDDEN, "AccessDeniedException"),
            Self::ChannelNotBroadcasting => (StatusCode::NOT_FOUND, "ChannelNotBroadcasting"),
            Self::Conflict => (StatusCode::CONFLICT, "ConflictException"),
            Self::IncompleteSignature => (StatusCode::FORBIDDEN, "IncompleteSignatureException"),
            Self::InternalServer => (StatusCode::INTERNAL_SERVER_ERROR, "InternalServerException"),
            Self::InvalidSignature => (StatusCode::FORBIDDEN, "InvalidSignatureException"),
            Self::MissingAuthenticationToken => {
                (StatusCode::FORBIDDEN, "MissingAuthenticationTokenException")
            }
            Self::PendingVerification => (StatusCode::FORBIDDEN, "PendingVerification"),
            Self::RequestEntityTooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLargeException")
            }
            Self::ResourceNotFound => (StatusCode::NOT_FOUND, "ResourceNotFoundException"),
            Self::Serialization => (StatusCode::BAD_REQUEST, "SerializationException"),
            Self::ServiceQuotaExceeded => {
                (StatusCode::PAYMENT_REQUIRED, "ServiceQuotaExceededException")
            }
            Self::ServiceUnavailable => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
            Self::StreamUnavailable => (StatusCode::SERVICE_UNAVAILABLE, "StreamUnavailable"),
            Self::Throttling => (StatusCode::TOO_MANY_REQUESTS, "ThrottlingException"),
            Self::UnknownOperation => (StatusCode::NOT_FOUND, "UnknownOperationException"),
            Self::UnrecognizedClient => (StatusCode::FORBIDDEN, "UnrecognizedClientException"),
            Self::Validation => (StatusCode::BAD_REQUEST, "ValidationException"),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        tracing::error!(event = "emulator_failed", %error, "the emulator's store failed");
        Self::internal()
    }
}

impl From<IdError> for ApiError {
    fn from(error: IdError) -> Self {
        tracing::error!(event = "emulator_failed", %error, "the emulator could not make an identifier");
        Self::internal()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, name) = self.code.spec();
        let body = json!({
            "__type": name,
            "message": self.message,
            "exceptionMessage": self.message,
        });
        let mut response = response::json(status, &body).map(Body::new);
        let headers = response.headers_mut();
        headers.insert(HeaderName::from_static("x-amzn-errortype"), HeaderValue::from_static(name));
        response
    }
}
