//! The `ivs-playback-auth` binary: parses arguments, runs the command, returns an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    ivs_playback_auth::cli::main()
}
