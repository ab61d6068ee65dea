//! The playback edge of an emulator that is killed: a single use that was spent stays spent, a viewer
//! that was revoked stays out, and metadata still reaches players.

use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use ivs_playback_auth::clock::{Clock, Timestamp};
use p384::ecdsa::SigningKey;
use serde_json::{Value, json};

use crate::{
    connection::Connection,
    program::{PAUSE, Server},
    signer::{key, pem, token},
};

const WRITERS: usize = 4;

/// What one writer had acknowledged.
#[derive(Default)]
struct Acknowledged {
    /// The claims of tokens that have played.
    spent: Vec<Value>,
    /// The claims of viewers that were revoked.
    revoked: Vec<Value>,
    /// Metadata, and when it was not put yet.
    metadata: Vec<(Timestamp, String)>,
}

/// A live private channel, on which one writer writes.
struct Channel {
    arn: String,
    key: SigningKey,
}

impl Channel {
    fn make(connection: &mut Connection) -> Self {
        let (status, made) =
            connection.call("CreateChannel", &json!({"authorized": true})).unwrap();
        assert_eq!(status, 200, "{made}");
        let arn = made["channel"]["arn"].as_str().unwrap().to_owned();
        let stream = format!("/_emulator/streams/{}", arn.replace('/', "%2F"));
        assert_eq!(connection.ask("PUT", &stream, "").unwrap().0, 200);
        Self { arn, key: key(1) }
    }

    fn claims(&self, name: &str, value: &str) -> Value {
        let exp = Clock::system().now().unix_seconds() + 300;
        json!({"aws:channel-arn": self.arn, "exp": exp, name: value})
    }

    fn play(&self, connection: &mut Connection, claims: &Value) -> Option<(u16, String)> {
        let (_, id) = self.arn.rsplit_once('/').unwrap();
        let path = format!("/api/video/v1/us-west-2.123456789012.channel.{id}.m3u8");
        connection.ask("GET", &format!("{path}?token={}", token(&self.key, claims)), "")
    }

    /// The first variant playlist of a new player.
    fn variant(&self, connection: &mut Connection) -> String {
        let played = self.play(connection, &self.claims("iss", "test")).unwrap();
        assert_eq!(played.0, 200, "{}", played.1);
        let url = played.1.lines().find(|line| !line.starts_with('#')).unwrap();
        let (_, path) = url.split_once("/v1/").unwrap();
        let (status, playlist) = connection.ask("GET", &format!("/v1/{path}"), "").unwrap();
        assert_eq!(status, 200, "{playlist}");
        playlist
    }
}

/// Spends single uses, revokes viewers and puts metadata until the emulator is gone. `count` counts
/// what was asked to play by all writers.
fn write(server: &str, channel: &Channel, count: &AtomicUsize) -> Acknowledged {
    let mut acknowledged = Acknowledged::default();
    let Some(mut connection) = Connection::open(server) else { return acknowledged };
    for number in 0.. {
        let play = count.fetch_add(1, Ordering::Relaxed);
        let uuid = format!("00000000-0000-4000-8000-{play:012x}");
        let once = channel.claims("aws:single-use-uuid", &uuid);
        let Some((status, _)) = channel.play(&mut connection, &once) else { break };
        assert_eq!(status, 200);
        acknowledged.spent.push(once);

        let name = format!("viewer-{number}");
        let revoke = json!({"channelArn": channel.arn, "viewerId": name});
        match connection.call("StartViewerSessionRevocation", &revoke) {
            Some((status, _)) => assert_eq!(status, 200),
            None => break,
        }
        acknowledged.revoked.push(channel.claims("aws:viewer-id", &name));

        let before = Clock::system().now();
        let put = json!({"channelArn": channel.arn, "metadata": name});
        match connection.call("PutMetadata", &put) {
            Some((204, _)) => acknowledged.metadata.push((before, name)),
            // A channel takes five a second.
            Some((status, _)) => assert_eq!(status, 429),
            None => break,
        }
    }
    acknowledged
}

/// Lets the writers write, kills the emulator in the middle, and looks at what holds afterwards. How
/// much metadata could still be looked at.
fn round(data_dir: &Path, plays_before_kill: usize) -> usize {
    let server = Server::emulator(data_dir);
    let mut connection = Connection::open(&server.url).unwrap();
    let imported =
        connection.call("ImportPlaybackKeyPair", &json!({"publicKeyMaterial": pem(&key(1))}));
    assert_eq!(imported.unwrap().0, 200);
    let channels = [(); WRITERS].map(|()| Channel::make(&mut connection));
    let count = AtomicUsize::new(0);
    let all: Vec<Acknowledged> = thread::scope(|scope| {
        let writers: Vec<_> = channels
            .iter()
            .map(|channel| scope.spawn(|| write(&server.url, channel, &count)))
            .collect();
        while count.load(Ordering::Relaxed) < plays_before_kill {
            thread::sleep(PAUSE);
        }
        server.signal("KILL");
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    assert_eq!(server.wait().0, None, "it was killed");

    let again = Server::emulator(data_dir);
    let mut connection = Connection::open(&again.url).unwrap();
    let mut seen = 0;
    for (channel, acknowledged) in channels.iter().zip(&all) {
        let playlist = channel.variant(&mut connection);
        let begin = playlist
            .lines()
            .find_map(|line| line.strip_prefix("#EXT-X-PROGRAM-DATE-TIME:"))
            .map(|begin| Timestamp::parse(begin).unwrap())
            .unwrap();
        for (before, text) in acknowledged.metadata.iter().filter(|(at, _)| *at >= begin) {
            assert!(playlist.contains(&format!("=\"{text}\"")), "{before} {text} {playlist}");
            seen += 1;
        }
        for (claims, reason) in acknowledged
            .spent
            .iter()
            .map(|claims| (claims, "single_use_spent"))
            .chain(acknowledged.revoked.iter().map(|claims| (claims, "session_revoked")))
        {
            let (status, body) = channel.play(&mut connection, claims).unwrap();
            assert!(status == 403 && body.contains(reason), "{claims} {status} {body}");
        }
    }
    let plays: usize = all.iter().map(|writer| writer.spent.len()).sum();
    // Each writer may have been waiting for one answer.
    assert!(plays + WRITERS >= plays_before_kill, "{plays}");
    seen
}

#[test]
fn kill_9_gives_no_single_use_and_no_viewer_back_and_loses_no_metadata() {
    let folder = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for (round_number, plays) in [5, 20, 60].into_iter().cycle().take(20).enumerate() {
        seen += round(&folder.path().join(round_number.to_string()), plays);
        if round_number >= 2 && seen > 0 {
            return;
        }
    }
    panic!("playlists show metadata for longer than an emulator takes to start");
}
