//! TLS 1.3 over a blocking socket, with a certificate on both sides. The only user of `rustls`; `no_tls.rs` takes its
//! place in a build without it.

mod files;
mod verifier;

use super::timed::TimedSocket;
use super::{InvalidTls, Layer, TlsFiles};
use crate::system::{check_regular, uninterrupted};
use files::{authority, identity, invalid, unfit_key};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{self, cipher_suite};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::TLS13;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, Connection, Error,
    InvalidMessage, IoState, ServerConfig, ServerConnection, SupportedCipherSuite,
};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use verifier::Verifier;

/// The most bytes that one read takes from the socket during the handshake.
const HANDSHAKE_BYTES_MAX: usize = 8 << 10;
/// The time for which a verified certificate is not verified again, unless the files are read again.
const VERIFIED_FOR: Duration = Duration::from_secs(1);

/// The ciphers of a server, in its order. SHA-384 makes a handshake cost a tenth more than SHA-256.
const CIPHERS: [SupportedCipherSuite; 3] = [
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
];

/// The server's side of TLS. Clones share the files that [`Acceptor::reload`] reads.
#[derive(Clone, Debug)]
pub struct Acceptor {
    files: TlsFiles,
    identity: Arc<RwLock<Arc<Identity>>>,
}

/// The content of the files.
#[derive(Debug)]
struct Identity {
    config: Arc<ServerConfig>,
    verifier: Arc<Verifier>,
}

impl Acceptor {
    /// Reads the files of a server.
    ///
    /// # Errors
    ///
    /// Returns the file that is invalid, and why.
    pub fn open(files: &TlsFiles) -> Result<Acceptor, InvalidTls> {
        let identity = Arc::new(Identity::read(files)?);
        Ok(Acceptor { files: files.clone(), identity: Arc::new(RwLock::new(identity)) })
    }

    /// Reads the same files again. Connections that are open keep their keys, and their peers' certificates
    /// are verified again before the next batch. Returns the path of the list of revoked certificates.
    ///
    /// # Errors
    ///
    /// Those of [`Acceptor::open`], and a file is not a regular one. Nothing has changed then.
    pub fn reload(&self) -> Result<Option<&Path>, InvalidTls> {
        // Reading a pipe may block, and the thread that reads them again is the one that receives the signals to stop.
        let TlsFiles { certificate, key, authority, revoked } = &self.files;
        for path in [certificate, key, authority].into_iter().chain(revoked) {
            check_regular(path).map_err(|error| invalid(path, error))?;
        }
        let read = Arc::new(Identity::read(&self.files)?);
        *self.identity.write().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(self.files.revoked.as_deref())
    }

    /// Performs the handshake of one connection. Calls `heard` whenever bytes arrive.
    pub(super) fn accept(
        &self,
        socket: &mut TimedSocket<'_>,
        heard: &dyn Fn(),
    ) -> io::Result<Box<dyn Layer>> {
        // The certificate is verified within the handshake, whose end the client can put off.
        let (identity, at) = (newest(&self.identity), Instant::now());
        let connection = ServerConnection::new(Arc::clone(&identity.config)).map_err(fault)?;
        let mut tls = Tls::shake_hands(connection.into(), socket, heard)?;
        let shared = Arc::clone(&self.identity);
        tls.verified = Some(Verified { identity, at, shared });
        Ok(Box::new(tls))
    }
}

/// Returns the files that were read last.
fn newest(identity: &RwLock<Arc<Identity>>) -> Arc<Identity> {
    Arc::clone(&identity.read().unwrap_or_else(PoisonError::into_inner))
}

impl Identity {
    fn read(files: &TlsFiles) -> Result<Identity, InvalidTls> {
        let provider =
            Arc::new(CryptoProvider { cipher_suites: CIPHERS.into(), ..ring::default_provider() });
        let verifier = Arc::new(Verifier::read(files, &provider)?);
        let (chain, key) = identity(files)?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| invalid(&files.certificate, error))?
            .with_client_cert_verifier(Arc::clone(&verifier) as Arc<dyn ClientCertVerifier>)
            .with_single_cert(chain, key)
            .map_err(|error| unfit_key(files, error))?;
        config.ignore_client_order = true;
        // No resumption: every connection presents its certificate.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Identity { config: Arc::new(config), verifier })
    }
}

