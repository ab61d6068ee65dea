//! Reads what is left of a request's body before the answer goes out.
//!
//! Many requests are answered before their body is read: those without a credential, to unknown
//! paths, too large ones. Left unread, the rest would have to be skipped by closing the connection.
//! A client that keeps it for its next request then fails there, and one that is still sending may
//! never see the answer, since bytes that arrive on a closed socket reset it.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::Request,
    http::{HeaderValue, header},
    middleware::Next,
    response::Response,
};
use hyper::body::{Frame, SizeHint};
use parking_lot::{Mutex, MutexGuard};

/// How many bytes are read for nothing, at most.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// How long they are waited for, at most.
const MAX_TIME: Duration = Duration::from_secs(3);

/// How long the next of them is waited for. A client that sends nothing has its answer then: whoever
/// is refused by the head alone must not have to send a body first.
const MAX_PAUSE: Duration = Duration::from_millis(500);

/// Leaves a connection ready for the next request, or tells the client that it closes.
pub(super) async fn before_answering(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let awaits_leave = request.headers().contains_key(header::EXPECT);
    let (parts, body) = request.into_parts();
    let body = SharedBody(Arc::new(Mutex::new(Unread { body, is_begun: false })));
    let mut response =
        next.run(Request::from_parts(parts, Body::new(SharedBody(Arc::clone(&body.0))))).await;
    if !body.drain(awaits_leave).await {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A body that its reader may leave unread. Both never read at once.
struct SharedBody(Arc<Mutex<Unread>>);

struct Unread {
    body: Body,
    /// Whether anything was asked of it, which gives a client that expects `100 Continue` leave.
    is_begun: bool,
}

impl SharedBody {
    /// Reads to the end; whether it came.
    async fn drain(&self, awaits_leave: bool) -> bool {
        if self.is_end_stream() {
            return true;
        }
        if awaits_leave && !self.lock().is_begun {
            // It has not sent its body yet, and better does not.
            return false;
        }
        let to_end = async {
            let mut left = MAX_BYTES;
            loop {
                let next = poll_fn(|context| self.poll(context));
                let Some(frame) = tokio::time::timeout(MAX_PAUSE, next).await.ok()? else {
                    return Some(());
                };
                let length = frame.ok()?.data_ref().map_or(0, Bytes::len);
                left = left.checked_sub(length)?;
            }
        };
        tokio::time::timeout(MAX_TIME, to_end).await.is_ok_and(|end| end.is_some())
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut unread = self.lock();
        unread.is_begun = true;
        Pin::new(&mut unread.body).poll_frame(context)
    }

    fn lock(&self) -> MutexGuard<'_, Unread> {
        self.0.lock()
    }
}

impl HttpBody for SharedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.poll(context)
    }

    fn is_end_stream(&self) -> bool {
        self.lock().body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.lock().body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, http::StatusCode, middleware::from_fn};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };
    use tokio_util::task::TaskTracker;

    use super::*;

    /// A connection to a server that answers 404 and reads nothing.
    async fn connect() -> TcpStream {
        let router =
            Router::new().fallback(async || StatusCode::NOT_FOUND).layer(from_fn(before_answering));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        TaskTracker::new().spawn(async move { axum::serve(listener, router).await });
        TcpStream::connect(address).await.unwrap()
    }

    /// The next answer's head; it has no body.
    async fn head(stream: &mut TcpStream) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        String::from_utf8(head).unwrap()
    }

    #[tokio::test]
    async fn a_connection_serves_on_after_a_body_that_nobody_read() {
        let mut stream = connect().await;
        for _ in 0..3 {
            let size = 3_000_000;
            let request = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {size}\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            stream.write_all(&vec![b'a'; size]).await.unwrap();
            let head = head(&mut stream).await;
            assert!(head.starts_with("HTTP/1.1 404"), "{head}");
            assert!(!head.contains("connection: close"), "{head}");
        }
        let chunked =
            "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";
        for _ in 0..2 {
            stream.write_all(chunked.as_bytes()).await.unwrap();
            assert!(head(&mut stream).await.starts_with("HTTP/1.1 404"));
        }
    }

    #[tokio::test]
    async fn who_asks_for_leave_first_is_answered_at_once() {
        let mut stream = connect().await;
        let request =
            "POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 404") && head.contains("connection: close"), "{head}");
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_closes_the_connection() {
        let mut stream = connect().await;
        let request = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nabc";
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 404") && head.contains("connection: close"), "{head}");
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    }
}
