//! Reads certificates, keys and lists of revoked certificates, all in PEM.

use crate::connection::{InvalidTls, TlsFiles};
use crate::system;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::{Error, RootCertStore};
use std::fmt;
use std::path::Path;

/// Fails if one of the files is a pipe or anything else whose reading may block.
pub(super) fn check_regular(files: &TlsFiles) -> Result<(), InvalidTls> {
    for path in files.paths() {
        system::check_regular(path).map_err(|error| invalid(path, error))?;
    }
    Ok(())
}

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
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?)
        .map_err(|_| invalid(&files.key, "no key in PEM, or one with a passphrase"))?;
    Ok((chain, key))
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