/// The last verification of a client's certificate: its time and its files.
#[derive(Debug)]
struct Verified {
    identity: Arc<Identity>,
    at: Instant,
    /// The files of the acceptor, which a reload replaces.
    shared: Arc<RwLock<Arc<Identity>>>,
}

/// The client's side of TLS with one server.
#[derive(Clone, Debug)]
pub struct Connector {
    config: Arc<ClientConfig>,
    server: ServerName<'static>,
}

impl Connector {
    /// Reads the files of a client of the server at `address`, `HOST:PORT`. The certificate of the server has
    /// to name that host.
    ///
    /// # Errors
    ///
    /// Returns the file that is invalid, and why; or that no certificate can name the host.
    pub fn open(files: &TlsFiles, address: &str) -> Result<Connector, InvalidTls> {
        let provider = Arc::new(ring::default_provider());
        let (chain, key) = identity(files)?;
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| invalid(&files.certificate, error))?
            .with_root_certificates(authority(files)?.0)
            .with_client_auth_cert(chain, key)
            .map_err(|error| unfit_key(files, error))?;
        config.resumption = Resumption::disabled();
        let host = address.rsplit_once(':').map_or(address, |(host, _port)| host);
        let host = host.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(host);
        let server = ServerName::try_from(host.to_owned())
            .map_err(|_| InvalidTls(format!("\"{host}\": no certificate can name such a host")))?;
        Ok(Connector { config: Arc::new(config), server })
    }

    /// Performs the handshake of one connection. If the server rejects the client's certificate, the first read
    /// fails.
    pub(super) fn connect(&self, socket: &mut TimedSocket<'_>) -> io::Result<Box<dyn Layer>> {
        let config = Arc::clone(&self.config);
        let connection = ClientConnection::new(config, self.server.clone()).map_err(fault)?;
        Ok(Box::new(Tls::shake_hands(connection.into(), socket, &|| {})?))
    }
}

/// One connection's keys, and the bytes between them and the socket.
#[derive(Debug)]
struct Tls {
    connection: Connection,
    /// Bytes that were taken from the socket and not yet decrypted.
    arrived: Arrived,
    /// `None` on the client's side.
    verified: Option<Verified>,
}

impl Tls {
    fn shake_hands(
        connection: Connection,
        socket: &mut TimedSocket<'_>,
        heard: &dyn Fn(),
    ) -> io::Result<Tls> {
        let mut tls = Tls { connection, arrived: Arrived::default(), verified: None };
        tls.flush(socket)?;
        while tls.connection.is_handshaking() {
            if tls.arrived.is_empty() && tls.arrived.take_from(socket, HANDSHAKE_BYTES_MAX)? == 0 {
                let why = "the connection ended within the handshake";
                return Err(io::Error::new(ErrorKind::UnexpectedEof, why));
            }
            heard();
            tls.decrypt(socket)?;
        }
        Ok(tls)
    }

