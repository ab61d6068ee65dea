//! Responses of the control plane: JSON, errors that every AWS client can read, and the headers that
//! IVS sends with everything.

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use time::{OffsetDateTime, macros::format_description};

use crate::{
    clock::Timestamp,
    emulator::{ids::IdError, store::StoreError},
};

/// Returns a JSON response.
pub(crate) fn json(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// Adds the members of one JSON object to another.
pub(super) fn with(mut object: Value, more: Value) -> Value {
    if let (Value::Object(members), Value::Object(more)) = (&mut object, more) {
        members.extend(more);
    }
    object
}

/// Adds the headers of the service model, with the values that AWS sends, and the `Date` by the
/// emulator's clock, which may differ from the machine's.
pub(super) fn add_service_headers(headers: &mut HeaderMap, now: Timestamp) {
    const HEADERS: [(HeaderName, &str); 7] = [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            "Access-Control-Allow-Origin,Access-Control-Expose-Headers,Cache-Control,\
             Content-Length,Content-Security-Policy,Content-Type,date,\
             Strict-Transport-Security,X-Content-Type-Options,X-Frame-Options,\
             x-amzn-errormessage,x-amzn-errortype,x-amzn-requestid,x-amzn-trace-id",
        ),
        (header::CACHE_CONTROL, "no-store, no-cache"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'self'; upgrade-insecure-requests;"),
        // The colon is AWS's. Browsers ignore the header over plain HTTP anyway.
        (header::STRICT_TRANSPORT_SECURITY, "max-age:47304000; includeSubDomains"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Some(date) = http_date(now) {
        headers.insert(header::DATE, date);
    }
}

/// Formats a date as in RFC 9110, section 5.6.7; `None` for a year that has no such form.
fn http_date(now: Timestamp) -> Option<HeaderValue> {
    let instant = OffsetDateTime::from_unix_timestamp(now.unix_seconds()).ok()?;
    let form = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    HeaderValue::try_from(instant.format(form).ok()?).ok()
}

/// Tells a browser that a page of any origin may send signed calls.
pub(super) fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, DELETE, OPTIONS"),
        // `*` does not cover Authorization, so every header of the AWS clients is named.
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "amz-sdk-invocation-id, amz-sdk-request, authorization, content-type, \
             x-amz-content-sha256, x-amz-date, x-amz-security-token, x-amz-user-agent",
        ),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// An error response.
///
/// Clients disagree on where the code and the message are: in the header `x-amzn-ErrorType` or in
/// `__type`, in `message` or in the `exceptionMessage` of the service model. All four are sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ApiError {
    code: ErrorCode,
    message: String,
}

impl ApiError {
    /// Returns an error with a message for the caller. Of the caller's values, a message may repeat
    /// only ARNs.
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// A failure of the emulator itself. The cause is logged where it occurs.
    pub(crate) fn internal() -> Self {
        Self::new(
            ErrorCode::InternalServer,
            "The emulator failed to handle the call. Its log has the cause.",
        )
    }

    /// The caller's account and region have no resource of that ARN.
    pub(crate) fn not_found(arn: &str) -> Self {
        Self::new(
            ErrorCode::ResourceNotFound,
            format!("ResourceNotFoundException: {arn} does not exist in this account and region."),
        )
    }

    /// The caller exceeds a call rate, which may be that of one resource.
    pub(super) fn throttled(operation: &str, limit: usize, resource: Option<&str>) -> Self {
        let of = resource.map_or_else(String::new, |arn| format!(" for resource: {arn}"));
        let message = format!("Operation: ivs:{operation} exceeded call rate: {limit}{of}");
        Self::new(ErrorCode::Throttling, message)
    }

    /// A member of the input violates a rule that the table of constraints cannot express.
    pub(crate) fn invalid(member: &str, rule: &str) -> Self {
        let message = format!("Request member: {member} failed to satisfy the constraints: {rule}");
        Self::new(ErrorCode::Validation, message)
    }

    /// Returns the code.
    pub(super) fn code(&self) -> ErrorCode {
        self.code
    }

    #[cfg(test)]
    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        error.log();
        Self::internal()
    }
}

