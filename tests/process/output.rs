//! Servers whose output no one reads, or whose reader is gone.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use serde_json::json;

use crate::{
    connection::Connection,
    program::{Server, program, run},
    serve::configured,
};

/// Longer than anything takes that is not stuck.
const STUCK: Duration = Duration::from_secs(20);

/// The start of the answer; no answer at all is a failure.
fn answer(server: &Server, request: &str) -> String {
    let address = server.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(STUCK)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("no answer: the server is stuck");
    answer
}

fn get(server: &Server, path: &str) -> String {
    answer(server, &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"))
}

/// A `serve` that can mint and logs every request, and how to send it a mint.
struct Service {
    server: Server,
    credential: String,
    channel: String,
    _emulator: Server,
    _folder: tempfile::TempDir,
}

impl Service {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let emulator = Server::emulator(&folder.path().join("emulator"));
        let rotate =
            run(&mut configured(program(&["keys", "rotate"]), folder.path(), &emulator.url));
        assert_eq!(rotate.code, Some(0), "{rotate:?}");
        let mut connection = Connection::open(&emulator.url).unwrap();
        let made = connection.call("CreateChannel", &json!({"authorized": true})).unwrap().1;
        let channel = made["channel"]["arn"].as_str().unwrap().to_owned();
        let create = ["clients", "create", "web", "--scope", "tokens:mint", "--output", "json"];
        let client = run(&mut program(&create)).json();
        let mut command = configured(program(&["serve"]), folder.path(), &emulator.url);
        command
            .env("IVS_PLAYBACK_AUTH_CLIENTS", client["entry"].as_str().unwrap())
            .env("IVS_PLAYBACK_AUTH__AUDIT__ON_FAILURE", "warn")
            .env("IVS_PLAYBACK_AUTH__SERVER__SHUTDOWN_GRACE", "3s")
            .env("IVS_PLAYBACK_AUTH__LOG__LEVEL", "debug");
        Self {
            server: Server::start(command),
            credential: client["credential"].as_str().unwrap().to_owned(),
            channel,
            _emulator: emulator,
            _folder: folder,
        }
    }

    fn mint(&self) {
        let body = format!("{{\"channel\": \"{}\"}}", self.channel);
        let request = format!(
            "POST /v1/tokens HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: \
             application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            self.credential,
            body.len()
        );
        let answer = answer(&self.server, &request);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }

    fn assert_works_and_stops(mut self) {
        for _ in 0..20 {
            self.mint();
            assert!(get(&self.server, "/healthz").starts_with("HTTP/1.1 200 "));
        }
        assert!(get(&self.server, "/readyz").starts_with("HTTP/1.1 200 "));
        self.server.signal("TERM");
        assert_eq!(self.server.wait_unread(STUCK), Some(0));
    }
}

#[test]
fn stalled_output_holds_up_neither_mints_nor_probes_nor_shutdown() {
    let service = Service::start();
    service.mint();
    service.server.stall_output();
    service.assert_works_and_stops();
}

#[test]
fn closed_output_holds_up_neither_mints_nor_probes_nor_shutdown() {
    let mut service = Service::start();
    service.server.close_output();
    service.assert_works_and_stops();
}

#[test]
fn stalled_output_does_not_hold_up_the_emulator() {
    let folder = tempfile::tempdir().unwrap();
    let mut emulator = Server::emulator(folder.path());
    emulator.stall_output();
    for _ in 0..20 {
        assert!(get(&emulator, "/nothing").starts_with("HTTP/1.1 4"));
    }
    emulator.signal("TERM");
    assert_eq!(emulator.wait_unread(STUCK), Some(0));
}

/// Fails at start with its output stalled: the reason cannot be said, but the process must end.
#[test]
fn failed_start_ends_although_no_one_reads_why() {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut filler = writer.try_clone().unwrap();
    // Ends once the reading end is closed.
    std::thread::spawn(move || while filler.write_all(&[b'x'; 4096]).is_ok() {});
    let folder = tempfile::tempdir().unwrap();
    let mut command = configured(program(&["serve"]), folder.path(), "http://127.0.0.1:9");
    command.env("IVS_PLAYBACK_AUTH_CLIENTS", "# no one\n").stdout(writer.try_clone().unwrap());
    let mut child = command.stderr(writer).spawn().unwrap();
    let mut left = 2000;
    while child.try_wait().unwrap().is_none() {
        assert!(left > 0, "it does not end");
        left -= 1;
        std::thread::sleep(crate::program::PAUSE);
    }
    assert_eq!(child.wait().unwrap().code(), Some(1));
    drop(reader);
}
