//! `emulator`.

use std::{net::SocketAddr, path::PathBuf};

use clap::{
    Args,
    builder::{NonEmptyStringValueParser as NonEmpty, TypedValueParser as _},
};
use url::Url;

use super::{Failure, Global};
use crate::{app, clock::Clock, emulator::AccessKey, ivs::arn::AccountId, secret::SecretString};

#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  ivs-playback-auth emulator\n  aws ivs list-channels --endpoint-url \
                  http://127.0.0.1:8090"
)]
pub(super) struct EmulatorArgs {
    /// Address to listen on; with port 0 it takes a free port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// Folder for the state
    #[arg(long, value_name = "DIR", default_value = ".emulator")]
    data_dir: PathBuf,
    /// Beginning of playback URLs [default: the address that a call was made to]
    #[arg(long, value_name = "URL", value_parser = super::public_url)]
    public_url: Option<Url>,
    /// The account that owns all resources
    #[arg(long, value_name = "ACCOUNT", default_value = "123456789012")]
    account_id: AccountId,
    /// Make every channel live as soon as it is created
    #[arg(long)]
    auto_live: bool,
    /// Throttle calls beyond IVS's call quotas
    #[arg(long)]
    enforce_rates: bool,
    /// The only access key that calls may be signed with [default: any; signatures are not verified]
    #[arg(long, value_name = "ID", requires = "secret_access_key", value_parser = NonEmpty::new())]
    access_key_id: Option<String>,
    /// The secret of the access key
    #[arg(
        long,
        value_name = "SECRET",
        requires = "access_key_id",
        value_parser = NonEmpty::new().map(SecretString::from)
    )]
    secret_access_key: Option<SecretString>,
}

pub(super) fn run(global: &Global, args: EmulatorArgs) -> Result<(), Failure> {
    global.log_by_flags()?;
    let options = app::EmulatorOptions {
        listen: args.listen,
        emulator: crate::emulator::Options {
            public_url: args.public_url,
            auto_live: args.auto_live,
            enforce_rates: args.enforce_rates,
            access_key: args
                .access_key_id
                .zip(args.secret_access_key)
                .map(|(id, secret)| AccessKey { id, secret }),
            ..crate::emulator::Options::new(args.data_dir, args.account_id)
        },
    };
    super::run_server(0, app::run_emulator(options, Clock::system()))
}
