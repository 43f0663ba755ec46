//! Talking to a registry: the token for anonymous readers, documents, and where
//! the disk is.

use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::manifest::{
    IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE,
    OCI_IMAGE_MEDIA_TYPE,
};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};
use url::Url;

use super::RegistryError;
use super::select::{Document, Next};
use crate::image::cache::{Key, Remembered};
use crate::image::checksums::Published;
use crate::image::error::ImageError;
use crate::image::fetch::{FetchError, Http, is_loopback};
use crate::image::prepare::Job;
use crate::image::remote::download;
use crate::image::tracked::{Name, tracked};

const DOCUMENTS: &[&str] = &[
    OCI_IMAGE_INDEX_MEDIA_TYPE,
    OCI_IMAGE_MEDIA_TYPE,
    IMAGE_MANIFEST_LIST_MEDIA_TYPE,
    IMAGE_MANIFEST_MEDIA_TYPE,
];

/// The disk that the reference leads to, for the job's architecture.
pub fn image(job: &Job<'_>, reference: &str) -> Result<Remembered, ImageError> {
    let spelling = format!("docker://{reference}");
    let key = Key::new(&format!("registry-{}", job.arch.name()), &[reference]);
    tracked(job, &Name::unsigned(&key, &spelling), || {
        job.progress.step(format!("Looking up {spelling}"));
        let failed = |source| ImageError::Registry { reference: reference.to_owned(), source };
        let parsed = reference
            .parse::<Reference>()
            .map_err(|e| failed(RegistryError::Reference(e.to_string())))?;
        Registry::new(job, reference, parsed)?.disk()
    })
}

/// One repository of a registry.
struct Registry<'a> {
    job: Job<'a>,
    /// As the user wrote it.
    name: &'a str,
    reference: Reference,
    /// Of the repository, without a slash at its end.
    url: Url,
    http: Http<'a>,
    client: Client,
}

impl<'a> Registry<'a> {
    fn new(job: &Job<'a>, name: &'a str, reference: Reference) -> Result<Self, ImageError> {
        let failed = |source| ImageError::Registry { reference: name.to_owned(), source };
        let host = reference.resolve_registry();
        let address = |scheme: &str| {
            let url = Url::parse(&format!("{scheme}://{host}/v2/{}", reference.repository()));
            url.map_err(|e| failed(RegistryError::Reference(e.to_string())))
        };
        let is_own = is_loopback(&address("http")?);
        let url = address(if is_own { "http" } else { "https" })?;
        let http = job.http(&url)?;
        let config = ClientConfig {
            protocol: if is_own { ClientProtocol::Http } else { ClientProtocol::Https },
            connect_timeout: Some(job.settings.patience.connect),
            read_timeout: Some(job.settings.patience.stall),
            user_agent: concat!("nsvm/", env!("CARGO_PKG_VERSION")),
            extra_root_certificates: authorities(job)?,
            ..ClientConfig::default()
        };
        let client = Client::try_from(config).map_err(|e| FetchError::Client(e.to_string()))?;
        Ok(Self { job: *job, name, reference, url, http, client })
    }

    /// The disk in the cache.
    fn disk(&self) -> Result<Remembered, ImageError> {
        let token = self.token()?;
        let digest = self.disk_digest()?;
        let done = self.blob(&digest, token.as_deref());
        match done {
            // Tokens live for some minutes, which a download may outlast.
            Err(ImageError::Fetch(e)) if e.wants_token() => {
                let token = self.token()?;
                self.blob(&digest, token.as_deref())
            }
            done => done,
        }
    }

    /// What anonymous readers show; `None` where none is needed.
    fn token(&self) -> Result<Option<String>, ImageError> {
        let auth = RegistryAuth::Anonymous;
        let asked = self.client.auth(&self.reference, &auth, RegistryOperation::Pull);
        self.http.wait(&self.url, asked)?.map_err(|e| self.error(e))
    }

