//! HTTP without a client library, which would ask again where a server is killed.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
};

use serde_json::Value;

/// One connection, kept alive, on which the emulator is asked.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    host: String,
}

impl Connection {
    pub(crate) fn open(server: &str) -> Option<Self> {
        let host = server.strip_prefix("http://")?.to_owned();
        let stream = BufReader::new(TcpStream::connect(&host).ok()?);
        Some(Self { stream, host })
    }

    /// The answer to a call of the control plane, where all of it came.
    pub(crate) fn call(&mut self, operation: &str, input: &Value) -> Option<(u16, Value)> {
        let (status, body) = self.ask("POST", &format!("/{operation}"), &input.to_string())?;
        Some((status, serde_json::from_str(&body).unwrap_or_default()))
    }

    /// The answer to any request, signed as far as the emulator looks, where all of it came.
    pub(crate) fn ask(&mut self, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nauthorization: AWS4-HMAC-SHA256 \
             Credential=AKID/20261122/us-west-2/ivs/aws4_request, SignedHeaders=host, \
             Signature=00\r\ncontent-length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes()).ok()?;
        let (mut status, mut length) = (None, 0);
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            } else if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().ok()?;
            } else if status.is_none() {
                status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).ok()?;
        Some((status?, String::from_utf8(body).ok()?))
    }
}
