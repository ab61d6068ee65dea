//! The hot path of a mint: what is left of it when the channel is in the cache.
//!
//! `cargo bench --bench mint`

#![expect(clippy::expect_used, reason = "a bench that cannot be set up has nothing to measure")]

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use ivs_playback_auth::{
    clock::Timestamp,
    keys::{keyring::VersionId, material::PrivateKey, signer::Signer},
    secret::system_rng,
    tokens::{
        grant::{Grant, Policy, Terms, TermsRequest},
        mint,
        mint::Issue,
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
        || TermsRequest { viewer_id: Some("viewer-1".to_owned()), ..TermsRequest::default() };
    let grant = Grant {
        channel: channel.parse().expect("an ARN"),
        terms: Terms::parse(request(), &policy).expect("terms"),
    };
    let now = Timestamp::from_unix_seconds(1_795_337_700);

    criterion.bench_function("sign: ES384 alone", |bencher| {
        bencher.iter(|| signer.sign(black_box(b"header.payload")));
    });
    criterion.bench_function("mint: grant to token, key parsed before", |bencher| {
        bencher.iter(|| mint(black_box(&grant), &policy, &signer, Issue::at(now), &mut rng));
    });
    criterion.bench_function("mint: the same, key parsed for every token", |bencher| {
        bencher.iter(|| {
            let arn = arn.parse().expect("an ARN");
            let signer = Signer::new(&key, arn, version.clone()).expect("a signer");
            mint(black_box(&grant), &policy, &signer, Issue::at(now), &mut system_rng())
        });
    });
    criterion.bench_function("grant: members to terms", |bencher| {
        bencher.iter(|| Terms::parse(black_box(request()), &policy));
    });
}

criterion_group!(benches, bench);
criterion_main!(benches);
