//! What faults do to one call and its response.

use std::{future::Future, io, time::Duration};

use axum::{
    body::{Body, Bytes, to_bytes},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};

use crate::emulator::api::response::{ApiError, ErrorCode};

/// What all faults together do to a call; by default nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Strike {
    /// How long the call waits before it is executed or refused.
    pub(super) before: Duration,
    /// How long the response waits.
    pub(super) after: Duration,
    pub(super) refusal: Option<Refusal>,
    pub(super) ending: Ending,
    pub(crate) distortion: Distortion,
}

/// What goes wrong in the execution of a call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Distortion {
    /// Whether a public key may be imported twice.
    pub(crate) accept_duplicates: bool,
    /// What is wrong with a batch response.
    pub(super) flaw: Option<BatchFlaw>,
}

impl Distortion {
    /// Distorts the output of an operation.
    pub(crate) fn apply(self, output: &mut Value) {
        if let Some(flaw) = self.flaw {
            flaw.apply(output);
        }
    }
}

/// The response to a refused call.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    /// An error of IVS.
    Error(ErrorCode),
    /// A status without a body, as from a proxy.
    Status(StatusCode),
}

/// How much of the response is sent before the connection closes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Ending {
    /// All of it.
    #[default]
    Whole,
    /// The headers and half of the body.
    Cut,
    /// Nothing.
    Lost,
}

impl Strike {
    /// Executes a call of the control plane, as far as the faults allow.
    pub(crate) async fn on_call(self, call: impl Future<Output = Response>) -> Response {
        self.on(call, |refusal| match refusal {
            Refusal::Error(code) => {
                ApiError::new(code, "A fault that was set at /_emulator/faults.").into_response()
            }
            Refusal::Status(status) => status.into_response(),
        })
        .await
    }

    /// Executes a playback request, as far as the faults allow. The edge has no error codes of the
    /// API, so a refusal there is only a status.
    pub(super) async fn on_playback(self, request: impl Future<Output = Response>) -> Response {
        self.on(request, |refusal| {
            let status = match refusal {
                Refusal::Error(code) => code.status(),
                Refusal::Status(status) => status,
            };
            let headers =
                [(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"), (header::CACHE_CONTROL, "no-store")];
            (status, headers).into_response()
        })
        .await
    }

    async fn on(
        self,
        call: impl Future<Output = Response>,
        refuse: impl FnOnce(Refusal) -> Response,
    ) -> Response {
        wait(self.before).await;
        let response = match self.refusal {
            Some(refusal) => refuse(refusal),
            None => call.await,
        };
        wait(self.after).await;
        match self.ending {
            Ending::Whole => response,
            Ending::Cut => cut(response).await,
            Ending::Lost => with_broken_body(response, Bytes::new()),
        }
    }

    /// Returns whether the whole response is sent.
    pub(crate) fn is_answered(&self) -> bool {
        self.ending == Ending::Whole
    }
}

async fn wait(delay: Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}

/// Cuts the body of a response in half. A response without a body is lost.
async fn cut(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let whole = to_bytes(body, usize::MAX).await.unwrap_or_default();
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(whole.len()));
    with_broken_body(Response::from_parts(parts, Body::empty()), whole.slice(..whole.len() / 2))
}

/// Replaces the body of a response by one that fails after `start`. The server then closes the
/// connection. If the body fails at once, the server has not sent the headers yet.
fn with_broken_body(mut response: Response, start: Bytes) -> Response {
    let has_start = !start.is_empty();
    if !has_start {
        // They are never sent. But with 204, or a length of 0, the server would not read the body.
        *response.status_mut() = StatusCode::OK;
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    let start = stream::iter(has_start.then_some(Ok(start)));
    let end = stream::once(async move {
        if has_start {
            // Lets the server send what it has.
            tokio::task::yield_now().await;
        }
        Err(io::Error::other("a fault that was set at /_emulator/faults"))
    });
    response.map(|_| Body::from_stream(start.chain(end)))
}

/// What is wrong with the response to a batch.
#[derive(Clone, Debug)]
pub(super) enum BatchFlaw {
    /// The first resource that was found is replaced by an error with this code.
    Fail(String),
    /// The first resource is missing.
    Omit,
    /// The first resource is listed twice.
    Repeat,
}

impl BatchFlaw {
    /// Distorts the output of an operation that found a resource.
    fn apply(self, output: &mut Value) {
        let Some(output) = output.as_object_mut() else { return };
        let found = output
            .iter_mut()
            .filter(|(name, _)| *name != "errors")
            .find_map(|(_, items)| items.as_array_mut().filter(|items| !items.is_empty()));
        let Some(items) = found else { return };
        match self {
            Self::Omit => drop(items.remove(0)),
            Self::Repeat => items.extend(items.first().cloned()),
            Self::Fail(code) => {
                let arn = items.remove(0).get_mut("arn").map(Value::take);
                if let Some(errors) = output.get_mut("errors").and_then(Value::as_array_mut) {
                    errors.push(json!({ "arn": arn, "code": code, "message": "a fault" }));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flaw_distorts_first_resource() {
        let distorted = |flaw: BatchFlaw| {
            let mut output = json!({"channels": [{"arn": "a"}, {"arn": "b"}], "errors": []});
            flaw.apply(&mut output);
            output
        };
        assert_eq!(distorted(BatchFlaw::Omit), json!({"channels": [{"arn": "b"}], "errors": []}));
        let twice = json!([{"arn": "a"}, {"arn": "b"}, {"arn": "a"}]);
        assert_eq!(distorted(BatchFlaw::Repeat)["channels"], twice);
        assert_eq!(
            distorted(BatchFlaw::Fail("503".to_owned())),
            json!({
                "channels": [{"arn": "b"}],
                "errors": [{"arn": "a", "code": "503", "message": "a fault"}],
            })
        );
        let mut nothing = json!({"channels": [], "errors": []});
        BatchFlaw::Repeat.apply(&mut nothing);
        assert_eq!(nothing, json!({"channels": [], "errors": []}));
    }
}
