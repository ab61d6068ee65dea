//! What a fault does to one call and its answer.

use std::{future::Future, io, time::Duration};

use axum::{
    body::{Body, Bytes, to_bytes},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::stream::{self, StreamExt};
use serde_json::{Map, Value, json};

use crate::emulator::api::{
    error::{ApiError, ErrorCode},
    response,
};

/// What happens to a call, by all faults that strike it. By default nothing does.
#[derive(Clone, Debug, Default)]
pub(in crate::emulator) struct Strike {
    /// How long the call waits before it is carried out or refused.
    pub(super) before: Duration,
    /// How long its answer waits.
    pub(super) after: Duration,
    pub(super) refusal: Option<Refusal>,
    pub(super) ending: Ending,
    pub(in crate::emulator) distortion: Distortion,
}

/// What goes wrong while a call is carried out.
#[derive(Clone, Debug, Default)]
pub(in crate::emulator) struct Distortion {
    /// Whether a public key may be imported twice.
    pub(in crate::emulator) accept_duplicates: bool,
    /// What is wrong with the answer to a batch.
    pub(super) flaw: Option<BatchFlaw>,
}

impl Distortion {
    /// Spoils what the operation answers.
    pub(in crate::emulator) fn distort(self, output: &mut Value) {
        if let Some(flaw) = self.flaw {
            flaw.spoil(output);
        }
    }
}

/// How a refused call is answered.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    /// With an error of IVS.
    Error(ErrorCode),
    /// With a status alone, as a proxy on the way does.
    Status(StatusCode),
}

/// How much of an answer is sent before the connection closes.
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
    /// Carries out a call of the control plane, as far as the strike lets it.
    pub(in crate::emulator) async fn on_call(
        self,
        call: impl Future<Output = Response>,
    ) -> Response {
        self.on(call, |refusal| match refusal {
            Refusal::Error(code) => {
                ApiError::new(code, "A fault that was set at /_emulator/faults.").into_response()
            }
            Refusal::Status(status) => response::empty(status),
        })
        .await
    }

    /// Carries out a playback request, as far as the strike lets it. The edge has no error codes
    /// of the API, so that a refusal is a status there.
    pub(super) async fn on_playback(self, request: impl Future<Output = Response>) -> Response {
        self.on(request, |refusal| {
            let status = match refusal {
                Refusal::Error(code) => code.status(),
                Refusal::Status(status) => status,
            };
            let mut response = response::empty(status);
            let headers = response.headers_mut();
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
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

    /// Whether there is an answer, all of it.
    pub(in crate::emulator) fn is_answered(&self) -> bool {
        self.ending == Ending::Whole
    }
}

async fn wait(delay: Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}

/// The answer with half its body. One that has no body to halve is lost.
async fn cut(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let whole = to_bytes(body, usize::MAX).await.unwrap_or_default();
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(whole.len()));
    with_broken_body(Response::from_parts(parts, Body::empty()), whole.slice(..whole.len() / 2))
}

/// The answer, with a body that breaks off after `start`. The server then closes the connection;
/// when it breaks off at once, not even the headers have left it.
fn with_broken_body(mut response: Response, start: Bytes) -> Response {
    let has_start = !start.is_empty();
    if !has_start {
        // Nobody sees them; but with 204, or a length of 0, the server would not look at the body.
        *response.status_mut() = StatusCode::OK;
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    let start = stream::iter(has_start.then_some(Ok(start)));
    let end = stream::once(async move {
        if has_start {
            // Gives the server a turn to send what it has.
            tokio::task::yield_now().await;
        }
        Err(io::Error::other("a fault that was set at /_emulator/faults"))
    });
    response.map(|_| Body::from_stream(start.chain(end)))
}

/// What is wrong with the answer to a batch that was carried out.
#[derive(Clone, Debug)]
pub(super) enum BatchFlaw {
    /// The first resource that was found is an error of its item, with this code.
    Fail(String),
    /// It is missing.
    Omit,
    /// It is there twice.
    Repeat,
}

impl BatchFlaw {
    /// Spoils the output of an operation, where a resource was found.
    fn spoil(self, output: &mut Value) {
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
                add_error(output, json!({ "arn": arn, "code": code, "message": "a fault" }));
            }
        }
    }
}

fn add_error(output: &mut Map<String, Value>, error: Value) {
    if let Some(errors) = output.get_mut("errors").and_then(Value::as_array_mut) {
        errors.push(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flaw_spoils_the_first_resource() {
        let spoiled = |flaw: BatchFlaw| {
            let mut output = json!({"channels": [{"arn": "a"}, {"arn": "b"}], "errors": []});
            flaw.spoil(&mut output);
            output
        };
        assert_eq!(spoiled(BatchFlaw::Omit), json!({"channels": [{"arn": "b"}], "errors": []}));
        let twice = json!([{"arn": "a"}, {"arn": "b"}, {"arn": "a"}]);
        assert_eq!(spoiled(BatchFlaw::Repeat)["channels"], twice);
        assert_eq!(
            spoiled(BatchFlaw::Fail("503".to_owned())),
            json!({
                "channels": [{"arn": "b"}],
                "errors": [{"arn": "a", "code": "503", "message": "a fault"}],
            })
        );
        let mut nothing = json!({"channels": [], "errors": []});
        BatchFlaw::Repeat.spoil(&mut nothing);
        assert_eq!(nothing, json!({"channels": [], "errors": []}));
    }
}