    /// Follows the reference to the blob that is the disk.
    fn disk_digest(&self) -> Result<String, ImageError> {
        let failed = |source| self.failed(source);
        let first = self.document(&self.reference)?;
        let digest = match first.next(self.job.arch).map_err(failed)? {
            Next::Disk(digest) => return Ok(digest),
            Next::Manifest(digest) => digest,
        };
        // Also keeps odd text out of the address.
        published(&digest).ok_or_else(|| failed(bad_digest(&digest)))?;
        let manifest = self.document(&self.reference.clone_with_digest(digest))?;
        match manifest.next(self.job.arch).map_err(failed)? {
            Next::Disk(digest) => Ok(digest),
            Next::Manifest(_) => {
                Err(failed(RegistryError::Answer("an index leads to another one".to_owned())))
            }
        }
    }

    /// A document, which has the digest that the reference or the registry says.
    fn document(&self, reference: &Reference) -> Result<Document, ImageError> {
        let pulled = self.client.pull_manifest_raw(reference, &RegistryAuth::Anonymous, DOCUMENTS);
        let (bytes, _) = self.http.wait(&self.url, pulled)?.map_err(|e| self.error(e))?;
        Document::parse(&bytes).map_err(|e| self.failed(e))
    }

    fn blob(&self, digest: &str, token: Option<&str>) -> Result<Remembered, ImageError> {
        let failed = || self.failed(bad_digest(digest));
        let published = published(digest).ok_or_else(failed)?;
        let url = Url::parse(&format!("{}/blobs/{digest}", self.url)).map_err(|_| failed())?;
        let job = Job { bearer: token, ..self.job };
        download(&job, &url, published.expected())
    }

    fn failed(&self, source: RegistryError) -> ImageError {
        ImageError::Registry { reference: self.name.to_owned(), source }
    }

    fn error(&self, error: OciDistributionError) -> ImageError {
        let source = match error {
            OciDistributionError::RequestError(e) => {
                return FetchError::unreachable(&self.url, &e).into();
            }
            OciDistributionError::UnauthorizedError { .. }
            | OciDistributionError::AuthenticationFailure(_) => RegistryError::Login,
            OciDistributionError::ServerError { code, message, .. } => {
                RegistryError::Status { status: code, text: first_line(&message) }
            }
            OciDistributionError::RegistryError { envelope, .. } => {
                RegistryError::Status { status: 404, text: first_line(&envelope.to_string()) }
            }
            other => RegistryError::Answer(first_line(&other.to_string())),
        };
        self.failed(source)
    }
}

/// What `--cacert` and the config file name, one by one.
fn authorities(job: &Job<'_>) -> Result<Vec<Certificate>, ImageError> {
    const END: &str = "-----END CERTIFICATE-----";
    let mut all = Vec::new();
    for path in &job.settings.cacerts {
        let pem = std::fs::read_to_string(path)
            .map_err(|e| FetchError::Authorities { path: path.clone(), reason: e.to_string() })?;
        let each = pem.split_inclusive(END).filter(|text| text.contains(END));
        all.extend(each.map(|text| Certificate {
            encoding: CertificateEncoding::Pem,
            data: text.trim_start().as_bytes().to_vec(),
        }));
    }
    Ok(all)
}

/// A digest of one of the two kinds that are checked.
fn published(digest: &str) -> Option<Published> {
    let (kind, hex) = digest.split_once(':')?;
    let found = Published::new(hex)?;
    let fits = match found {
        Published::Sha256(_) => kind == "sha256",
        Published::Sha512(_) => kind == "sha512",
    };
    fits.then_some(found)
}

fn bad_digest(digest: &str) -> RegistryError {
    RegistryError::Answer(format!("\"{digest}\" is no digest"))
}

/// A registry's words may be a whole page.
fn first_line(text: &str) -> String {
    text.trim().lines().next().unwrap_or_default().chars().take(200).collect()
}
