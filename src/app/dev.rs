//! `dev`: the token service and an emulated IVS in one process, with no AWS account.
//!
//! Everything is made on the first start and found again on the next, however the process ended:
//! the channel, the key pair, the credential. No environment variable and no AWS profile is read,
//! so that credentials of a real account that happen to be there can do nothing.

use std::{
    fmt::Write as _,
    fs, io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use url::Url;

use super::{
    App, StartError,
    emulator::{GRACE, connections, warn_if_public},
    open_files::OpenFiles,
    preflight::preflight,
    serve::Running,
    server::Listener,
    signals::{self, StopSignals},
};
use crate::{
    access::{Client, Credential, Scope, edit::ClientsFile},
    clock::Clock,
    config::{Config, Override, Overrides, Sources},
    emulator::{Emulator, Options},
    files::{self, Locked},
    http::demo::{Demo, PublicDemo},
    ivs::{
        IvsRegions,
        arn::{AccountId, ArnError, ChannelArn, Region},
    },
    keys::keyring::DriverId,
    secret::{ExposeSecret, system_rng},
    telemetry::{Instruments, print},
};

/// The region of everything in `dev`.
const REGION: &str = "us-west-2";
/// The account of everything in `dev`.
const ACCOUNT: &str = "123456789012";
/// The name and alias of the channel that is there from the start.
const CHANNEL: &str = "demo";
/// What AWS clients sign with. The emulator accepts any; these are recognisably not real.
const ACCESS_KEY_ID: &str = "EMULATED";
const SECRET_ACCESS_KEY: &str = "emulated-and-not-secret";
/// The emulator answers on the same machine.
const IVS_TIMEOUT: Duration = Duration::from_secs(5);
/// The data folder is for the owner alone.
const FOLDER_MODE: u32 = 0o700;

/// What `dev` is told.
#[derive(Clone, Debug)]
pub struct DevOptions {
    /// Where the token service listens.
    pub listen: SocketAddr,
    /// Where the emulated IVS listens.
    pub emulator_listen: SocketAddr,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// A file with sections of the service's configuration.
    pub config: Option<PathBuf>,
    /// What playback URLs begin with, if not the emulator's address.
    pub public_url: Option<Url>,
    /// Whether the demo page is also shown to callers of the public URL's host.
    pub public_demo: bool,
    /// Whether every channel is live from the start.
    pub auto_live: bool,
}

/// Runs both until a signal.
///
/// # Errors
///
/// A port is taken, the data folder cannot be used, or another `dev` uses it.
pub async fn run_dev(options: DevOptions, clock: Clock) -> Result<(), StartError> {
    let signals = StopSignals::new().map_err(StartError::Signals)?;
    let hangups = signals::hangups().map_err(StartError::Signals)?;
    let open_files = OpenFiles::raise();
    let listener = Listener::bind(options.listen, "--listen")?;
    let emulator_listener = Listener::bind(options.emulator_listen, "--emulator-listen")?;
    warn_if_public(options.listen);
    warn_if_public(options.emulator_listen);
    let folder = DataFolder::open(&options.data_dir)?;

    let emulated = Emulator::open(
        Options {
            public_url: options.public_url.clone(),
            auto_live: options.auto_live,
            ..Options::new(folder.path("emulator"), account())
        },
        clock.clone(),
    )?;
    let channel = emulated.ensure_live_channel(&region(), CHANNEL).await?;
    let emulator_url = loopback_url(emulator_listener.address());
    let instruments = Instruments::new(clock.clone());
    let connections = connections(open_files.max_connections(0, 2)?, instruments.clone());
    let emulator = Running::start_with(emulator_listener, emulated.router(), connections);

    let credential = folder.credential("api-key", "dev", &Scope::ALL, &clock)?;
    let service_url = loopback_url(listener.address());
    let public = public_access(&options, &folder, &clock)?;
    let place = Place { folder: &folder, channel: &channel, service: listener.address() };
    let config = Config::load(place.sources(options.config.clone()))?;
    preflight(&config).await.into_result()?;
    warn_about_unapplied(&config, options.config.as_deref());
    folder.write("config.toml", &config_file(&config))?;
    folder.write("env", &env_file(&config, &emulator_url))?;
    let ivs = IvsRegions::fixed(
        &emulator_url,
        region(),
        account(),
        ACCESS_KEY_ID,
        SECRET_ACCESS_KEY,
        IVS_TIMEOUT,
        &instruments,
    );
    // The emulator's folder is locked by this process alone, so that a claim under this id is one
    // of a former start that was killed.
    let driver = folder.driver()?;
    let mut app = App::build_as(driver, &config, ivs, instruments).await?;
    app.allow_loopback_origins();
    let public_url = options.public_url.as_ref();
    let playback_origin =
        public_url.map_or_else(|| emulator_url.clone(), |it| it.origin().ascii_serialization());
    let is_public = public.is_some();
    let (address, rng) = (listener.address(), &mut system_rng());
    app.serve_demo(Demo::new(address, credential.reveal(), public, playback_origin, rng));
    app.ensure_first_key(&region()).await?;
    let mut router = app.router();
    if is_public {
        // A tunnel or proxy has one host for the page and for what it plays.
        router = router.merge(emulated.edge_router());
    }
    let max_connections = open_files.max_connections(config.server.max_connections, 2)?;
    introduce(&service_url, &emulator_url, &channel, &folder);
    let service = Running::start(listener, &app, router, &config, max_connections, hangups)?;
    app.log_start(&service_url, None);
    app.start_background();
    service.until_stopped(app, signals, &config).await?;
    // Last, since the service may still ask it.
    emulator.stop(GRACE).await;
    Ok(())
}

fn region() -> Region {
    constant(REGION.parse())
}

fn account() -> AccountId {
    constant(ACCOUNT.parse())
}

#[expect(clippy::expect_used, reason = "the constants above are parsed by a test")]
fn constant<T>(parsed: Result<T, ArnError>) -> T {
    parsed.expect("a constant of this file")
}

/// Where a process on this machine reaches a listener, also one that listens everywhere.
fn loopback_url(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    format!("http://{address}")
}

/// Whether `dev` ignores this setting of `--config`: it always uses its own emulated IVS, key store,
/// listeners and clients. Channels of another account are not there.
pub fn is_not_applied(key: &str, text: Option<&str>) -> bool {
    const KEYS: [&str; 9] = [
        "access.clients",
        "channels.aliases.demo",
        "keys.dir",
        "keys.secret_name",
        "keys.store",
        "server.listen",
        "server.operations_listen",
        "server.tls_cert",
        "server.tls_key",
    ];
    let is_elsewhere = || {
        text.and_then(|text| text.parse::<ChannelArn>().ok())
            .is_some_and(|arn| (arn.region(), arn.account()) != (&region(), &account()))
    };
    KEYS.contains(&key)
        || key.starts_with("ivs.")
        || ((key.starts_with("channels.aliases.") || key == "rotation.canary_channel")
            && is_elsewhere())
}

fn warn_about_unapplied(config: &Config, file: Option<&Path>) {
    if let (Some(file), false) = (file, config.not_applied.is_empty()) {
        tracing::warn!(
            event = "settings_not_applied",
            file = %file.display(),
            settings = config.not_applied.join(", "),
            "dev does not apply some settings of the configuration file"
        );
    }
}

/// What visitors of `--public-demo` may do.
fn public_access(
    options: &DevOptions,
    folder: &DataFolder,
    clock: &Clock,
) -> Result<Option<PublicDemo>, StartError> {
    const SCOPES: [Scope; 4] =
        [Scope::TokensMint, Scope::TokensInspect, Scope::ChannelsRead, Scope::ViewersRevoke];
    let Some(url) = options.public_url.clone().filter(|_| options.public_demo) else {
        return Ok(None);
    };
    let credential = folder.credential("public-demo-key", "public-demo", &SCOPES, clock)?;
    tracing::warn!(
        event = "public_demo",
        host = url.host_str(),
        "everyone who reaches the demo page under this host may mint tokens, read channels and \
         revoke viewers"
    );
    Ok(Some(PublicDemo { url, credential: credential.reveal() }))
}

/// Where `dev` keeps everything; for the owner alone.
struct DataFolder {
    /// As the user gave it, for messages.
    given: PathBuf,
    /// Absolute, so that what is printed works in any folder.
    absolute: PathBuf,
}

impl DataFolder {
    fn open(path: &Path) -> Result<Self, StartError> {
        let failed = |source| StartError::DataDir { path: path.to_owned(), source };
        files::create_folder(path, FOLDER_MODE).map_err(failed)?;
        let absolute = fs::canonicalize(path).map_err(failed)?;
        Ok(Self { given: path.to_owned(), absolute })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.absolute.join(name)
    }

    /// Replaces a file at once and durably; a new one only the owner may read.
    fn write(&self, name: &str, text: &str) -> Result<(), StartError> {
        let path = self.path(name);
        Locked::lock(&path, FOLDER_MODE)
            .and_then(|file| file.replace(text.as_bytes()))
            .map_err(|source| StartError::DataDir { path, source })
    }

    /// The name under which this folder's `dev` changes key pairs, at every start the same.
    fn driver(&self) -> Result<DriverId, StartError> {
        let path = self.path("driver");
        if let Some(driver) = fs::read_to_string(&path).ok().and_then(|it| it.trim().parse().ok()) {
            return Ok(driver);
        }
        let driver = DriverId::random(&mut system_rng());
        self.write("driver", &format!("{driver}\n"))?;
        Ok(driver)
    }

    /// The credential of the first start, known to the service under its id.
    ///
    /// The file comes first: whatever moment the process is killed at, the next start finds either
    /// no credential or one that it makes known again.
    fn credential(
        &self,
        file: &str,
        client: &str,
        scopes: &[Scope],
        clock: &Clock,
    ) -> Result<Credential, StartError> {
        let path = self.path(file);
        let credential = match fs::read_to_string(&path) {
            Ok(text) => {
                let credential = Credential::parse(text.trim_end())
                    .map_err(|_| StartError::ApiKey { path: path.clone() })?;
                make_private(&path).map_err(|source| StartError::DataDir { path, source })?;
                credential
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let credential = Credential::generate(&mut system_rng());
                let text = format!("{}\n", credential.reveal().expose_secret());
                self.write(file, &text)?;
                credential
            }
            Err(source) => return Err(StartError::DataDir { path, source }),
        };
        let file = ClientsFile::new(self.path("clients.toml"));
        let clients = file.list()?;
        if clients.get(credential.id()).is_none() {
            // The credential of an earlier start, whose file was removed.
            if let Some(earlier) = clients.iter().find(|earlier| earlier.name() == client) {
                file.revoke(earlier.id())?;
            }
            let client = Client::new(
                client,
                scopes.iter().copied().collect(),
                &credential,
                clock.now().floor_to_second(),
            )
            .map_err(|fault| StartError::DataDir {
                path: file.path().to_owned(),
                source: io::Error::other(fault.to_string()),
            })?;
            file.add(&client)?;
        }
        Ok(credential)
    }
}

/// Somebody may have copied it back with other permissions.
fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
}

