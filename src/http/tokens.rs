//! `/v1/tokens`: mint, one or many, and inspect.

use axum::{extract::State, response::Response};

use super::{
    Api,
    extract::{Body, Caller, Shape, TokensInspect, TokensMint},
    problem::ApiError,
    respond::{json, no_store},
};
use crate::api::{
    BatchItem, BatchRequest, BatchResponse, InspectRequest, Inspection, MintRequest, Minted,
};

/// Mint one viewer token. It is safe to retry: a retry mints another token.
#[utoipa::path(
    post, path = "/v1/tokens", operation_id = "mintToken", tag = "Tokens",
    security(("credential" = ["tokens:mint"])),
    request_body = MintRequest, responses((status = 200, description = "A token", body = Minted))
)]
pub async fn mint_token(
    State(api): State<Api>,
    client: Caller<TokensMint>,
    Shape(request): Shape<MintRequest>,
) -> Result<Response, ApiError> {
    let outcome = api.minting.mint(&client.actor(), request).await;
    // A mint decision is the record of its refusal, too.
    client.facts().set_audited();
    Ok(no_store(json(&outcome?)))
}

/// Mint up to 500 tokens. An invalid item never fails the others.
#[utoipa::path(
    post, path = "/v1/tokens/batch", operation_id = "mintTokenBatch", tag = "Tokens",
    security(("credential" = ["tokens:mint"])),
    request_body = BatchRequest, responses((status = 200, description = "An answer for each request", body = BatchResponse))
)]
pub async fn mint_token_batch(
    State(api): State<Api>,
    client: Caller<TokensMint>,
    Body(batch): Body<BatchRequest>,
) -> Result<Response, ApiError> {
    let outcomes = api.minting.mint_batch(&client.actor(), batch).await?;
    let to_item = |outcome: Result<Minted, ApiError>| match outcome {
        Ok(minted) => BatchItem::Minted(minted),
        Err(error) => {
            // The layers see a success.
            api.metrics.refusal(error.code());
            BatchItem::Refused { error: error.to_problem(Some(client.facts().request_id()), true) }
        }
    };
    let results = outcomes.into_iter().map(to_item).collect();
    Ok(no_store(json(&BatchResponse { results })))
}

/// Find out why IVS refuses a token. Compares it with the keyring, and with IVS's key pairs and
/// channel; it makes no other network requests.
#[utoipa::path(
    post, path = "/v1/tokens/inspect", operation_id = "inspectToken", tag = "Tokens",
    security(("credential" = ["tokens:inspect"])),
    request_body = InspectRequest, responses((status = 200, description = "What was found", body = Inspection))
)]
pub async fn inspect_token(
    State(api): State<Api>,
    client: Caller<TokensInspect>,
    Body(request): Body<InspectRequest>,
) -> Result<Response, ApiError> {
    let inspection = api.inspections.inspect(&client.actor(), request).await?;
    Ok(no_store(json(&inspection)))
}
