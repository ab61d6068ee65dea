//! End-to-end properties: every granted request becomes a token that IVS accepts, and inspection agrees.

use std::{sync::LazyLock, time::Duration};

use proptest::prelude::*;
use rand::{SeedableRng, rngs::StdRng};
use serde_json::Value;

use crate::{
    clock::Timestamp,
    ivs::arn::PlaybackKeyArn,
    tokens::{
        claims::CAPPED_TTL,
        grant::{Grant, MintRequest, Policy, Terms},
        mint::{Issue, prepare},
        payload::{AWS_CLAIMS, EXP},
        playback_url,
        testing::{CHANNEL, TestKey},
    },
};

use super::{
    ChannelFacts, Context, Input, KeyIdentity, KeyRing, KeyStanding, KnownKey, NotChecked, Subject,
    inspect,
    text::{Colour, render},
};

static KEY: LazyLock<TestKey> = LazyLock::new(TestKey::generate);
static RING: LazyLock<KeyRing> = LazyLock::new(|| {
    let standing = KeyStanding::Active;
    let arn: PlaybackKeyArn =
        "arn:aws:ivs:us-west-2:123456789012:playback-key/abc".parse().unwrap();
    let key = KeyIdentity::Public(KEY.public_key());
    let mut ring = KeyRing::new([KnownKey { key, arn: Some(arn.clone()), standing }]);
    ring.cover(arn.region().clone(), arn.account().clone());
    ring
});

fn any_policy() -> impl Strategy<Value = Policy> {
    (1_u64..3600, 0_u64..3600, any::<bool>()).prop_map(|(default_ttl, more, stamp)| Policy {
        default_ttl: Duration::from_secs(default_ttl),
        max_ttl: Duration::from_secs((default_ttl + more).min(3600)),
        stamp_session_version: stamp,
    })
}

fn any_origin() -> impl Strategy<Value = String> {
    let host = prop_oneof![
        "(\\*\\.)?[a-zA-Z][a-zA-Z0-9-]{0,10}[a-z0-9]\\.(example|test)",
        Just("localhost".to_owned()),
        Just("192.0.2.7".to_owned()),
        Just("[2001:db8::7]".to_owned()),
        Just("bücher.example".to_owned()),
    ];
    let port = prop::option::of(prop_oneof![Just(443_u16), Just(80), 1_u16..]);
    ("https?", host, port).prop_map(|(scheme, host, port)| match port {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    })
}

prop_compose! {
    /// A request that satisfies every rule of the policy.
    fn any_good_request(policy: Policy)(
        viewer_id in prop::option::of("\\PC{1,40}"),
        version in prop::option::of(0..=i64::from(i32::MAX)),
        origins in prop::option::of(prop_oneof![
            prop::collection::vec(any_origin(), 1..=5),
            Just(vec!["*".to_owned()]),
        ]),
        strict in prop::option::of(any::<bool>()),
        single_use in prop::option::of(any::<bool>()),
        resolution in prop::option::of(prop::sample::select(vec!["SD", "HD", "FULL_HD"])),
        ttl in prop::option::of(1_i64..=3600),
    ) -> MintRequest {
        let capped = viewer_id.is_some() || single_use == Some(true);
        let limit = if capped { policy.max_ttl.min(CAPPED_TTL) } else { policy.max_ttl };
        let limit = i64::try_from(limit.as_secs()).unwrap();
        let named = origins.as_ref().is_some_and(|origins| origins[0] != "*");
        MintRequest {
            channel: CHANNEL.to_owned(),
            viewer_session_version: version.filter(|_| viewer_id.is_some()),
            viewer_id,
            allowed_origins: origins,
            strict_origin_enforcement: strict.filter(|_| named),
            single_use,
            maximum_resolution: resolution.map(str::to_owned),
            ttl_seconds: ttl.map(|ttl| ttl.min(limit)),
        }
    }
}

