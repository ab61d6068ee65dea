//! The hot path of a mint: what is left of it when the channel is in the cache.
//!
//! `cargo bench --bench mint`

#![expect(clippy::expect_used, reason = "a bench that cannot be set up has nothing to measure")]

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use ivs_playback_auth::{
    clock::Timestamp,
    keys::{keyring::VersionId, material::PrivateKey, signing::Signer},
    secret::system_rng,
    tokens::{
        grant::{Grant, MintRequest, Policy, Terms},
        mint::{Issue, prepare},
    },
};

fn bench(criterion: &mut Criterion) {
    let mut rng = system_rng();
    let key = PrivateKey::generate(&mut rng).expect("a key");
    let arn = "arn:aws:ivs:us-west-2:123456789012:playback-key/AbCdEfGh1234";
    let version = VersionId::random(&mut rng);
    let signer =
        Signer::new(&key, arn.parse().expect("an ARN"), version.clone()).expect("a signer");
    let policy = Policy {
        default_ttl: Duration::from_mins(5),
        max_ttl: Duration::from_hours(1),
        stamp_session_version: true,
    };
    let channel = "arn:aws:ivs:us-west-2:123456789012:channel/AbCdEfGh1234";
    let request =
        || MintRequest { viewer_id: Some("viewer-1".to_owned()), ..MintRequest::default() };
    let grant = Grant {
        channel: channel.parse().expect("an ARN"),
        terms: Terms::parse(request(), &policy).expect("terms"),
    };
    let now = Timestamp::from_unix_seconds(1_795_337_700);

    let mint = |signer: &Signer| {
        let prepared = prepare(black_box(&grant), &policy, Issue::at(now), &mut system_rng());
        let prepared = prepared.expect("a time that can be a session version");
        let signature = signer.sign(prepared.message()).expect("a signature");
        prepared.finish(&signature)
    };

    criterion.bench_function("sign: ES384 alone", |bencher| {
        bencher.iter(|| signer.sign(black_box(b"header.payload")));
    });
    criterion.bench_function("mint: grant to token, key parsed before", |bencher| {
        bencher.iter(|| mint(&signer));
    });
    criterion.bench_function("mint: the same, key parsed for every token", |bencher| {
        bencher.iter(|| {
            let arn = arn.parse().expect("an ARN");
            let signer = Signer::new(&key, arn, version.clone()).expect("a signer");
            mint(&signer)
        });
    });
    criterion.bench_function("grant: members to terms", |bencher| {
        bencher.iter(|| Terms::parse(black_box(request()), &policy));
    });
}

criterion_group!(benches, bench);
criterion_main!(benches);
