//! Reads certificates, keys and lists of revoked certificates, all in PEM.

use crate::connection::{InvalidTls, TlsFiles};
use crate::text::LogValue;
use log::warn;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, SignatureVerificationAlgorithm,
    UnixTime,
};
use rustls::{Error, RootCertStore};
use std::fmt;
use std::path::Path;
use std::time::Duration;
use webpki::{EndEntityCert, KeyUsage};

/// Returns the trusted CAs, and their certificates.
pub(super) fn authority(
    files: &TlsFiles,
) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), InvalidTls> {
    let mut roots = RootCertStore::empty();
    let certificates: Vec<CertificateDer<'_>> = items(&files.authority, "certificate")?;
    for certificate in &certificates {
        roots.add(certificate.clone()).map_err(|error| invalid(&files.authority, error))?;
    }
    Ok((roots, certificates))
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

/// Warns of each list that has the signature of none of the trusted CAs, because it revokes none of their certificates.
pub(super) fn warn_of_unsigned(
    path: &Path,
    lists: &[CertificateRevocationListDer<'_>],
    authorities: &[CertificateDer<'_>],
    algorithms: &[&dyn SignatureVerificationAlgorithm],
) {
    for (number, list) in (1..).zip(lists) {
        if !authorities.iter().any(|authority| is_signed(list, authority, algorithms)) {
            warn!(
                "action: config | result: in_progress | error: {}: no trusted CA signed list {number} as it is here, so \
                 it revokes none of their certificates; copy the list of a trusted CA again",
                LogValue(path.display())
            );
        }
    }
}

/// Returns whether a list, which is well-formed, has the signature of this CA. The names of two CAs may be the same.
fn is_signed(
    list: &[u8],
    authority: &CertificateDer<'_>,
    algorithms: &[&dyn SignatureVerificationAlgorithm],
) -> bool {
    let Ok(authority) = EndEntityCert::try_from(authority) else {
        // The certificate has an old format, which can be trusted, but not be asked.
        return true;
    };
    signed_part(list).is_some_and(|(signed, signature)| {
        let verified = |algorithm| authority.verify_signature(algorithm, signed, signature).is_ok();
        algorithms.iter().copied().any(verified)
    })
}

/// Returns the part of a list that is signed, and the signature: of the first and the third of the three values that a
/// list consists of (RFC 5280, 5.1).
fn signed_part(list: &[u8]) -> Option<(&[u8], &[u8])> {
    let (values, _) = value(list)?;
    let (_, rest) = value(values)?;
    let signed = &values[..values.len() - rest.len()];
    let (_algorithm, rest) = value(rest)?;
    let (signature, _) = value(rest)?;
    // The first byte is the number of unused bits.
    Some((signed, signature.get(1..)?))
}

/// Returns the content of the first value in DER, and the bytes after the value.
fn value(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let ([_tag, first], rest) = der.split_first_chunk()?;
    let (length, rest) = match usize::from(*first) {
        length @ ..0x80 => (length, rest),
        bytes => {
            let (bytes, rest) = rest.split_at_checked(bytes - 0x80)?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
    };
    rest.split_at_checked(length)
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
