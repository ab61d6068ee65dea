//! Many, slow and malformed connections to `serve`, and what becomes of them when it stops.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    program::{PAUSE, Server, get, program, started},
    serve::configured,
};

/// `serve` without an IVS to ask, with these limits of open files (as `ulimit` takes them).
fn serve(folder: &Path, limits: &str, settings: &[(&str, &str)]) -> Server {
    let mut command = Command::new("sh");
    let script = format!("ulimit {limits} && exec \"$0\" serve");
    command
        .args(["-c", &script, env!("CARGO_BIN_EXE_ivs-playback-auth")])
        .env_clear()
        .stdin(Stdio::null());
    let mut command = configured(command, folder, "http://127.0.0.1:9");
    for (name, value) in settings {
        command.env(format!("IVS_PLAYBACK_AUTH__SERVER__{name}"), value);
    }
    Server::start(command)
}

fn raise_open_files() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// Everything that the server sends until it closes; a reset after it counts as an end.
fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    if let Err(error) = stream.read_to_end(&mut text) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    }
    String::from_utf8(text).unwrap()
}

/// What the server answers to `request`, which ends the connection.
fn answer(server: &Server, request: &[u8]) -> String {
    let mut stream = connect(server);
    // The server may close before it has all.
    let _ = stream.write_all(request);
    rest(&mut stream)
}

/// Connections that have sent one byte each.
fn half_sent(server: &Server, count: usize) -> Vec<TcpStream> {
    raise_open_files();
    let connections = (0..count).map(|_| {
        let mut stream = connect(server);
        stream.write_all(b"G").unwrap();
        stream
    });
    connections.collect()
}

/// How long `/healthz` took to answer, however often it had to be asked; a connection has one second.
fn healthy_after(url: &str) -> Duration {
    let started = started();
    let ask = || {
        let mut stream = TcpStream::connect(url.strip_prefix("http://")?).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.starts_with("HTTP/1.1 200").then_some(())
    };
    while ask().is_none() {
        assert!(started.elapsed() < Duration::from_mins(1), "it never recovered");
        thread::sleep(PAUSE);
    }
    started.elapsed()
}

#[test]
fn half_sent_heads_do_not_stop_a_service_whose_soft_limit_is_low() {
    let folder = tempfile::tempdir().unwrap();
    raise_open_files();
    let server = serve(folder.path(), "-S -n 1024", &[]);
    let _held = half_sent(&server, 1200);
    for _ in 0..50 {
        let took = healthy_after(&server.url);
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
}

#[test]
fn half_sent_heads_give_way_to_others_where_the_hard_limit_is_low() {
    let folder = tempfile::tempdir().unwrap();
    let operations = [("OPERATIONS_LISTEN", "127.0.0.1:0")];
    let mut server = serve(folder.path(), "-n 1024", &operations);
    let log = server.log_line("without a credential");
    let operations = log["url"].as_str().unwrap().to_owned();
    let _held = half_sent(&server, 1200);
    let recovered = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !recovered.load(Ordering::SeqCst) {
                let took = healthy_after(&operations);
                assert!(took < Duration::from_secs(1), "operations_listen: {took:?}");
                thread::sleep(PAUSE);
            }
        });
        let took = healthy_after(&server.url);
        recovered.store(true, Ordering::SeqCst);
        assert!(took < Duration::from_secs(12), "{took:?}");
    });
    let (_, metrics) = get(&operations, "/metrics").unwrap();
    assert!(
        metrics.contains("ivs_playback_auth_max_connections{listener=\"api\"} 768"),
        "{metrics}"
    );
    assert!(metrics.contains("connections_ended_total{listener=\"api\",reason=\"evicted\"}"));
    assert_eq!(server.log_line("connections_exhausted")["maxConnections"], 768);
}

#[test]
fn more_connections_than_files_are_refused_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = configured(program(&["serve"]), folder.path(), "http://127.0.0.1:9");
    let most = getrlimit(Resource::Nofile).maximum.unwrap_or(1_000_000).min(1_000_000);
    command.env("IVS_PLAYBACK_AUTH__SERVER__MAX_CONNECTIONS", most.to_string());
    let ended = crate::program::run(&mut command);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("server.max_connections"), "{ended:?}");
}

#[test]
fn a_trickled_head_is_ended_while_an_idle_connection_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [("HEADER_TIMEOUT", "1s"), ("KEEP_ALIVE", "1h")];
    let server = serve(folder.path(), "-n 1024", &settings);
    let request = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    let ask = |stream: &mut TcpStream| {
        stream.write_all(request).unwrap();
        let mut answer = [0; 4096];
        let length = stream.read(&mut answer).unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 200"));
    };
    let mut idle = connect(&server);
    ask(&mut idle);
    let mut silent = connect(&server);
    let mut trickler = connect(&server);
    let started = started();
    // Each byte in time, and the head never whole.
    while trickler.write_all(b"G").is_ok() {
        assert!(started.elapsed() < Duration::from_secs(20), "it trickles still");
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(rest(&mut silent), "");
    ask(&mut idle);
}

