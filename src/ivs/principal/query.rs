//! One call of the AWS Query protocol to IAM: signing, sending, reading the answer.

use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use aws_smithy_runtime_api::client::identity::Identity;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, header::CONTENT_TYPE};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use url::{Url, form_urlencoded};

use super::{SimulationError, answer};
use crate::{clock::Timestamp, ivs::regions::own_endpoint};

/// IAM is one service for all regions.
const ENDPOINT: &str = "https://iam.amazonaws.com/";

/// The region that its calls are signed for.
const SIGNING_REGION: &str = "us-east-1";

/// The version of its API.
const VERSION: &str = "2010-05-08";

const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// How long a call may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The limit of an answer, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;

/// The endpoint of IAM, and what its calls are signed with.
pub(super) struct Endpoint {
    url: Url,
    identity: Identity,
    now: SystemTime,
}

impl Endpoint {
    pub(super) fn new(
        aws: &SdkConfig,
        credentials: Credentials,
        now: Timestamp,
    ) -> Result<Self, SimulationError> {
        let url = own_endpoint(aws, "iam").unwrap_or_else(|| ENDPOINT.to_owned());
        let url = url.parse().map_err(|_| {
            SimulationError::unavailable("AWS_ENDPOINT_URL_IAM or AWS_ENDPOINT_URL is not a URL")
        })?;
        let since_epoch = u64::try_from(now.unix_millis()).unwrap_or_default();
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(since_epoch);
        Ok(Self { url, identity: credentials.into(), now })
    }

    /// Makes a call. Returns the text of a successful answer.
    pub(super) async fn call(
        &self,
        action: &str,
        parameters: &[(String, &str)],
    ) -> Result<String, SimulationError> {
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("Action", action)
            .append_pair("Version", VERSION)
            .extend_pairs(parameters)
            .finish();
        let request = self.sign(body).ok_or_else(|| {
            SimulationError::unavailable("the call could not be signed with these credentials")
        })?;
        let answered = tokio::time::timeout(TIMEOUT, exchange(request)).await;
        let (status, text) =
            answered.unwrap_or_else(|_| Err(SimulationError::unavailable("it does not answer")))?;
        if status == 200 {
            return Ok(text);
        }
        let Some((code, message)) = answer::failure(&text) else {
            return Err(SimulationError::unavailable(format!("it answered with HTTP {status}")));
        };
        Err(match code.as_str() {
            "AccessDenied"
            | "InvalidClientTokenId"
            | "ExpiredToken"
            | "SignatureDoesNotMatch"
            | "UnrecognizedClientException" => SimulationError::Denied { code, message },
            _ => SimulationError::Refused { code, message },
        })
    }

    fn sign(&self, body: String) -> Option<Request<Full<Bytes>>> {
        let signing = v4::SigningParams::builder()
            .identity(&self.identity)
            .region(SIGNING_REGION)
            .name("iam")
            .time(self.now)
            .settings(SigningSettings::default())
            .build()
            .ok()?;
        let headers = [(CONTENT_TYPE.as_str(), FORM)];
        let signable = SignableBody::Bytes(body.as_bytes());
        let signable =
            SignableRequest::new("POST", self.url.as_str(), headers.into_iter(), signable).ok()?;
        let (instructions, _) = sign(signable, &signing.into()).ok()?.into_parts();
        let request = Request::post(self.url.as_str()).header(CONTENT_TYPE, FORM);
        let signed = instructions
            .headers()
            .fold(request, |request, (name, value)| request.header(name, value));
        signed.body(Full::from(body)).ok()
    }
}

async fn exchange(request: Request<Full<Bytes>>) -> Result<(u16, String), SimulationError> {
    let unavailable = |reason: &str| SimulationError::unavailable(reason);
    let connector = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())
        .map_err(|_| unavailable("this machine's root certificates cannot be used"))?
        .https_or_http()
        .enable_http1()
        .build();
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let response = client.request(request).await;
    let response = response.map_err(|_| unavailable("no connection to its endpoint"))?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    let body =
        body.map_err(|_| unavailable("its answer was interrupted or is too large"))?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_covers_the_body_and_the_session_token() {
        let credentials =
            Credentials::new("AKID", "secret", Some("session".to_owned()), None, "test");
        let now = Timestamp::from_unix_seconds(1_795_337_700);
        let aws = SdkConfig::builder().build();
        let endpoint = Endpoint::new(&aws, credentials, now).unwrap();
        let signature = |body: &str| {
            let request = endpoint.sign(body.to_owned()).unwrap();
            assert_eq!(request.uri(), ENDPOINT);
            assert_eq!(request.headers()["x-amz-date"], "20261122T085500Z");
            assert_eq!(request.headers()["x-amz-security-token"], "session");
            request.headers()["authorization"].to_str().unwrap().to_owned()
        };
        let signed = signature("Action=GetRole");
        let scope = "AKID/20261122/us-east-1/iam/aws4_request";
        assert!(signed.contains(scope) && signed.contains("content-type;host;"), "{signed}");
        assert!(!signed.contains("secret"), "{signed}");
        assert_eq!(signed, signature("Action=GetRole"));
        assert_ne!(signed, signature("Action=GetUser"));
    }
}
