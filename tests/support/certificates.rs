//! At stake: that programs are tried with the certificates that people have, which
//! `scripts/generar-certificados.sh` makes, and with such as they should not have.

use super::program::{Scratch, Start};
use loteria::connection::{Connector, TlsFiles};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the script makes, in a directory of the test's own.
pub(crate) struct Certificates(PathBuf);

impl Certificates {
    /// Of an authority of their own, for so many agencies.
    pub(crate) fn new(scratch: &Scratch, directory: &str, agencies: usize) -> Certificates {
        Certificates::good_for("730", scratch, directory, agencies)
    }

    /// The same, good for so many days.
    pub(crate) fn good_for(
        days: &str,
        scratch: &Scratch,
        directory: &str,
        agencies: usize,
    ) -> Certificates {
        let directory = scratch.path(directory);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/generar-certificados.sh");
        let mut command = Command::new(script);
        command.arg(&directory).arg(agencies.to_string()).env("DAYS", days);
        succeeds(command);
        Certificates(directory)
    }

    /// One more, for whatever `usage` and `names` say in the words of openssl.
    pub(crate) fn sign(&self, name: &str, usage: &str, names: &str) {
        let (key, request) = (format!("{name}.key"), format!("{name}.csr"));
        let extensions = format!("extendedKeyUsage = {usage}\nsubjectAltName = {names}\n");
        std::fs::write(self.0.join("extensions"), extensions).expect("a file of the test's own");
        let openssl = |arguments: &[&str]| {
            let mut command = Command::new("openssl");
            command.args(arguments).current_dir(&self.0);
            succeeds(command);
        };
        openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", &key]);
        openssl(&["req", "-new", "-key", &key, "-subj", &format!("/CN={name}"), "-out", &request]);
        let signed = format!("{name}.pem");
        openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            "authority.pem",
            "-CAkey",
            "authority.key",
            "-CAcreateserial",
            "-extfile",
            "extensions",
            "-out",
            &signed,
        ]);
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.0.join(file)
    }

    pub(crate) fn files(&self, name: &str) -> TlsFiles {
        TlsFiles {
            certificate: self.path(&format!("{name}.pem")),
            key: self.path(&format!("{name}.key")),
            authority: self.path("authority.pem"),
            revoked: None,
        }
    }

    /// What the test itself connects with, as `name`.
    pub(crate) fn connector(&self, name: &str, address: &str) -> Connector {
        Connector::open(&self.files(name), address).expect("the files are good")
    }
}

impl Start {
    /// The program in TLS, as `name`.
    pub(crate) fn shows(self, certificates: &Certificates, name: &str) -> Start {
        let TlsFiles { certificate, key, authority, .. } = certificates.files(name);
        self.variable("TLS_CERTIFICATE", certificate)
            .variable("TLS_KEY", key)
            .variable("TLS_AUTHORITY", authority)
    }
}

#[track_caller]
fn succeeds(mut command: Command) {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{:?}, which these tests need: {error}", command.get_program())
    });
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}
