//! The emulator as a process that is killed: what it acknowledged is there when it comes back.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use serde_json::json;

use crate::{connection::Connection, program::Server};

/// What one writer had acknowledged.
#[derive(Default)]
struct Acknowledged {
    /// Channels by ARN, with the name that they were given last. Without an answer to that call, the
    /// channel may have either name.
    kept: Vec<(String, Option<String>)>,
    deleted: Vec<String>,
}

/// Makes channels, changes them, and deletes every third, until the emulator is gone.
fn write(server: &str, writer: usize, is_killed: &AtomicBool) -> Acknowledged {
    let mut acknowledged = Acknowledged::default();
    let Some(mut connection) = Connection::open(server) else { return acknowledged };
    for number in 0.. {
        if is_killed.load(Ordering::Relaxed) {
            break;
        }
        let first = format!("{writer}-{number}");
        let Some((200, made)) = connection.call("CreateChannel", &json!({"name": first})) else {
            break;
        };
        let arn = made["channel"]["arn"].as_str().unwrap().to_owned();
        let second = format!("{first}-changed");
        let update = connection.call("UpdateChannel", &json!({"arn": arn, "name": second}));
        let is_changed = matches!(update, Some((200, _)));
        if is_changed && number % 3 == 0 {
            let Some((204, _)) = connection.call("DeleteChannel", &json!({"arn": arn})) else {
                break;
            };
            acknowledged.deleted.push(arn);
            continue;
        }
        acknowledged.kept.push((arn, is_changed.then_some(second)));
        if !is_changed {
            break;
        }
    }
    acknowledged
}

/// Lets four writers write, kills the emulator in the middle, and looks at what is there afterwards.
/// How many writes were acknowledged.
fn round(data_dir: &Path, writes_before_kill: usize) -> usize {
    let server = Server::emulator(data_dir);
    let is_killed = AtomicBool::new(false);
    let all: Vec<Acknowledged> = thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let (url, is_killed) = (server.url.clone(), &is_killed);
                scope.spawn(move || write(&url, writer, is_killed))
            })
            .collect();
        let mut observer = Connection::open(&server.url).unwrap();
        let mut count = 0;
        while count < writes_before_kill {
            let (status, listed) = observer.call("ListChannels", &json!({})).unwrap();
            assert_eq!(status, 200);
            count = listed["channels"].as_array().unwrap().len();
        }
        server.signal("KILL");
        is_killed.store(true, Ordering::Relaxed);
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    assert_eq!(server.wait().0, None, "it was killed");

    let again = Server::emulator(data_dir);
    let mut connection = Connection::open(&again.url).unwrap();
    let mut acknowledged = 0;
    for (arn, name) in all.iter().flat_map(|writer| &writer.kept) {
        let (status, read) = connection.call("GetChannel", &json!({"arn": arn})).unwrap();
        assert_eq!(status, 200, "{arn} {name:?}");
        if let Some(name) = name {
            assert_eq!(read["channel"]["name"], **name);
        }
        let keys = connection.call("ListStreamKeys", &json!({"channelArn": arn})).unwrap().1;
        assert_eq!(keys["streamKeys"].as_array().unwrap().len(), 1, "{keys}");
        acknowledged += 1;
    }
    for arn in all.iter().flat_map(|writer| &writer.deleted) {
        let (status, _) = connection.call("GetChannel", &json!({"arn": arn})).unwrap();
        assert_eq!(status, 404, "{arn}");
        acknowledged += 1;
    }
    acknowledged
}

#[test]
fn kill_9_under_load_loses_no_acknowledged_write() {
    let folder = tempfile::tempdir().unwrap();
    for (round_number, writes) in [5, 20, 60].into_iter().enumerate() {
        let data_dir = folder.path().join(round_number.to_string());
        let acknowledged = round(&data_dir, writes);
        // One channel of each writer may have been made without an answer.
        assert!(acknowledged + 4 >= writes, "{acknowledged}");
    }
}
