//! The `dir` store passes the suite.

use std::{path::PathBuf, sync::Arc};

use ivs_playback_auth::keys::store::{Store, dir::DirStore};
use tempfile::TempDir;

use super::suite;

fn open(dir: &TempDir, passphrase: Option<&str>) -> impl Fn() -> Arc<dyn Store> {
    let keys: PathBuf = dir.path().join("keys");
    let passphrase = passphrase.map(str::to_owned);
    move || {
        let passphrase = passphrase.as_deref().map(Into::into);
        Arc::new(DirStore::new(keys.clone(), passphrase))
    }
}

#[tokio::test]
async fn it_does_what_every_store_does() {
    for passphrase in [None, Some("correct horse")] {
        let dir = tempfile::tempdir().unwrap();
        suite::one_writer(&open(&dir, passphrase)).await;
    }
}

#[tokio::test]
async fn no_write_of_many_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    suite::many_writers(&open(&dir, None), 8, 25).await;
}

#[tokio::test]
async fn one_of_several_wins() {
    let dir = tempfile::tempdir().unwrap();
    suite::one_of_several(&open(&dir, None), 5).await;
}
