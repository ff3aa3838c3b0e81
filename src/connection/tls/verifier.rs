//! Verifies the certificates of clients, with lists of revoked ones.

use super::files::{authority, invalid, lists, warn_of_unsigned};
use crate::connection::{InvalidTls, TlsFiles};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertRevocationListError, CertificateError, DigitallySignedStruct, DistinguishedName, Error,
    RootCertStore, SignatureScheme,
};
use std::sync::Arc;

/// Verifies a certificate against the authorities, and then against each list.
///
/// A list does not apply to the certificates of another authority, even one of the same name, as there is while an
/// authority is being replaced. `WebPkiClientVerifier` compares names alone, and fails if another authority signed the
/// list. So each list has a verifier of its own for each authority here.
#[derive(Debug)]
pub(super) struct Verifier {
    authorities: Arc<dyn ClientCertVerifier>,
    lists: Vec<Arc<dyn ClientCertVerifier>>,
}

impl Verifier {
    /// Reads the authorities and the lists, if there are any.
    pub(super) fn read(
        files: &TlsFiles,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Verifier, InvalidTls> {
        let builder = |roots| {
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        };
        let (roots, certificates) = authority(files)?;
        let authorities =
            builder(roots.clone()).build().map_err(|error| invalid(&files.authority, error))?;
        let mut verifier = Verifier { authorities, lists: Vec::new() };
        let Some(revoked) = &files.revoked else { return Ok(verifier) };
        let lists = lists(revoked)?;
        for list in &lists {
            for root in &roots.roots {
                let builder = builder(RootCertStore { roots: vec![root.clone()] });
                let builder = builder.with_crls([list.clone()]).allow_unknown_revocation_status();
                verifier.lists.push(builder.build().map_err(|error| invalid(revoked, error))?);
            }
        }
        let algorithms = provider.signature_verification_algorithms.all;
        warn_of_unsigned(revoked, &lists, &certificates, algorithms);
        Ok(verifier)
    }
}

impl ClientCertVerifier for Verifier {
    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        for list in &self.lists {
            match list.verify_client_cert(certificate, intermediates, now) {
                // The certificate or the list is of another authority.
                Err(
                    Error::InvalidCertificate(
                        CertificateError::UnknownIssuer | CertificateError::BadSignature,
                    )
                    | Error::InvalidCertRevocationList(CertRevocationListError::BadSignature),
                ) => {}
                outcome => {
                    outcome?;
                }
            }
        }
        self.authorities.verify_client_cert(certificate, intermediates, now)
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.authorities.root_hint_subjects()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}
