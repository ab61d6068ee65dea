//! The way between the store and Secrets Manager, on which a test has calls and answers go astray.

use std::{
    collections::HashMap,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex},
};

use aws_config::SdkConfig;
use aws_smithy_runtime_api::{
    client::{
        http::{
            HttpClient as _, HttpConnector, HttpConnectorFuture, SharedHttpConnector,
            http_client_fn,
        },
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
    },
    http::StatusCode,
};

/// What becomes of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    /// It never arrives.
    RequestLost,
    /// It takes effect, and nobody hears of it.
    AnswerLost,
    /// It takes effect, and the answer says that it failed.
    FailedAfter,
    /// It is answered with this code, and has no effect.
    Refused(&'static str),
    /// It never arrives, and nothing ever comes back.
    Silence,
}

type Meanwhile = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a test has happen, by the name of the call.
#[derive(Default)]
pub(super) struct Wire {
    faults: Mutex<HashMap<&'static str, Fault>>,
    before: Mutex<HashMap<&'static str, Meanwhile>>,
    calls: Mutex<Vec<String>>,
}

impl Wire {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// From now on, and for each attempt.
    pub(super) fn break_down(&self, operation: &'static str, fault: Fault) {
        self.faults.lock().unwrap().insert(operation, fault);
    }

    pub(super) fn mend(&self) {
        self.faults.lock().unwrap().clear();
    }

    /// Before the next such call arrives.
    pub(super) fn before(
        &self,
        operation: &'static str,
        meanwhile: impl Future<Output = ()> + Send + 'static,
    ) {
        self.before.lock().unwrap().insert(operation, Box::pin(meanwhile));
    }

    /// The calls so far, repeated ones included, and forgets them.
    pub(super) fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    /// The same configuration with this wire in between.
    pub(super) fn config(self: &Arc<Self>, config: SdkConfig) -> SdkConfig {
        let client = config.http_client().unwrap();
        let wire = Arc::clone(self);
        let client = http_client_fn(move |settings, components| {
            let connector = client.http_connector(settings, components);
            SharedHttpConnector::new(Line { wire: Arc::clone(&wire), connector })
        });
        config.into_builder().http_client(client).build()
    }

    async fn carry(&self, connector: &SharedHttpConnector, request: HttpRequest) -> Answer {
        let target = request.headers().get("x-amz-target").unwrap();
        let operation = target.rsplit('.').next().unwrap().to_owned();
        self.calls.lock().unwrap().push(operation.clone());
        let meanwhile = self.before.lock().unwrap().remove(&*operation);
        if let Some(meanwhile) = meanwhile {
            meanwhile.await;
        }
        let fault = self.faults.lock().unwrap().get(&*operation).copied();
        let lost = || Err(ConnectorError::io("the connection was reset".into()));
        match fault {
            None => connector.call(request).await,
            Some(Fault::RequestLost) => lost(),
            Some(Fault::AnswerLost) => {
                connector.call(request).await?;
                lost()
            }
            Some(Fault::FailedAfter) => {
                connector.call(request).await?;
                Ok(failure(500, "InternalServiceError"))
            }
            Some(Fault::Refused(code)) => Ok(failure(400, code)),
            Some(Fault::Silence) => std::future::pending().await,
        }
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

type Answer = Result<HttpResponse, ConnectorError>;

#[derive(Debug)]
struct Line {
    wire: Arc<Wire>,
    connector: SharedHttpConnector,
}

impl HttpConnector for Line {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (wire, connector) = (Arc::clone(&self.wire), self.connector.clone());
        HttpConnectorFuture::new(async move { wire.carry(&connector, request).await })
    }
}

fn failure(status: u16, code: &str) -> HttpResponse {
    let body = serde_json::json!({ "__type": code, "Message": "User: test may not do this" });
    HttpResponse::new(StatusCode::try_from(status).unwrap(), body.to_string().into())
}
