//! TLS 1.3 over a blocking socket, where both sides show a certificate of one authority. The only place
//! that knows the packages which do it; `no_tls.rs` stands in for it where they are not built in.

use super::timed::TimedSocket;
use super::{InvalidTls, TlsFiles};
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, Connection, Error,
    InvalidMessage, RootCertStore, ServerConfig, ServerConnection,
};
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::sync::Arc;

/// How many bytes are taken from the socket at a time while hands are shaken.
const HANDSHAKE_BYTES_MAX: usize = 8 << 10;

/// What a server needs to speak TLS.
#[derive(Clone, Debug)]
pub struct Acceptor(Arc<ServerConfig>);

impl Acceptor {
    /// Speaks with those whose certificates are of the authority.
    ///
    /// # Errors
    ///
    /// Which file is not what it has to be, and why.
    pub fn open(files: &TlsFiles) -> Result<Acceptor, InvalidTls> {
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(
            Arc::new(authority(files)?),
            Arc::clone(&provider),
        );
        let verifier = verifier.build().map_err(|error| invalid(&files.authority, error))?;
        let (chain, key) = identity(files)?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| invalid(&files.certificate, error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(|error| unfit_key(files, error))?;
        // Every connection shows its certificate: nobody comes back on the strength of an earlier one.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Acceptor(Arc::new(config)))
    }

    /// Lets a peer show who it is.
    pub(super) fn accept(&self, socket: &mut TimedSocket<'_>) -> io::Result<Tls> {
        let connection = ServerConnection::new(Arc::clone(&self.0)).map_err(fault)?;
        Tls::shake_hands(connection.into(), socket)
    }
}

/// What a client needs to speak TLS with one server.
#[derive(Clone, Debug)]
pub struct Connector {
    config: Arc<ClientConfig>,
    server: ServerName<'static>,
}

impl Connector {
    /// Speaks with the server at `address`, `HOST:PORT`, if its certificate is of the authority and
    /// names that host.
    ///
    /// # Errors
    ///
    /// Which file is not what it has to be, and why; or that no certificate can name the host.
    pub fn open(files: &TlsFiles, address: &str) -> Result<Connector, InvalidTls> {
        let provider = Arc::new(ring::default_provider());
        let (chain, key) = identity(files)?;
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| invalid(&files.certificate, error))?
            .with_root_certificates(authority(files)?)
            .with_client_auth_cert(chain, key)
            .map_err(|error| unfit_key(files, error))?;
        config.resumption = Resumption::disabled();
        let host = address.rsplit_once(':').map_or(address, |(host, _port)| host);
        let host = host.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(host);
        let server = ServerName::try_from(host.to_owned())
            .map_err(|_| InvalidTls(format!("\"{host}\": no certificate can name such a host")))?;
        Ok(Connector { config: Arc::new(config), server })
    }

    /// Sees who the server is, and shows it who the client is. Whether the server believes it comes with
    /// the first answer.
    pub(super) fn connect(&self, socket: &mut TimedSocket<'_>) -> io::Result<Tls> {
        let config = Arc::clone(&self.config);
        let connection = ClientConnection::new(config, self.server.clone()).map_err(fault)?;
        Tls::shake_hands(connection.into(), socket)
    }
}

/// One connection's keys and what is on its way through them.
#[derive(Debug)]
pub(super) struct Tls {
    connection: Connection,
    /// Bytes that were taken from the socket and not yet decrypted.
    arrived: Arrived,
}

impl Tls {
    fn shake_hands(connection: Connection, socket: &mut TimedSocket<'_>) -> io::Result<Tls> {
        let mut tls = Tls { connection, arrived: Arrived::default() };
        tls.flush(socket)?;
        while tls.connection.is_handshaking() {
            if tls.arrived.is_empty() && tls.arrived.take_from(socket, HANDSHAKE_BYTES_MAX)? == 0 {
                let why = "the connection ended within the handshake";
                return Err(io::Error::new(ErrorKind::UnexpectedEof, why));
            }
            tls.decrypt(socket)?;
        }
        Ok(tls)
    }

