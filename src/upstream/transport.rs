//! How one speaks with the servers of an upstream: TLS or not, HTTP/2 or not.
//!
//! It is made once for a configuration. A connection remembers the transport that it was opened by and is used by that alone, so that a
//! reload which turns TLS on, or trusts other roots, is not served by connections of before.

use std::io;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio_rustls::TlsConnector;

use crate::config::pattern::ServerAddress;
use crate::config::{Roots, UpstreamConfig, UpstreamTls};
use crate::upstream::server::Server;
use crate::upstream::socket::{Plain, Stream};

/// How one speaks with servers.
pub struct Transport {
    security: Security,
    http2: bool,
}

enum Security {
    None,
    Tls {
        connector: TlsConnector,
        /// Instead of the server's own.
        name: Option<ServerName<'static>>,
    },
    /// TLS is wanted and cannot be had: no connection is made without it.
    Broken(String),
}

impl Transport {
    /// As the configuration says. Where TLS cannot be had, as where the system has no roots, each connection fails with the reason.
    pub fn new(name: &str, config: &UpstreamConfig) -> Arc<Self> {
        let security = match &config.tls {
            None => Security::None,
            Some(tls) => security(tls, config.http2).unwrap_or_else(|reason| {
                tracing::error!(upstream = name, reason, "no TLS to the servers");
                Security::Broken(reason)
            }),
        };
        Arc::new(Self {
            security,
            http2: config.http2,
        })
    }

    /// Whether connections are shared by many exchanges, or may be.
    pub fn shares(&self) -> bool {
        self.http2
    }

    /// The scheme of URLs on it.
    pub fn scheme(&self) -> &'static str {
        match self.security {
            Security::None => "http",
            Security::Tls { .. } | Security::Broken(_) => "https",
        }
    }

    /// Connects and, where that is wanted, agrees on TLS. Also says whether HTTP/2 is spoken.
    ///
    /// # Errors
    /// What the system, or rustls, says.
    pub async fn connect(&self, server: &Server) -> io::Result<(Stream, bool)> {
        let (connector, name) = match &self.security {
            Security::Broken(reason) => return Err(io::Error::other(reason.clone())),
            Security::None => {
                let plain = Plain::connect(server.targets()).await?;
                return Ok((Stream::Plain(plain), self.http2));
            }
            Security::Tls { connector, name } => (connector, name),
        };
        let name = match name {
            Some(name) => name.clone(),
            None => own_name(server.address())?,
        };
        let plain = Plain::connect(server.targets()).await?;
        let stream = connector.connect(name, plain).await?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok((Stream::Tls(Box::new(stream)), http2))
    }
}

/// The name that a server's certificate must have where none is configured.
fn own_name(address: &ServerAddress) -> io::Result<ServerName<'static>> {
    match address {
        ServerAddress::Socket(socket) => Ok(ServerName::IpAddress(socket.ip().into())),
        ServerAddress::Name { host, .. } => {
            ServerName::try_from(host.clone()).map_err(io::Error::other)
        }
        // The configuration was checked: `tls.server_name` is wanted there.
        ServerAddress::Unix(_) => Err(io::Error::other("a Unix socket has no name of its own")),
    }
}

fn security(tls: &UpstreamTls, http2: bool) -> Result<Security, String> {
    let roots = match &tls.ca {
        Some(given) => given_roots(given)?,
        None => system_roots()?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = if http2 {
        vec![b"h2".to_vec(), b"http/1.1".to_vec()]
    } else {
        vec![b"http/1.1".to_vec()]
    };
    let name = tls.server_name.clone().map(ServerName::try_from);
    Ok(Security::Tls {
        connector: TlsConnector::from(Arc::new(config)),
        name: name.transpose().map_err(|error| error.to_string())?,
    })
}

fn given_roots(given: &Roots) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&given.pem) {
        certificate
            .map_err(|error| error.to_string())
            .and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()))
            .map_err(|error| format!("{}: {error}", given.path.display()))?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Stores of systems hold certificates that rustls cannot use; the others count.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let reasons: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        return Err(format!(
            "the system has no trusted roots (package ca-certificates): {}",
            reasons.join("; ")
        ));
    }
    Ok(roots)
}
