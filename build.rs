//! Passes the commit that the binary is built from, which `/healthz` reports.

use std::process::Command;

fn main() {
    // An image build has no repository and passes the commit in the environment.
    println!("cargo:rerun-if-env-changed=IVS_PLAYBACK_AUTH_COMMIT");
    for path in [".git/HEAD", ".git/refs/heads"] {
        if std::path::Path::new(path).exists() {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    #[expect(clippy::disallowed_methods, reason = "a build script has no configuration")]
    let commit = std::env::var("IVS_PLAYBACK_AUTH_COMMIT").ok().or_else(commit_of_checkout);
    println!("cargo:rustc-env=IVS_PLAYBACK_AUTH_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
}

fn commit_of_checkout() -> Option<String> {
    let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
    let commit = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !commit.is_empty()).then_some(commit)
}