    /// Decrypts a part of the bytes that have arrived, and sends the replies that TLS itself requires.
    fn decrypt(&mut self, socket: &mut TimedSocket<'_>) -> io::Result<()> {
        self.connection.read_tls(&mut self.arrived)?;
        let outcome = self.connection.process_new_packets();
        let outcome = outcome.map_err(|error| match error {
            // After the handshake this error means a damaged connection, not a peer without TLS.
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
            if uninterrupted(|| self.connection.write_tls(socket))? == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }
}

impl Layer for Tls {
    fn verify_again(&mut self) -> io::Result<()> {
        let Some(verified) = &mut self.verified else { return Ok(()) };
        let identity = newest(&verified.shared);
        let is_recent = verified.at.elapsed() < VERIFIED_FOR;
        if is_recent && Arc::ptr_eq(&identity, &verified.identity) {
            return Ok(());
        }
        let chain = self.connection.peer_certificates().and_then(<[_]>::split_first);
        let (certificate, intermediates) = chain.expect("a handshake is over, and needs it");
        let now = UnixTime::now();
        let outcome = identity.verifier.verify_client_cert(certificate, intermediates, now);
        outcome.map_err(|error| {
            let why = reason(&error);
            distrust(format!("the certificate of this connection is not accepted any more: {why}"))
        })?;
        (verified.identity, verified.at) = (identity, Instant::now());
        Ok(())
    }

    fn peer_names(&self) -> Vec<String> {
        let certificate = self.connection.peer_certificates().and_then(<[_]>::first);
        let Some(Ok(certificate)) = certificate.map(webpki::EndEntityCert::try_from) else {
            return Vec::new();
        };
        certificate.valid_dns_names().map(str::to_owned).collect()
    }

    fn read(&mut self, socket: &mut TimedSocket<'_>, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut count = 0;
            loop {
                match self.connection.reader().read(&mut buffer[count..]) {
                    // The buffer is full, or the peer has ended.
                    Ok(0) => return Ok(count),
                    Ok(more) => count += more,
                    Err(error) if error.kind() != ErrorKind::WouldBlock => {
                        return if count > 0 { Ok(count) } else { Err(error) };
                    }
                    Err(_nothing) if self.arrived.is_empty() => break,
                    Err(_nothing) => self.decrypt(socket)?,
                }
            }
            if count > 0 {
                return Ok(count);
            }
            // The amount that will arrive is unknown, so this takes as much as the reader has room for.
            if self.arrived.take_from(socket, buffer.len())? == 0 {
                // The socket has ended: the next read of the connection reports it.
                self.connection.read_tls(&mut io::empty())?;
            }
        }
    }

    fn write(&mut self, socket: &mut TimedSocket<'_>, bytes: &[u8]) -> io::Result<usize> {
        let count = self.connection.writer().write(bytes)?;
        self.flush(socket)?;
        Ok(count)
    }

    fn has_unread(&mut self) -> bool {
        let is_unread =
            |state: IoState| state.plaintext_bytes_to_read() > 0 || state.peer_has_closed();
        // Without new bytes this only returns the state. A failed connection fails the next read.
        !self.arrived.is_empty() || self.connection.process_new_packets().is_ok_and(is_unread)
    }

    fn shrink(&mut self) {
        if self.arrived.is_empty() {
            self.arrived = Arrived::default();
        }
    }

    fn end(&mut self, socket: &mut TimedSocket<'_>) -> io::Result<()> {
        self.connection.send_close_notify();
        self.flush(socket)
    }
}

/// Bytes that were read from the socket and are still encrypted.
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

    /// Reads at most `bytes_max` bytes from the socket. Returns their number, 0 at its end. The bytes before must have
    /// been read.
    fn take_from(&mut self, socket: &mut TimedSocket<'_>, bytes_max: usize) -> io::Result<usize> {
        // The buffer is no larger than needed, because there may be a thousand of them.
        if self.bytes.len() < bytes_max || self.bytes.len() > 2 * bytes_max {
            self.bytes = vec![0; bytes_max];
        }
        (self.start, self.end) = (0, 0);
        self.end = uninterrupted(|| socket.read(&mut self.bytes[..bytes_max]))?;
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

/// Returns why a certificate is rejected.
fn reason(error: &Error) -> String {
    let Error::InvalidCertificate(why) = error else { return error.to_string() };
    match why {
        CertificateError::ExpiredContext { .. } => "it has expired".into(),
        CertificateError::Revoked => "it was revoked".into(),
        // Two authorities of one name differ only in their signatures.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "it is not signed by a trusted CA".into()
        }
        why => why.to_string(),
    }
}

/// Converts an error so that [`super::is_distrust`] tells what kind it is.
fn fault(error: Error) -> io::Error {
    match error {
        Error::NoCertificatesPresented => distrust("the peer presented no certificate".into()),
        Error::InvalidCertificate(_) => {
            distrust(format!("the peer's certificate: {}", reason(&error)))
        }
        Error::AlertReceived(why) if is_about_certificates(why) => {
            distrust(format!("the peer rejected this side's certificate: alert {why:?}"))
        }
        Error::AlertReceived(
            why @ (AlertDescription::ProtocolVersion
            | AlertDescription::HandshakeFailure
            | AlertDescription::InsufficientSecurity),
        ) => distrust(format!("the peer does not speak TLS 1.3: alert {why:?}")),
        other => io::Error::new(ErrorKind::InvalidData, other),
    }
}

fn distrust(text: String) -> io::Error {
    io::Error::new(ErrorKind::PermissionDenied, text)
}

/// Returns whether an alert rejects a certificate. Other alerts concern one connection only, for example a damaged
/// record or a peer that closes.
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
            // A signature did not verify, for example that of a certificate.
            | AlertDescription::DecryptError
            | AlertDescription::UnrecognisedName
            | AlertDescription::CertificateRequired
    )
}