/// What the files in the data folder say.
struct Place<'a> {
    folder: &'a DataFolder,
    channel: &'a ChannelArn,
    service: SocketAddr,
}

impl Place<'_> {
    /// The file of `--config` between what `dev` suggests and what it demands.
    fn sources(&self, file: Option<PathBuf>) -> Sources {
        let set = |(key, value)| Override { key, value, flag: "dev" };
        let overrides = Overrides {
            settings: self.demanded().into_iter().map(set).collect(),
            ..Overrides::default()
        };
        let defaults = self.suggested().into_iter().map(set).collect();
        // Paths in it must mean the same in the files that are written into the data folder.
        let file = file.map(|file| std::path::absolute(&file).unwrap_or(file));
        Sources {
            file,
            overrides,
            defaults,
            not_applied: Some(is_not_applied),
            ..Sources::default()
        }
    }

    fn demanded(&self) -> Vec<(&'static str, String)> {
        vec![
            ("server.listen", self.service.to_string()),
            ("ivs.regions", REGION.to_owned()),
            ("ivs.account_id", ACCOUNT.to_owned()),
            ("keys.dir", self.folder.path("keys").display().to_string()),
            ("access.clients", self.folder.path("clients.toml").display().to_string()),
            ("channels.aliases.demo", self.channel.to_string()),
        ]
    }

    fn suggested(&self) -> Vec<(&'static str, String)> {
        vec![
            // Not on the terminal, where people read something else.
            ("audit.sink", "file".to_owned()),
            ("audit.path", self.folder.path("audit.log").display().to_string()),
            ("viewers.local_deny", true.to_string()),
            ("viewers.deny_list", self.folder.path("denied-viewers.jsonl").display().to_string()),
            // Short enough to watch a rotation. The old pair still lives as long as its tokens may.
            ("keys.max_staleness", "5m".to_owned()),
            ("rotation.propagation_wait", "10s".to_owned()),
            ("rotation.drain_margin", "1m".to_owned()),
            ("rotation.reconcile_every", "5s".to_owned()),
        ]
    }
}

