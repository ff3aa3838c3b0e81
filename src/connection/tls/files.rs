//! Reads certificates, keys and lists of revoked certificates, all in PEM.

use crate::connection::{InvalidTls, TlsFiles};
use crate::text::LogValue;
use log::warn;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use rustls::{Error, RootCertStore};
use std::fmt;
use std::path::Path;
use std::time::Duration;
use webpki::{EndEntityCert, KeyUsage};

/// Returns the trusted CA certificates.
pub(super) fn authority(files: &TlsFiles) -> Result<RootCertStore, InvalidTls> {
    let mut roots = RootCertStore::empty();
    for certificate in items::<CertificateDer<'_>>(&files.authority, "certificate")? {
        roots.add(certificate).map_err(|error| invalid(&files.authority, error))?;
    }
    Ok(roots)
}

/// Returns this side's certificate, the intermediate ones, and the key.
pub(super) fn identity(
    files: &TlsFiles,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), InvalidTls> {
    let chain = items(&files.certificate, "certificate")?;
    warn_of_expiry(&files.certificate, &chain[0]);
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?)
        .map_err(|_| invalid(&files.key, "no key in PEM, or one with a passphrase"))?;
    Ok((chain, key))
}

/// Warns of a certificate that expires within a week, or has.
fn warn_of_expiry(path: &Path, certificate: &CertificateDer<'_>) {
    let week = 7 * 24 * 60 * 60;
    let soon = UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs() + week));
    // The expiry is the first property that this verifies, so it needs no CA.
    let verified = EndEntityCert::try_from(certificate).and_then(|certificate| {
        certificate
            .verify_for_usage(&[], &[], &[], soon, KeyUsage::client_auth(), None, None)
            .map(drop)
    });
    if let Err(webpki::Error::CertExpired { not_after, .. }) = verified {
        let last = jiff::Timestamp::UNIX_EPOCH + Duration::from_secs(not_after.as_secs());
        warn!(
            "action: config | result: in_progress | error: {}: no peer accepts this certificate after {last}; replace \
             it, for example with generar-certificados.sh --renew",
            LogValue(path.display())
        );
    }
}

/// Returns the lists of revoked certificates.
pub(super) fn lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, InvalidTls> {
    items(path, "list of revoked certificates")
}

/// Returns the items of one kind in a file. Fails if there is none.
fn items<T: PemObject>(path: &Path, kind: &str) -> Result<Vec<T>, InvalidTls> {
    let items: Result<Vec<T>, pem::Error> = T::pem_slice_iter(&read(path)?).collect();
    match items {
        Ok(items) if !items.is_empty() => Ok(items),
        Ok(_) => Err(invalid(path, format_args!("no {kind} in PEM"))),
        Err(pem::Error::MissingSectionEnd { .. }) => {
            Err(invalid(path, format_args!("a {kind} in PEM is cut off: its END line is missing")))
        }
        Err(error) => Err(invalid(path, error)),
    }
}

/// Returns why the key and the certificate do not go together.
pub(super) fn unfit_key(files: &TlsFiles, error: Error) -> InvalidTls {
    match error {
        Error::InconsistentKeys(_) => {
            let certificate = files.certificate.display();
            invalid(&files.key, format_args!("not the key of {certificate}"))
        }
        other => invalid(&files.key, other),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, InvalidTls> {
    std::fs::read(path).map_err(|error| invalid(path, error))
}

pub(super) fn invalid(path: &Path, why: impl fmt::Display) -> InvalidTls {
    InvalidTls(format!("{}: {why}", path.display()))
}
