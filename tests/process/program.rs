//! Runs the built binary with an environment of its own.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, ChildStderr, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

/// Between two looks at what a process does, which needs the processor more.
pub(crate) const PAUSE: Duration = Duration::from_millis(10);

/// The time, for tests that wait for other processes.
#[expect(clippy::disallowed_methods, reason = "other processes run in real time")]
pub(crate) fn started() -> Instant {
    Instant::now()
}

/// The binary, with nothing of this process's environment.
pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ivs-playback-auth"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

/// What a command that ended said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// What is on stdout, which must be one JSON document.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

pub(crate) fn run(command: &mut Command) -> Ended {
    let output = command.output().unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A clients file with one client, which may mint.
pub(crate) fn clients() -> String {
    client(&["tokens:mint"]).0
}

/// A clients file with one client, and its credential.
pub(crate) fn client(scopes: &[&str]) -> (String, String) {
    let mut create = program(&["clients", "create", "test", "--output", "json"]);
    for scope in scopes {
        create.args(["--scope", scope]);
    }
    let created = run(&mut create).json();
    let member = |name: &str| created[name].as_str().unwrap().to_owned();
    (member("entry"), member("credential"))
}

/// A server that is killed when the test ends.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Where it listens.
    pub(crate) url: String,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
}

impl Server {
    /// Starts it and waits until it says where it listens.
    pub(crate) fn start(mut command: Command) -> Self {
        #[expect(clippy::zombie_processes, reason = "it is waited for when the server is dropped")]
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        loop {
            line.clear();
            if stdout.read_line(&mut line).unwrap() == 0 {
                let mut said = String::new();
                stderr.read_to_string(&mut said).unwrap();
                panic!("it ended before it listened: {said}");
            }
            if let Some(url) = line.strip_prefix("listening on ") {
                let url = url.trim_end().to_owned();
                return Self { child, url, stdout, stderr };
            }
        }
    }

    /// The same, where nothing may come before that line.
    pub(crate) fn start_with_first_line(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let url = line.strip_prefix("listening on ").expect(&line).trim_end().to_owned();
        Self { child, url, stdout, stderr }
    }

    /// `emulator` on a free port.
    pub(crate) fn emulator(data_dir: &Path) -> Self {
        let data_dir = data_dir.display().to_string();
        Self::start(program(&["emulator", "--listen", "127.0.0.1:0", "--data-dir", &data_dir]))
    }

    /// The id of the process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Waits for its end: the exit code, and the rest of what it wrote to either stream.
    pub(crate) fn wait(self) -> (Option<i32>, String) {
        let (code, stdout, stderr) = self.wait_apart();
        (code, stdout + &stderr)
    }

    /// The same with both streams apart.
    pub(crate) fn wait_apart(mut self) -> (Option<i32>, String, String) {
        let status = self.child.wait().unwrap();
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.stdout.read_to_string(&mut stdout).unwrap();
        self.stderr.read_to_string(&mut stderr).unwrap();
        (status.code(), stdout, stderr)
    }

    /// Fills the pipes of both streams, as if no one read them.
    pub(crate) fn stall_output(&self) {
        use std::os::unix::fs::OpenOptionsExt as _;
        const O_NONBLOCK: i32 = 0o4000;
        for stream in [1, 2] {
            let path = format!("/proc/{}/fd/{stream}", self.child.id());
            let mut options = std::fs::File::options();
            let mut pipe = options.write(true).custom_flags(O_NONBLOCK).open(path).unwrap();
            // Smaller pieces find room where larger ones do not.
            for piece in [&[b'x'; 4096][..], b"x"] {
                while pipe.write(piece).is_ok() {}
            }
        }
    }

    /// Closes the reading ends of both streams.
    pub(crate) fn close_output(&mut self) {
        let nothing = || std::os::fd::OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        self.stdout = BufReader::new(nothing().into());
        self.stderr = BufReader::new(nothing().into());
    }

    /// Waits for its end without reading its output: the exit code, unless that takes longer than `most`.
    pub(crate) fn wait_unread(&mut self, most: Duration) -> Option<i32> {
        let mut left = most;
        while !left.is_zero() {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status.code().unwrap_or(-1));
            }
            std::thread::sleep(PAUSE);
            left = left.saturating_sub(PAUSE);
        }
        None
    }

    /// Its next log line that holds `text`.
    pub(crate) fn log_line(&mut self, text: &str) -> serde_json::Value {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert_ne!(self.stderr.read_line(&mut line).unwrap(), 0, "it ended without {text}");
        }
        serde_json::from_str(&line).unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> std::io::Result<(u16, String)> {
        get(&self.url, path)
    }
}

/// The status and body of a request without a client library.
pub(crate) fn get(url: &str, path: &str) -> std::io::Result<(u16, String)> {
    let (status, _, body) = exchange(url, "GET", path, "", "")?;
    Ok((status, body))
}

/// The status, head and body of a request with a credential and a JSON body.
pub(crate) fn send(
    url: &str,
    method: &str,
    path: &str,
    credential: &str,
    body: &str,
) -> (u16, String, String) {
    let headers =
        format!("authorization: Bearer {credential}\r\ncontent-type: application/json\r\n");
    exchange(url, method, path, &headers, body).unwrap()
}

fn exchange(
    url: &str,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> std::io::Result<(u16, String, String)> {
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = std::net::TcpStream::connect(address)?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    Ok((status.unwrap(), head.to_ascii_lowercase(), body.to_owned()))
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
