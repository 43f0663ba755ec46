//! An HTTP server that can be told to misbehave. One request a connection.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What one request is answered with.
#[derive(Debug, Clone)]
pub struct Reply {
    status: &'static str,
    headers: Vec<String>,
    body: Arc<Vec<u8>>,
    ranges: bool,
    fault: Fault,
    /// Bytes a second.
    speed: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// Closes the connection after that many bytes of the body.
    Cut(usize),
    /// Says nothing more after that many bytes of the body.
    Stall(usize),
}

impl Reply {
    pub fn file(body: &[u8]) -> Self {
        let body = Arc::new(body.to_vec());
        let (status, headers) = ("200 OK", Vec::new());
        Self { status, headers, body, ranges: true, fault: Fault::None, speed: None }
    }

    pub fn status(status: &'static str) -> Self {
        Self { status, ..Self::file(b"sorry") }
    }

    pub fn redirect(to: &str) -> Self {
        Self::status("302 Found").header(&format!("Location: {to}"))
    }

    pub fn web_page() -> Self {
        Self::file(b"<!DOCTYPE html><p>log in").header("Content-Type: text/html; charset=utf-8")
    }

    pub fn header(mut self, line: &str) -> Self {
        self.headers.push(line.to_owned());
        self
    }

    pub fn etag(self, tag: &str) -> Self {
        self.header(&format!("ETag: \"{tag}\""))
    }

    /// Answers every request with the whole file.
    pub fn without_ranges(self) -> Self {
        Self { ranges: false, ..self }
    }

    pub fn cut_after(self, bytes: usize) -> Self {
        Self { fault: Fault::Cut(bytes), ..self }
    }

    pub fn stall_after(self, bytes: usize) -> Self {
        Self { fault: Fault::Stall(bytes), ..self }
    }

    pub fn slowly(self, bytes_a_second: usize) -> Self {
        Self { speed: Some(bytes_a_second), ..self }
    }

    /// Sends the answer; `count` learns of each piece of the body.
    fn send(
        &self,
        to: &mut TcpStream,
        range: Option<usize>,
        count: impl Fn(usize),
    ) -> std::io::Result<()> {
        let start = range.filter(|_| self.ranges && self.status == "200 OK");
        let body = &self.body[start.unwrap_or(0).min(self.body.len())..];
        let mut head = match start {
            Some(start) => format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {start}-{}/{}\r\n",
                self.body.len() - 1,
                self.body.len()
            ),
            None => format!("HTTP/1.1 {}\r\n", self.status),
        };
        for line in &self.headers {
            head.extend([line, "\r\n"]);
        }
        write!(to, "{head}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
        let sent = match self.fault {
            Fault::None => body.len(),
            Fault::Cut(bytes) | Fault::Stall(bytes) => bytes.min(body.len()),
        };
        for piece in body[..sent].chunks(64 << 10) {
            to.write_all(piece)?;
            count(piece.len());
            if let Some(speed) = self.speed {
                thread::sleep(Duration::from_secs(1) * 65_536 / u32::try_from(speed).unwrap());
            }
        }
        if matches!(self.fault, Fault::Stall(_)) {
            thread::sleep(Duration::from_secs(20));
        }
        Ok(())
    }
}

/// One request that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub path: String,
    /// First byte asked for by `Range`.
    pub range: Option<usize>,
    /// Bytes of the body that were sent.
    pub sent: usize,
}

#[derive(Clone)]
pub struct Server {
    address: SocketAddr,
    routes: Arc<Mutex<HashMap<String, Vec<Reply>>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            routes: Arc::default(),
            seen: Arc::default(),
        };
        let this = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let this = this.clone();
                thread::spawn(move || this.answer(stream));
            }
        });
        server
    }

    /// Answers requests for `path` with these, in turn; the last one repeats.
    pub fn route(&self, path: &str, replies: impl IntoIterator<Item = Reply>) {
        let replies = replies.into_iter().collect();
        self.routes.lock().unwrap().insert(path.to_owned(), replies);
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Bodies' bytes sent for a path, over all requests.
    pub fn sent(&self, path: &str) -> usize {
        self.seen().iter().filter(|seen| seen.path == path).map(|seen| seen.sent).sum()
    }

    pub fn requests(&self, path: &str) -> usize {
        self.seen().iter().filter(|seen| seen.path == path).count()
    }

    fn answer(&self, mut stream: TcpStream) {
        let Some((path, range)) = request(&stream) else { return };
        let reply = self.next_reply(&path);
        // Recorded before it is sent: the client may be gone first.
        let at = {
            let mut seen = self.seen.lock().unwrap();
            seen.push(Seen { path, range, sent: 0 });
            seen.len() - 1
        };
        // An error means that the client has gone.
        let _ = reply.send(&mut stream, range, |n| self.seen.lock().unwrap()[at].sent += n);
    }

    fn next_reply(&self, path: &str) -> Reply {
        let mut routes = self.routes.lock().unwrap();
        let Some(replies) = routes.get_mut(path) else {
            return Reply::status("404 Not Found");
        };
        if replies.len() > 1 { replies.remove(0) } else { replies[0].clone() }
    }
}

/// Path and start of the range of a request.
fn request(stream: &TcpStream) -> Option<(String, Option<usize>)> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let mut range = None;
    for line in lines.take_while(|line| !line.is_empty()) {
        let line = line.to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("range: bytes=") {
            range = value.trim_end_matches('-').parse().ok();
        }
    }
    Some((path, range))
}
