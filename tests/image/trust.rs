//! Private certificate authorities and proxies, through the program itself:
//! both are read from the environment.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::server::{Reply, Server};
use crate::world::{digest, raw_disk};

const RAW: &str = "/disk.raw";
/// A name that no resolver knows: only a proxy can reach it.
const HOST: &str = "images.example.test";

/// A server of one disk, and TLS before it.
struct Site {
    dir: tempfile::TempDir,
    server: Server,
    tls: SocketAddr,
    sha256: String,
}

impl Site {
    fn new() -> Self {
        let (server, disk) = (Server::start(), raw_disk(1));
        server.route(RAW, [Reply::file(&disk)]);
        let dir = tempfile::tempdir().unwrap();
        let config = certificates(&dir.path().join("ca.pem"));
        let tls = tls_before(server.address(), config);
        Self { dir, server, tls, sha256: digest(&disk) }
    }

    fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// `nsvm image pull URL` with these options and variables.
    fn pull(&self, url: &str, options: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nsvm"));
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "NSVM_IMAGE_CACHE"] {
            command.env_remove(name).env_remove(name.to_lowercase());
        }
        command.env_remove("SSL_CERT_FILE").env("NSVM_HOME", self.dir.path().join("home"));
        command.args(["image", "pull", url, "--sha256", &self.sha256]).args(options);
        command.envs(variables.iter().copied()).output().unwrap()
    }
}

/// Whether an image came, or else what was complained about.
fn outcome(output: &Output) -> Result<(), String> {
    if output.status.success() {
        let base = String::from_utf8_lossy(&output.stdout);
        assert!(Path::new(base.trim_end()).is_file(), "{base}");
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Writes the certificate of a new authority; what a server with one of its
/// certificates needs.
fn certificates(ca: &Path) -> Arc<ServerConfig> {
    let (key, leaf_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    fs::write(ca, params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, key);
    let names = vec!["127.0.0.1".to_owned(), HOST.to_owned()];
    let leaf = CertificateParams::new(names).unwrap().signed_by(&leaf_key, &issuer).unwrap();
    let private = PrivatePkcs8KeyDer::from(leaf_key.serialize_der()).into();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], private)
        .unwrap();
    Arc::new(config)
}

/// Serves each connection by `serve` on a thread of its own.
fn listen(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, serve) = (listener.local_addr().unwrap(), Arc::new(serve));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// The head of a request, with its empty line.
fn head(stream: &mut impl Read) -> String {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let lines: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    format!("{}\r\n\r\n", lines.join("\r\n"))
}

fn tls_before(server: SocketAddr, config: Arc<ServerConfig>) -> SocketAddr {
    listen(move |stream| {
        let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut outside = StreamOwned::new(connection, stream);
        let request = head(&mut outside);
        let mut inside = TcpStream::connect(server).unwrap();
        // An error on either side means that it has gone.
        let _ = inside.write_all(request.as_bytes());
        let _ = std::io::copy(&mut inside, &mut outside);
        outside.conn.send_close_notify();
        let _ = outside.flush();
    })
}

/// A proxy for which every host is the site. Tells what it was asked.
fn proxy(site: &Site) -> (String, Arc<Mutex<Vec<String>>>) {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let (log, plain, tls) = (Arc::clone(&asked), site.server.address(), site.tls);
    let address = listen(move |mut outside| {
        let request = head(&mut outside);
        let line = request.lines().next().unwrap_or_default().to_owned();
        log.lock().unwrap().push(line.clone());
        if line.starts_with("CONNECT ") {
            let inside = TcpStream::connect(tls).unwrap();
            let _ = outside.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n");
            splice(&outside, &inside);
        } else {
            let mut inside = TcpStream::connect(plain).unwrap();
            let _ = inside.write_all(request.replacen(&line, &origin_form(&line), 1).as_bytes());
            let _ = std::io::copy(&mut inside, &mut outside);
        }
    });
    (format!("http://{address}"), asked)
}

/// `GET http://host/path HTTP/1.1` as the host itself wants it.
fn origin_form(line: &str) -> String {
    let after = line.split_once("://").unwrap().1;
    format!("GET {}", &after[after.find('/').unwrap()..])
}

fn splice(a: &TcpStream, b: &TcpStream) {
    let one_way = |mut from: &TcpStream, mut to: &TcpStream| {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Write);
    };
    thread::scope(|scope| {
        scope.spawn(|| one_way(a, b));
        one_way(b, a);
    });
}

