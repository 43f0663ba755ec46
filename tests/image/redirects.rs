//! Where a server may send us: not around in a circle, and not from https to
//! where others can change what comes.

use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::common::Home;
use crate::server::{Reply, Server};
use crate::world::{digest, raw_disk};

/// An https server that sends everybody to `target`; its port and certificate.
fn https_redirecting_to(target: &str) -> (u16, String) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.unwrap().with_no_client_auth();
    let config = Arc::new(config.with_single_cert(vec![cert.der().clone()], key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let reply = Reply::redirect(target);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let tls = ServerConnection::new(config.clone()).unwrap();
            let mut stream = StreamOwned::new(tls, stream);
            // An error means that the client has gone.
            let _ = reply.answer_once(&mut stream);
        }
    });
    (port, cert.pem())
}

#[test]
fn https_never_becomes_http() {
    let (server, disk) = (Server::start(), raw_disk(1));
    server.route("/disk.raw", [Reply::file(&disk)]);
    let (port, certificate) = https_redirecting_to(&server.url("/disk.raw"));
    let home = Home::new();
    let trusted = home.path().join("ca.pem");
    std::fs::write(&trusted, certificate).unwrap();
    let url = format!("https://localhost:{port}/disk.raw");
    let pull = |trusted: Option<&std::path::Path>| {
        let mut command = home.nsvm(["image", "pull", &url, "--sha256", &digest(&disk)]);
        command.env("NSVM_IMAGE_CACHE", home.path().join("images"));
        if let Some(file) = trusted {
            command.env("SSL_CERT_FILE", file);
        }
        crate::common::Ran(command.output().unwrap()).exits(125)
    };
    pull(Some(&trusted)).complains(&["redirects from https to an unprotected URL", "Hint: "]);
    pull(None).complains(&["certificate", "Hint: Check the host's clock and its CA certificates"]);
    assert!(server.seen().is_empty(), "the unprotected server was asked");
}