/// For `--config`: what this process itself uses.
fn config_file(config: &Config) -> String {
    let mut text = "# Written by `ivs-playback-auth dev` at each start.\n".to_owned();
    for (key, value, _) in config.show().chosen() {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{key} = {value}");
    }
    text
}

/// For `. <data-dir>/env`.
fn env_file(config: &Config, emulator_url: &str) -> String {
    let mut text = "# Written by `ivs-playback-auth dev` at each start. In a shell:\n\
                        #   . .dev/env\n\
                        # From then on ivs-playback-auth and aws work against it, not against AWS.\n\
                        unset AWS_PROFILE AWS_DEFAULT_PROFILE AWS_SESSION_TOKEN \
                        AWS_ENDPOINT_URL_IVS AWS_USE_FIPS_ENDPOINT AWS_USE_DUALSTACK_ENDPOINT\n\
                        for name in $(env | sed -n 's/^\\(IVS_PLAYBACK_AUTH_[A-Za-z0-9_]*\\)=.*/\\1/p'); \
                        do unset \"$name\"; done\n"
            .to_owned();
    // A proxy of the network is no way to this machine.
    for name in ["NO_PROXY", "no_proxy"] {
        let _ = writeln!(text, "export {name}=\"127.0.0.1,localhost,::1${{{name}:+,${name}}}\"");
    }
    let aws = [
        ("AWS_ENDPOINT_URL", emulator_url),
        // Or a configuration file may have both clients pass it by.
        ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "false"),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID),
        ("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY),
        ("AWS_ACCOUNT_ID", ACCOUNT),
        ("AWS_REGION", REGION),
        ("AWS_DEFAULT_REGION", REGION),
    ];
    for (name, value) in aws {
        let _ = writeln!(text, "export {name}={}", quoted(value));
    }
    for (key, _, value) in config.show().chosen() {
        let name = key.replace('.', "__").to_ascii_uppercase();
        let _ = writeln!(text, "export IVS_PLAYBACK_AUTH__{name}={}", quoted(&value));
    }
    text
}