impl From<IdError> for ApiError {
    fn from(error: IdError) -> Self {
        StoreError::from(error).into()
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
        ([("x-amzn-errortype", name)], json(status, &body)).into_response()
    }
}

/// Declares each error with its status and its name on the wire.
macro_rules! error_codes {
    (
        modelled { $($(#[$doc:meta])* $code:ident = $status:ident, $name:literal;)* }
        others { $($(#[$other_doc:meta])* $other:ident = $other_status:ident, $other_name:literal;)* }
    ) => {
        /// The errors that the emulator returns.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub(crate) enum ErrorCode {
            $($(#[$doc])* $code,)*
            $($(#[$other_doc])* $other,)*
        }

        impl ErrorCode {
            /// The errors of the service model.
            pub(crate) const MODELLED: &[Self] = &[$(Self::$code,)*];

            /// Returns the status, and the name on the wire.
            const fn spec(self) -> (StatusCode, &'static str) {
                match self {
                    $(Self::$code => (StatusCode::$status, $name),)*
                    $(Self::$other => (StatusCode::$other_status, $other_name),)*
                }
            }
        }
    };
}

error_codes! {
    // Names without `Exception` are IVS's own.
    modelled {
        AccessDenied = FORBIDDEN, "AccessDeniedException";
        /// The channel is not live.
        ChannelNotBroadcasting = NOT_FOUND, "ChannelNotBroadcasting";
        /// The state of a resource does not allow the call.
        Conflict = CONFLICT, "ConflictException";
        /// The emulator failed.
        InternalServer = INTERNAL_SERVER_ERROR, "InternalServerException";
        /// The account is not verified yet.
        PendingVerification = FORBIDDEN, "PendingVerification";
        ResourceNotFound = NOT_FOUND, "ResourceNotFoundException";
        ServiceQuotaExceeded = PAYMENT_REQUIRED, "ServiceQuotaExceededException";
        ServiceUnavailable = SERVICE_UNAVAILABLE, "ServiceUnavailable";
        StreamUnavailable = SERVICE_UNAVAILABLE, "StreamUnavailable";
        /// The call rate exceeds its quota.
        Throttling = TOO_MANY_REQUESTS, "ThrottlingException";
        /// A member violates a constraint.
        Validation = BAD_REQUEST, "ValidationException";
    }
    others {
        /// The `Authorization` header is not that of `SigV4`.
        IncompleteSignature = FORBIDDEN, "IncompleteSignatureException";
        /// The signature is for another service, expired, or wrong.
        InvalidSignature = FORBIDDEN, "InvalidSignatureException";
        /// The call is not signed.
        MissingAuthenticationToken = FORBIDDEN, "MissingAuthenticationTokenException";
        /// The body is larger than the emulator accepts.
        RequestEntityTooLarge = PAYLOAD_TOO_LARGE, "RequestEntityTooLargeException";
        /// The body did not arrive in time.
        RequestTimeout = REQUEST_TIMEOUT, "RequestTimeoutException";
        /// The body is not JSON, or a member has the wrong type.
        Serialization = BAD_REQUEST, "SerializationException";
        /// The operation does not exist, or is not emulated.
        UnknownOperation = NOT_FOUND, "UnknownOperationException";
        /// The call is signed with another access key than the emulator's.
        UnrecognizedClient = FORBIDDEN, "UnrecognizedClientException";
    }
}

impl ErrorCode {
    /// Returns the name on the wire.
    pub(crate) const fn name(self) -> &'static str {
        self.spec().1
    }

    /// Returns the status.
    pub(crate) const fn status(self) -> StatusCode {
        self.spec().0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn date_is_formatted_as_http_requires() {
        let date = |seconds| http_date(Timestamp::from_unix_seconds(seconds)).unwrap();
        assert_eq!(date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
