//! What is told when Secrets Manager does not do what was asked.

use aws_credential_types::{
    credential_fn::provide_credentials_fn,
    provider::{SharedCredentialsProvider, error::CredentialsError},
};
use ivs_playback_auth::keys::store::{SecretsManagerFault, secrets_manager::Operation};

use super::{
    Place,
    wire::{Fault, Wire},
};
use crate::moto;

#[tokio::test]
async fn what_went_wrong_is_told_with_what_to_do() {
    // A region of its own: the SDK counts retries by region.
    let place = Place::in_region("eu-central-1".parse().unwrap());
    let wire = Wire::new();
    let store = place.open_on(&wire);
    let operation = Operation::GetSecretValue;
    let message = "User: test may not do this".to_owned();
    for (code, attempts, expected) in [
        (
            "AccessDeniedException",
            1,
            SecretsManagerFault::Denied {
                operation,
                code: "AccessDeniedException".into(),
                message,
            },
        ),
        ("ThrottlingException", 3, SecretsManagerFault::Throttled { operation }),
        (
            "DecryptionFailure",
            1,
            SecretsManagerFault::KmsKey { operation, code: "DecryptionFailure".into() },
        ),
    ] {
        wire.break_down("GetSecretValue", Fault::Refused(code));
        let error = store.load(&place.region).await.unwrap_err();
        assert_eq!(error, place.fault(expected));
        assert_eq!(wire.take_calls().len(), attempts, "{code}");
    }
    wire.break_down("GetSecretValue", Fault::RequestLost);
    let error = store.load(&place.region).await.unwrap_err();
    let reason = "no connection to its endpoint".to_owned();
    assert_eq!(error, place.fault(SecretsManagerFault::Unavailable { operation, reason }));

    let nobody = provide_credentials_fn(async || Err(CredentialsError::not_loaded("none")));
    let nobody = moto::config("eu-central-1")
        .into_builder()
        .credentials_provider(SharedCredentialsProvider::new(nobody))
        .build();
    let error = place.open_with(nobody).load(&place.region).await.unwrap_err();
    assert_eq!(error, place.fault(SecretsManagerFault::NoCredentials));
}

#[tokio::test(start_paused = true)]
async fn silence_ends_in_time() {
    let place = Place::in_region("eu-north-1".parse().unwrap());
    let wire = Wire::new();
    wire.break_down("GetSecretValue", Fault::Silence);
    let error = place.open_on(&wire).load(&place.region).await.unwrap_err();
    let operation = Operation::GetSecretValue;
    assert_eq!(error, place.fault(SecretsManagerFault::TimedOut { operation }));
}