fn any_good_mint() -> impl Strategy<Value = (Policy, MintRequest)> {
    any_policy().prop_flat_map(|policy| (Just(policy), any_good_request(policy)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn minted_tokens_pass_inspection(
        (policy, request) in any_good_mint(),
        now_millis in 0_i64..4_000_000_000_000,
        seed in any::<u64>(),
    ) {
        // A stamped version must fit into 31 bits, which end in 2038.
        let policy = Policy {
            stamp_session_version: policy.stamp_session_version && now_millis < 2_147_483_647_000,
            ..policy
        };
        let now = Timestamp::from_unix_millis(now_millis);
        let channel = CHANNEL.parse().unwrap();
        let terms = Terms::parse(request, &policy);
        prop_assert!(terms.is_ok(), "{:?}", terms);
        let grant = Grant { channel, terms: terms.unwrap() };
        let mut rng = StdRng::seed_from_u64(seed);
        let prepared = prepare(&grant, &policy, Issue::at(now), &mut rng).unwrap();
        let signature = KEY.sign(prepared.message());
        let minted = prepared.finish(&signature).unwrap();

        // Played at once, from an allowed origin.
        let base = "https://a1b2.us-west-2.playback.live-video.net/api/video/v1/us-west-2.123456789012.channel.AbCdEfGh1234.m3u8";
        let url = playback_url(base, minted.token.expose()).unwrap();
        let origin = grant.terms.allowed_origins().and_then(|origins| origins.iter().next());
        let input = Input {
            subject: Some(Subject::PlaybackUrl(url.into())),
            channel: Some(grant.channel.clone()),
            origin: Some(origin.unwrap_or_default().replace('*', "www")),
            ..Input::default()
        };
        let context = Context { keys: Some(&RING), channel: Some(ChannelFacts::Private) };
        let inspection = inspect(&input, &context, now);
        prop_assert_eq!(&inspection.findings, &[]);
        let unknowable = [NotChecked::Session, NotChecked::SingleUse];
        prop_assert!(inspection.not_checked.iter().all(|what| unknowable.contains(what)));
        prop_assert_eq!(inspection.valid, (!grant.terms.is_capped()).then_some(true));
        prop_assert_eq!(inspection.token_id, Some(minted.token_id.clone()));

        // Only names that IVS defines, and a lifetime within every limit.
        let claims = inspection.claims.unwrap();
        prop_assert!(claims.keys().all(|name| name == EXP || AWS_CLAIMS.contains(&name.as_str())));
        let lifetime = claims[EXP].as_i64().unwrap() - now.unix_seconds();
        let limit = if grant.terms.is_capped() { CAPPED_TTL.min(policy.max_ttl) } else { policy.max_ttl };
        prop_assert!((1..=i64::try_from(limit.as_secs()).unwrap()).contains(&lifetime));
        prop_assert_eq!(minted.expires_in.as_secs(), u64::try_from(lifetime).unwrap());
        prop_assert!(minted.issued_at <= minted.refresh_after);
        prop_assert!(minted.refresh_after < minted.expires_at);

        // Nothing intended for logs contains the token.
        let debug = format!("{minted:?} {grant:?} {input:?}");
        for part in minted.token.expose().split('.').skip(1) {
            prop_assert!(!debug.contains(part));
        }
    }

    #[test]
    fn arbitrary_text_is_inspected_without_panic(text in any_text(), origin in prop::option::of("\\PC{0,30}")) {
        let now = Timestamp::from_unix_seconds(1_795_337_700);
        let context = Context { keys: Some(&RING), channel: None };
        let subjects =
            [Subject::Token(text.clone()), Subject::PlaybackUrl(text.clone())].map(|subject| Input {
                subject: Some(subject),
                edge_error: Some(text.clone()),
                origin: origin.clone(),
                channel: None,
            });
        for input in subjects.into_iter().chain(Input::from_text(&text)) {
            let inspection = inspect(&input, &context, now);
            render(&inspection, Colour::Ansi);
            serde_json::to_string(&inspection).unwrap();
        }
    }

    #[test]
    fn arbitrary_claims_are_inspected_without_panic(claims in any_claims()) {
        let now = Timestamp::from_unix_seconds(1_795_337_700);
        let header = serde_json::json!({"alg": "ES384", "typ": "JWT"});
        let token = KEY.token(&header, &claims);
        let input = Input { subject: Some(Subject::Token(token)), ..Input::default() };
        let inspection = inspect(&input, &Context { keys: Some(&RING), channel: None }, now);
        render(&inspection, Colour::Ansi);
        prop_assert_eq!(inspection.claims.map(Value::Object), Some(claims));
    }
}

/// Texts that more or less resemble what people inspect.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,80}",
        "[A-Za-z0-9_=+/-]{0,40}(\\.[A-Za-z0-9_=+/-]{0,40}){0,5}",
        "(curl )?['\"$\\\\^ ]{0,5}https?://[a-z./?#&=%@\\[\\]:*-]{0,40}(token=[a-z.&?%=]{0,20}){0,3}['\"\\\\^]{0,3}",
        "[\\[{]{0,3}\"(error|error_code|emulator_reason)\":\"?[a-z_]{0,20}\"?[\\]}]{0,3}",
    ]
}

/// Claim sets with IVS's names and values of every type.
fn any_claims() -> impl Strategy<Value = Value> {
    let names = AWS_CLAIMS.into_iter().chain([EXP, "iat", "sub", "viewerId", "aws:other", "AWS:"]);
    let name = prop::sample::select(names.collect::<Vec<_>>());
    let value = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (1_795_337_000_i64..1_795_339_000).prop_map(Value::from),
        // Halves survive printing and parsing; serde_json does not promise this for all floats.
        any::<i32>().prop_map(|n| Value::from(f64::from(n) / 2.0)),
        "(https?://|\\*)?[a-z*.:/@,]{0,30}".prop_map(Value::from),
        "\\PC{0,60}".prop_map(Value::from),
        Just(Value::Null),
        Just(serde_json::json!([1, {"a": null}])),
    ];
    prop::collection::btree_map(name, value, 0..8).prop_map(|members| {
        Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    })
}
