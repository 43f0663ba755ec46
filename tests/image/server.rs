//! An HTTP server that can be told to misbehave. One request a connection.
#![allow(dead_code)] // each test binary uses its own part

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

/// What one request is answered with.
#[derive(Debug, Clone)]
pub struct Reply {
    status: &'static str,
    headers: Vec<String>,
    body: Arc<Vec<u8>>,
    ranges: Ranges,
    fault: Fault,
    /// Bytes a second.
    speed: Option<usize>,
    framing: Framing,
}

/// How the length of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// `Content-Length`, as it is.
    Length,
    /// `Content-Length`, whatever it is.
    Lie(usize),
    /// `Transfer-Encoding: chunked`.
    Chunks,
    /// By the end of the connection.
    Close,
}

/// What becomes of a request for a part of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ranges {
    /// The part, on the request's condition (RFC 9110 section 13.1.5).
    Conditional,
    /// The part, whatever the condition was.
    Always,
    /// The whole file.
    Never,
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
        let (ranges, fault, framing) = (Ranges::Conditional, Fault::None, Framing::Length);
        Self { status, headers, body, ranges, fault, speed: None, framing }
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
        Self { ranges: Ranges::Never, ..self }
    }

    /// Sends the part that is asked for, even of another file than it is of.
    pub fn without_conditions(self) -> Self {
        Self { ranges: Ranges::Always, ..self }
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

    /// Says that the body has another length than it has.
    pub fn claiming(self, length: usize) -> Self {
        Self { framing: Framing::Lie(length), ..self }
    }

    pub fn chunked(self) -> Self {
        Self { framing: Framing::Chunks, ..self }
    }

    /// The body ends where the connection ends.
    pub fn without_length(self) -> Self {
        Self { framing: Framing::Close, ..self }
    }

    fn framing_header(&self, length: usize) -> String {
        match self.framing {
            Framing::Length => format!("Content-Length: {length}\r\n"),
            Framing::Lie(length) => format!("Content-Length: {length}\r\n"),
            Framing::Chunks => "Transfer-Encoding: chunked\r\n".to_owned(),
            Framing::Close => String::new(),
        }
    }

    fn send_piece(&self, to: &mut impl Write, piece: &[u8]) -> std::io::Result<()> {
        if self.framing != Framing::Chunks {
            return to.write_all(piece);
        }
        write!(to, "{:x}\r\n", piece.len())?;
        to.write_all(piece)?;
        to.write_all(b"\r\n")
    }

    /// Where the part begins that answers this request; `None` for the whole.
    fn start(&self, request: &Request) -> Option<usize> {
        let is_same =
            |tag: &String| self.headers.iter().any(|line| *line == format!("ETag: {tag}"));
        let holds = match self.ranges {
            Ranges::Conditional => request.condition.as_ref().is_none_or(is_same),
            Ranges::Always => true,
            Ranges::Never => false,
        };
        request.range.filter(|_| holds && self.status == "200 OK")
    }

    /// Sends the answer; `count` learns of each piece of the body.
    fn send(
        &self,
        to: &mut impl Write,
        request: &Request,
        count: impl Fn(usize),
    ) -> std::io::Result<()> {
        let start = self.start(request);
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
        let framing = self.framing_header(body.len());
        write!(to, "{head}{framing}Connection: close\r\n\r\n")?;
        let sent = match self.fault {
            Fault::None => body.len(),
            Fault::Cut(bytes) | Fault::Stall(bytes) => bytes.min(body.len()),
        };
        for piece in body[..sent].chunks(64 << 10) {
            self.send_piece(to, piece)?;
            count(piece.len());
            if let Some(speed) = self.speed {
                thread::sleep(Duration::from_secs(1) * 65_536 / u32::try_from(speed).unwrap());
            }
        }
        if matches!(self.fault, Fault::Stall(_)) {
            thread::sleep(Duration::from_secs(20));
        }
        if self.framing == Framing::Chunks && self.fault == Fault::None {
            to.write_all(b"0\r\n\r\n")?;
        }
        to.flush()
    }
}

/// One request that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub path: String,
    /// First byte asked for by `Range`.
    pub range: Option<usize>,
    /// What `If-Range` says the file must still be.
    pub condition: Option<String>,
    /// Bytes of the body that were sent.
    pub sent: usize,
}

/// What is read of a request.
#[derive(Debug, Default)]
struct Request {
    path: String,
    range: Option<usize>,
    condition: Option<String>,
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
        let Some(request) = request(&stream) else { return };
        // What was sent is nearly what was received: tests count it.
        SockRef::from(&stream).set_send_buffer_size(64 << 10).unwrap();
        let reply = self.next_reply(&request.path);
        // Recorded before it is sent: the client may be gone first.
        let at = {
            let Request { path, range, condition } = &request;
            let (path, condition) = (path.clone(), condition.clone());
            let mut seen = self.seen.lock().unwrap();
            seen.push(Seen { path, range: *range, condition, sent: 0 });
            seen.len() - 1
        };
        // An error means that the client has gone.
        let _ = reply.send(&mut stream, &request, |n| self.seen.lock().unwrap()[at].sent += n);
    }

    fn next_reply(&self, path: &str) -> Reply {
        let mut routes = self.routes.lock().unwrap();
        let Some(replies) = routes.get_mut(path) else {
            return Reply::status("404 Not Found");
        };
        if replies.len() > 1 { replies.remove(0) } else { replies[0].clone() }
    }
}

/// The head of a request.
fn request(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let mut request = Request { path, ..Request::default() };
    for line in lines.take_while(|line| !line.is_empty()) {
        let Some((name, value)) = line.split_once(": ") else { continue };
        match &*name.to_ascii_lowercase() {
            "range" => {
                let start = value.strip_prefix("bytes=").map(|range| range.trim_end_matches('-'));
                request.range = start.and_then(|start| start.parse().ok());
            }
            "if-range" => request.condition = Some(value.to_owned()),
            _ => {}
        }
    }
    Some(request)
}

impl Reply {
    /// Reads one request from `stream`, whatever it is, and answers it.
    pub fn answer_once(&self, stream: &mut (impl std::io::Read + Write)) -> std::io::Result<()> {
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte)?;
            request.push(byte[0]);
        }
        self.send(stream, &Request::default(), |_| ())
    }
}