    /// The host names in the peer's certificate.
    pub(super) fn peer_names(&self) -> Vec<String> {
        let certificate = self.connection.peer_certificates().and_then(<[_]>::first);
        let certificate = certificate.and_then(|der| webpki::EndEntityCert::try_from(der).ok());
        let names = |certificate: webpki::EndEntityCert<'_>| {
            certificate.valid_dns_names().map(str::to_owned).collect()
        };
        certificate.map(names).unwrap_or_default()
    }

    /// Reads once from the socket, where nothing is there that came before; 0 where the peer has said
    /// that it ends.
    pub(super) fn read(
        &mut self,
        socket: &mut TimedSocket<'_>,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        loop {
            let mut count = 0;
            loop {
                match self.connection.reader().read(&mut buffer[count..]) {
                    // The buffer is full, or the peer has ended.
                    Ok(0) => return Ok(count),
                    Ok(more) => count += more,
                    Err(error) if error.kind() != ErrorKind::WouldBlock => {
                        return if count > 0 { Ok(count) } else { Err(cut(error)) };
                    }
                    Err(_nothing) if self.arrived.is_empty() => break,
                    Err(_nothing) => self.decrypt(socket)?,
                }
            }
            if count > 0 {
                return Ok(count);
            }
            // As much as the reader has room for, who knows whether much is to come.
            if self.arrived.take_from(socket, buffer.len())? == 0 {
                // Its end, which the next look at what there is to read tells of.
                self.connection.read_tls(&mut io::empty())?;
            }
        }
    }

    /// Writes at least some of `bytes`.
    pub(super) fn write(
        &mut self,
        socket: &mut TimedSocket<'_>,
        bytes: &[u8],
    ) -> io::Result<usize> {
        let count = self.connection.writer().write(bytes)?;
        self.flush(socket)?;
        Ok(count)
    }

    /// Gives back the memory in which bytes arrive, where none are left in it.
    pub(super) fn shrink(&mut self) {
        if self.arrived.is_empty() {
            self.arrived = Arrived::default();
        }
    }

    /// Tells the peer that nothing more will be written, so that it can tell an end from a cut.
    pub(super) fn end(&mut self, socket: &mut TimedSocket<'_>) -> io::Result<()> {
        self.connection.send_close_notify();
        self.flush(socket)
    }

    /// Makes a part of what has arrived readable, and answers what is not for the reader.
    fn decrypt(&mut self, socket: &mut TimedSocket<'_>) -> io::Result<()> {
        self.connection.read_tls(&mut self.arrived)?;
        let outcome = self.connection.process_new_packets();
        let outcome = outcome.map_err(|error| match error {
            // Only before there was any TLS; later it is one that is broken.
            Error::InvalidMessage(InvalidMessage::InvalidContentType)
                if self.connection.is_handshaking() =>
            {
                distrust("the peer does not speak TLS".into())
            }
            other => fault(other),
        });
        let answered = self.flush(socket);
        outcome.and(answered)
    }

    fn flush(&mut self, socket: &mut TimedSocket<'_>) -> io::Result<()> {
        while self.connection.wants_write() {
            match self.connection.write_tls(socket) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Bytes between the socket and the keys.
#[derive(Debug, Default)]
struct Arrived {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Arrived {
    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Takes what has arrived from the socket, at most so many bytes, or waits for it; 0 where it has
    /// ended. The bytes before must have been read.
    fn take_from(&mut self, socket: &mut TimedSocket<'_>, bytes_max: usize) -> io::Result<usize> {
        // No larger than it has to be: there may be a thousand of them.
        if self.bytes.len() < bytes_max || self.bytes.len() > 2 * bytes_max {
            self.bytes = vec![0; bytes_max];
        }
        (self.start, self.end) = (0, 0);
        self.end = loop {
            match socket.read(&mut self.bytes[..bytes_max]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                outcome => break outcome?,
            }
        };
        Ok(self.end)
    }
}

impl Read for Arrived {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = (&self.bytes[self.start..self.end]).read(buffer)?;
        self.start += count;
        Ok(count)
    }
}

/// The certificates of which the peer's has to be one, or be signed by one.
fn authority(files: &TlsFiles) -> Result<RootCertStore, InvalidTls> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&files.authority)? {
        roots.add(certificate).map_err(|error| invalid(&files.authority, error))?;
    }
    Ok(roots)
}

/// Who one is, and the key that proves it.
fn identity(
    files: &TlsFiles,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), InvalidTls> {
    let chain = certificates(&files.certificate)?;
    let key = read(&files.key)?;
    let key = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|_| invalid(&files.key, "no key in PEM, or one with a passphrase"))?;
    Ok((chain, key))
}

/// Why the key and the certificate do not go together.
fn unfit_key(files: &TlsFiles, error: Error) -> InvalidTls {
    match error {
        Error::InconsistentKeys(_) => {
            let certificate = files.certificate.display();
            invalid(&files.key, format_args!("not the key of {certificate}"))
        }
        other => invalid(&files.key, other),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, InvalidTls> {
    let text = read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(invalid(path, "no certificate in PEM")),
        Err(error) => Err(invalid(path, error)),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, InvalidTls> {
    std::fs::read(path).map_err(|error| invalid(path, error))
}

fn invalid(path: &Path, why: impl fmt::Display) -> InvalidTls {
    InvalidTls(format!("{}: {why}", path.display()))
}

/// What went wrong, as [`super::is_distrust`] tells apart.
fn fault(error: Error) -> io::Error {
    match error {
        Error::NoCertificatesPresented => distrust("the peer shows no certificate".into()),
        // Two authorities of one name look alike until a signature is checked.
        Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => distrust("the peer's certificate is not of this side's authority".into()),
        Error::InvalidCertificate(why) => distrust(format!("the peer's certificate: {why}")),
        Error::AlertReceived(why) if is_about_certificates(why) => {
            distrust(format!("the peer does not believe this side's certificate: alert {why:?}"))
        }
        Error::AlertReceived(
            why @ (AlertDescription::ProtocolVersion
            | AlertDescription::HandshakeFailure
            | AlertDescription::InsufficientSecurity),
        ) => distrust(format!(
            "the peer does not speak this side's TLS, which is 1.3: alert {why:?}"
        )),
        other => io::Error::new(ErrorKind::InvalidData, other),
    }
}

fn distrust(text: String) -> io::Error {
    io::Error::new(ErrorKind::PermissionDenied, text)
}

/// What is said of a certificate that is not believed. Other alerts are of this one connection: a record
/// that was damaged on its way, a peer that goes away.
fn is_about_certificates(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            // Of a signature, such as the one under a certificate.
            | AlertDescription::DecryptError
            | AlertDescription::UnrecognisedName
            | AlertDescription::CertificateRequired
    )
}

/// An end that nobody said, in words for whoever reads the log.
fn cut(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::UnexpectedEof {
        io::Error::new(
            ErrorKind::UnexpectedEof,
            "the connection was cut: it ended without a close_notify",
        )
    } else {
        error
    }
}