#[test]
fn clients_that_never_read_hold_little_memory_and_are_cut_off() {
    const CLIENTS: usize = 500;
    let folder = tempfile::tempdir().unwrap();
    raise_open_files();
    let settings = [("WRITE_TIMEOUT", "3s"), ("OPERATIONS_LISTEN", "127.0.0.1:0")];
    let mut server = serve(folder.path(), "-n 4096", &settings);
    let log = server.log_line("without a credential");
    let operations = log["url"].as_str().unwrap().to_owned();
    let requests = b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(50);
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let stream = connect(&server);
            stream.set_nonblocking(true).unwrap();
            stream
        })
        .collect();
    let started = started();
    while !clients.is_empty() {
        assert!(started.elapsed() < Duration::from_mins(2), "{} are served still", clients.len());
        clients.retain_mut(|client| match client.write(&requests) {
            Ok(_) => true,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        });
        thread::sleep(PAUSE);
    }
    let open = "ivs_playback_auth_connections{listener=\"api\"} 0\n";
    while !get(&operations, "/metrics").unwrap().1.contains(open) {
        thread::sleep(PAUSE);
    }
    // Pages of all sockets of this machine; other tests use few.
    let sockets = fs::read_to_string("/proc/net/sockstat").unwrap();
    let tcp = sockets.lines().find(|line| line.starts_with("TCP:")).unwrap();
    let pages: usize = tcp.split(' ').next_back().unwrap().parse().unwrap();
    assert!(pages * 4096 <= 64 << 20, "{tcp}");
    let (_, metrics) = get(&operations, "/metrics").unwrap();
    let cut = "connections_ended_total{listener=\"api\",reason=\"write_timeout\"} 500\n";
    assert!(metrics.contains(cut), "{metrics}");
}

#[test]
fn waiting_connections_do_not_delay_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [("SHUTDOWN_GRACE", "1h"), ("KEEP_ALIVE", "1h"), ("HEADER_TIMEOUT", "1h")];
    let server = serve(folder.path(), "-n 1024", &settings);
    let mut held = half_sent(&server, 1);
    held.push(connect(&server));
    let mut idle = connect(&server);
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nG").unwrap();
    assert_ne!(idle.read(&mut [0; 4096]).unwrap(), 0);
    held.push(idle);
    server.signal("TERM");
    let started = started();
    let (code, said) = server.wait();
    assert_eq!(code, Some(0), "{said}");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[test]
fn no_request_of_a_keep_alive_client_is_lost_while_the_service_stops() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(folder.path(), "-n 1024", &[("DRAIN_DELAY", "1s")]);
    let address = server.url.strip_prefix("http://").unwrap();
    let answers = AtomicUsize::new(0);
    let closes = AtomicUsize::new(0);
    thread::scope(|scope| {
        for client in 0..50 {
            let (answers, closes) = (&answers, &closes);
            scope.spawn(move || {
                // A refused connection is what a client tries another replica for; nothing is lost.
                while let Ok(mut stream) = TcpStream::connect(address) {
                    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
                    loop {
                        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
                        let mut answer = String::new();
                        while !answer.contains('}') {
                            let mut part = [0; 4096];
                            let length = stream.read(&mut part).unwrap();
                            assert_ne!(length, 0, "a request was lost after {answer:?}");
                            answer.push_str(std::str::from_utf8(&part[..length]).unwrap());
                        }
                        answers.fetch_add(1, Ordering::SeqCst);
                        if answer.contains("connection: close\r\n") {
                            closes.fetch_add(1, Ordering::SeqCst);
                            break;
                        }
                        // Some are busy, some pause for longer than connections are kept at the end.
                        thread::sleep(Duration::from_millis(10 + client * 5));
                    }
                }
            });
        }
        while answers.load(Ordering::SeqCst) < 200 {
            thread::sleep(PAUSE);
        }
        server.signal("TERM");
    });
    assert!(closes.load(Ordering::SeqCst) >= 50);
    let (code, said) = server.wait();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn requests_that_are_not_valid_http_are_problems() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(folder.path(), "-n 1024", &[("OPERATIONS_LISTEN", "127.0.0.1:0")]);
    // Sent whole before the answer is read: it must not be lost to a reset.
    let huge = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "a".repeat(390_000));
    let large = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "a".repeat(65_520));
    let fits = format!(
        "GET /nowhere HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx: {}\r\n\r\n",
        "a".repeat(60_000)
    );
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(70_000));
    let many = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(200));
    let end = "connection: close\r\n\r\n";
    for (request, status, code) in [
        ("nonsense\r\n\r\n", 400, "bad_request"),
        ("GET / HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n", 400, "bad_request"),
        ("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nnonsense\r\n\r\n", 400, "bad_request"),
        (&huge, 431, "head_too_large"),
        (&large, 431, "head_too_large"),
        (&fits, 404, "not_found"),
        (&long, 431, "head_too_large"),
        (&many, 431, "head_too_large"),
        (&format!("GET /healthz HTTP/1.1\r\n{end}"), 400, "bad_request"),
        (&format!("GET /healthz HTTP/1.1\r\nhost: a\r\nhost: a\r\n{end}"), 400, "bad_request"),
        (&format!("GET /healthz HTTP/1.1\r\nhost: a b\r\n{end}"), 400, "bad_request"),
        (
            &format!(
                "POST /v1/tokens HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip, chunked\r\n{end}0\r\n\r\n"
            ),
            501,
            "not_implemented",
        ),
        (
            &format!(
                "POST /v1/tokens HTTP/1.1\r\nhost: x\r\ncontent-encoding: gzip\r\ncontent-length: 0\r\n{end}"
            ),
            415,
            "unsupported_media_type",
        ),
    ] {
        let sent = answer(&server, request.as_bytes());
        // The last answer, where an earlier one was good.
        let sent = &sent[sent.rfind("HTTP/1.1 ").unwrap_or_default()..];
        let (head, body) =
            sent.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{request:.80} {sent}"));
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{request:.80}: {head}");
        assert!(head.contains("content-type: application/problem+json"), "{head}");
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["code"], code, "{request:.80}");
        let id = problem["requestId"].as_str().unwrap();
        assert!(head.contains(&format!("x-request-id: {id}")), "{head}");
    }
    let old = answer(&server, b"GET /healthz HTTP/1.0\r\n\r\n");
    assert!(old.starts_with("HTTP/1.0 200") || old.starts_with("HTTP/1.1 200"), "{old}");
}