#[test]
fn a_private_authority_must_be_named() {
    let site = Site::new();
    let url = format!("https://{}{RAW}", site.tls);
    let error = outcome(&site.pull(&url, &[], &[])).unwrap_err();
    assert!(error.contains("certificate") && error.contains("--cacert"), "{error}");
    assert_eq!(site.server.seen().len(), 0);

    let ca = site.ca();
    outcome(&site.pull(&url, &["--cacert", ca.to_str().unwrap()], &[])).unwrap();
}

#[test]
fn ssl_cert_file_names_one_too() {
    let site = Site::new();
    let url = format!("https://{}{RAW}", site.tls);
    outcome(&site.pull(&url, &[], &[("SSL_CERT_FILE", site.ca().to_str().unwrap())])).unwrap();
}

#[test]
fn the_config_file_names_one_too_and_a_flag_comes_before_it() {
    let site = Site::new();
    let url = format!("https://{}{RAW}", site.tls);
    let config = site.dir.path().join("nsvm.toml");
    fs::write(&config, "[image]\ncacert = \"ca.pem\"\npull = \"never\"\n").unwrap();
    let variables = [("NSVM_CONFIG", config.to_str().unwrap())];
    let error = outcome(&site.pull(&url, &[], &variables)).unwrap_err();
    assert!(error.contains("--pull never"), "{error}");
    outcome(&site.pull(&url, &["--pull", "missing"], &variables)).unwrap();
}

#[test]
fn a_file_without_certificates_is_named() {
    let site = Site::new();
    let url = format!("https://{}{RAW}", site.tls);
    let empty = site.dir.path().join("empty.pem");
    fs::write(&empty, "nothing").unwrap();
    for path in [empty.to_str().unwrap(), "/no/such.pem"] {
        let error = outcome(&site.pull(&url, &["--cacert", path], &[])).unwrap_err();
        assert!(error.contains(path) && error.contains("Hint: Give --cacert"), "{error}");
    }
}

#[test]
fn a_proxy_is_used_for_both_schemes() {
    let site = Site::new();
    let (address, asked) = proxy(&site);
    let url = format!("http://{HOST}{RAW}");
    outcome(&site.pull(&url, &[], &[("HTTP_PROXY", &address), ("http_proxy", &address)])).unwrap();
    assert_eq!(*asked.lock().unwrap(), [format!("GET {url} HTTP/1.1")]);

    let site = Site::new();
    let (address, asked) = proxy(&site);
    let (url, ca) = (format!("https://{HOST}{RAW}"), site.ca());
    let options = ["--cacert", ca.to_str().unwrap()];
    outcome(&site.pull(&url, &options, &[("HTTPS_PROXY", &address)])).unwrap();
    assert_eq!(*asked.lock().unwrap(), [format!("CONNECT {HOST}:443 HTTP/1.1")]);
}

#[test]
fn hosts_of_no_proxy_and_this_host_are_asked_directly() {
    let site = Site::new();
    let (address, asked) = proxy(&site);
    // This host by an address that does not look like it.
    let url = site.server.url(RAW).replace("127.0.0.1", "0.0.0.0");
    let set = [("HTTP_PROXY", &*address), ("http_proxy", &*address), ("NO_PROXY", "0.0.0.0")];
    outcome(&site.pull(&url, &[], &set)).unwrap();
    let site = Site::new();
    outcome(&site.pull(&site.server.url(RAW), &[], &set[..2])).unwrap();
    assert_eq!(*asked.lock().unwrap(), [""; 0]);
}