/// For a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Says what there is, and one line that mints as it stands. Never the credential itself.
fn introduce(service: &str, emulator: &str, channel: &ChannelArn, folder: &DataFolder) {
    let api_key = folder.path("api-key");
    print(&format!(
        "
Everything here is emulated; not for production.

  demo page        {service}/
  token service    {service}
  emulated IVS at  {emulator} ({REGION}, account {ACCOUNT})
  private channel  {channel} (alias {CHANNEL}, live)
  credential       {}
  state            {}

Mint a viewer token:

  curl -s -X POST {service}/v1/tokens -H \"Authorization: Bearer $(cat {})\" -H 'content-type: application/json' -d '{{\"channel\":\"{CHANNEL}\",\"viewerId\":\"alice\"}}'

Point the aws CLI and this program at it, in another shell:

  . {}
",
        api_key.display(),
        folder.given.display(),
        quoted(&api_key.display().to_string()),
        quoted(&folder.path("env").display().to_string()),
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constants_parse() {
        assert_eq!((region().as_str(), account().as_str()), (REGION, ACCOUNT));
    }

    #[test]
    fn a_listener_on_all_addresses_is_reached_over_loopback() {
        assert_eq!(loopback_url("0.0.0.0:80".parse().unwrap()), "http://127.0.0.1:80");
        assert_eq!(loopback_url("[::]:80".parse().unwrap()), "http://[::1]:80");
        assert_eq!(loopback_url("127.0.0.2:80".parse().unwrap()), "http://127.0.0.2:80");
    }
}
