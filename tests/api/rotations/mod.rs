//! Rotations and repairs of a whole service, on a clock that the tests move. Nothing runs in the
//! background: each look of the manager is asked for.

mod canary;
mod emergency;
mod graceful;
mod logs;
mod observers;
mod repair;
mod requests;

use std::{sync::Arc, time::Duration};

use ivs_playback_auth::{
    app::App,
    clock::Clock,
    keys::{
        material::PrivateKey,
        rotation::{KeyManager, Reconciliation},
    },
    secret::system_rng,
    telemetry::metrics::ExpositionFormat,
};
use serde_json::{Value, json};

use crate::app::{TestApp, build};

/// `rotation.propagation_wait`, and what instants of IVS, in whole seconds, may add.
const PROPAGATION: Duration = Duration::from_secs(10 * 60 + 2);

/// `keys.max_staleness`, `tokens.max_ttl` and `rotation.drain_margin` together.
const DRAIN: Duration = Duration::from_hours(6 + 1 + 24);

/// A missing pair is looked at twice, this far apart.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// The manager of a service that has one region.
fn manager(app: &App) -> &Arc<KeyManager> {
    app.api().key_managers.values().next().unwrap()
}

impl TestApp {
    /// Compares keyring and IVS, and takes the steps that can be taken.
    async fn look(&self) -> Reconciliation {
        manager(&self.app).reconcile().await
    }

    /// As [`TestApp::look`], where nothing fails.
    async fn step(&self) {
        let look = self.look().await;
        assert_eq!(look.failure, None);
    }

    /// Asks for a rotation and expects that it is under way.
    async fn begin(&self, body: Value) -> Value {
        let answer = self.post("/v1/key-pairs/rotations", &body).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.json()
    }

    /// The rotation as it is now.
    async fn now(&self, rotation: &Value) -> Value {
        let answer = self.get(&path_of(rotation)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// Begins a graceful rotation, and goes on until its new key signs.
    pub(crate) async fn rotate(&self) -> Value {
        let rotation = self.begin(json!({})).await;
        self.step().await;
        self.clock.advance(PROPAGATION);
        self.step().await;
        let rotation = self.now(&rotation).await;
        assert_eq!(rotation["phase"], "draining", "{rotation}");
        rotation
    }

    /// The key pairs of keyring and IVS, as the service lists them: state and ARN.
    async fn states(&self) -> Vec<(String, String)> {
        let body = self.get("/v1/key-pairs").await.json();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let pairs = body["keyPairs"].as_array().unwrap().iter();
        pairs.map(|pair| (text(&pair["state"]), text(&pair["arn"]))).collect()
    }

    /// The ARNs of the pairs in IVS.
    async fn in_ivs(&self) -> Vec<String> {
        let listed = self.regional_ivs().list_playback_key_pairs().await.unwrap();
        listed.into_iter().map(|pair| pair.arn.as_str().to_owned()).collect()
    }

    /// Imports a pair that is not of this service, and returns its ARN.
    async fn import_foreign(&self, name: &str) -> String {
        let key = PrivateKey::generate(&mut system_rng()).unwrap();
        let (pem, tags) = (key.public_key().to_pem(), [].into());
        let pair = self.regional_ivs().import_playback_key_pair(pem, name, &tags).await.unwrap();
        pair.arn.as_str().to_owned()
    }

    /// Deletes a pair as somebody at the console does.
    async fn delete_in_console(&self, arn: &Value) {
        self.sdk().delete_playback_key_pair().arn(arn.as_str().unwrap()).send().await.unwrap();
    }

    /// The private keys on disk.
    fn private_keys(&self) -> usize {
        let entries = std::fs::read_dir(self.keys_folder().join("us-west-2")).unwrap();
        let is_key = |path: std::path::PathBuf| path.extension() == Some("pem".as_ref());
        entries.filter(|entry| is_key(entry.as_ref().unwrap().path())).count()
    }

    /// Whether the edge plays what was minted.
    async fn plays(&self, minted: &Value) -> bool {
        let answer = self.play(minted["playbackUrl"].as_str().unwrap(), None).await;
        assert!(matches!(answer.status.as_u16(), 200 | 403), "{answer:?}");
        answer.status == 200
    }

    /// The codes that `/readyz` tells a client with every scope, and the details together.
    async fn findings(&self) -> (Vec<String>, String) {
        // As in the background.
        self.app.api().keys.refresh_all().await;
        let answer = self.get("/readyz").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let body = answer.json();
        let findings = body["regions"]["us-west-2"]["findings"].as_array().unwrap();
        let expected = if findings.is_empty() { "ready" } else { "degraded" };
        assert_eq!(body["status"], expected, "{body}");
        let codes = findings.iter().map(|it| it["code"].as_str().unwrap().to_owned()).collect();
        (codes, body.to_string())
    }

    /// Whether a series of the metrics has this value.
    fn counts(&self, series: &str) -> bool {
        let metrics = self.metrics.encode(ExpositionFormat::OpenMetrics).unwrap();
        metrics.lines().any(|line| line == format!("ivs_playback_auth_{series}"))
    }

    /// Another process on the same keys and the same IVS, with a configuration and clock of its own.
    async fn replica(&self, settings: &[(&str, &str)], clock: Clock) -> App {
        build(self.emulator_address, &self.variables, settings, clock).await
    }
}

fn path_of(rotation: &Value) -> String {
    format!("/v1/key-pairs/rotations/{}", rotation["id"].as_str().unwrap())
}
