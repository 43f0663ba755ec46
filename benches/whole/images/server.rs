//! An HTTP server for one file, on the loopback interface.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;

/// The URL of the file. Serves it until this process ends.
pub fn start(file: &Path) -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/image.raw.xz", listener.local_addr()?);
    let file = file.to_owned();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let file = file.clone();
            // An error means that the client has gone.
            thread::spawn(move || drop(answer(stream, file)));
        }
    });
    Ok(url)
}

/// Any request gets the whole file, which the kernel copies (sendfile(2)).
fn answer(mut stream: TcpStream, file: PathBuf) -> io::Result<()> {
    let mut lines = BufReader::new(&stream).lines();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let mut file = File::open(file)?;
    let length = file.metadata()?.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    io::copy(&mut file, &mut stream).map(drop)
}
