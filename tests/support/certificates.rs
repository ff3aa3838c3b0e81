//! At stake: that programs are tried with the certificates that people have, which
//! `scripts/generar-certificados.sh` makes, and with such as they should not have.

use super::program::{Scratch, Start};
use loteria::connection::{Connector, TlsFiles};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

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
        let mut command = Command::new(script());
        command.arg(&directory).arg(agencies.to_string()).env("DAYS", days);
        succeeds(command);
        Certificates(directory)
    }

    /// One more, for whatever `usage` and `names` say in the words of openssl.
    pub(crate) fn sign(&self, name: &str, usage: &str, names: &str) {
        let (request, signed) = (self.request(name, usage, names), format!("{name}.pem"));
        self.openssl(&[
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

    /// The same for an agency, good for so long, in whole seconds. Returns when it is not good any more.
    pub(crate) fn sign_for(&self, time: Duration, agency: u16) -> Instant {
        let name = format!("agency-{agency}");
        let request = self.request(&name, "clientAuth", &format!("DNS:{name}"));
        let settings = "[ca]\ndefault_ca = one\n[one]\ndatabase = signed\nnew_certs_dir = .\n\
                        default_md = sha256\nrand_serial = yes\npolicy = any\n[any]\ncommonName = supplied\n";
        std::fs::write(self.0.join("settings"), settings).expect("a file of the test's own");
        std::fs::write(self.0.join("signed"), "").expect("a file of the test's own");
        let last = jiff::Timestamp::now().as_second()
            + i64::try_from(time.as_secs()).expect("it is short");
        let last = jiff::Timestamp::from_second(last).expect("a time");
        let end = last.strftime("%Y%m%d%H%M%SZ").to_string();
        let signed = format!("{name}.pem");
        #[rustfmt::skip]
        self.openssl(&[
            "ca", "-batch", "-notext", "-config", "settings", "-extfile", "extensions",
            "-cert", "authority.pem", "-keyfile", "authority.key",
            "-startdate", "20200101000000Z", "-enddate", &end, "-in", &request, "-out", &signed,
        ]);
        // It is good to the end of its last second. On a busy machine that may be over.
        let left = (last + Duration::from_secs(1)).duration_since(jiff::Timestamp::now());
        Instant::now() + Duration::try_from(left).unwrap_or_default()
    }

    /// Gives the authority another name. What it signed before is not of it any more.
    pub(crate) fn rename_authority(&self, name: &str) {
        let subject = format!("/CN={name}");
        #[rustfmt::skip]
        self.openssl(&[
            "req", "-x509", "-new", "-key", "authority.key", "-subj", &subject, "-out", "authority.pem",
        ]);
    }

    /// A key, and a file that asks for a certificate of it.
    fn request(&self, name: &str, usage: &str, names: &str) -> String {
        let (key, request) = (format!("{name}.key"), format!("{name}.csr"));
        let extensions = format!("extendedKeyUsage = {usage}\nsubjectAltName = {names}\n");
        std::fs::write(self.0.join("extensions"), extensions).expect("a file of the test's own");
        let subject = format!("/CN={name}");
        self.openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", &key]);
        self.openssl(&["req", "-new", "-key", &key, "-subj", &subject, "-out", &request]);
        request
    }

    fn openssl(&self, arguments: &[&str]) {
        let mut command = Command::new("openssl");
        command.args(arguments).current_dir(&self.0);
        succeeds(command);
    }

    /// Puts the certificate of an agency on the list of revoked ones, which is `revoked.pem`, as people do.
    pub(crate) fn revoke(&self, agency: u16) {
        let mut command = Command::new(script());
        command.args(["--revoke", &agency.to_string()]).arg(&self.0);
        succeeds(command);
    }

    /// Makes the list again, as one of this day that should be replaced on that one.
    pub(crate) fn date_list(&self, made: &str, replaced: &str) {
        let settings = "[ca]\ndefault_ca = list\n[list]\ndatabase = revoked.txt\ndefault_md = sha256\n\
                        crl_extensions = extensions\n[extensions]\nauthorityKeyIdentifier = keyid:always\n";
        std::fs::write(self.0.join("settings"), settings).expect("a file of the test's own");
        #[rustfmt::skip]
        self.openssl(&[
            "ca", "-config", "settings", "-cert", "authority.pem", "-keyfile", "authority.key",
            "-gencrl", "-crl_lastupdate", made, "-crl_nextupdate", replaced, "-out", "revoked.pem",
        ]);
    }

    /// Replaces those that expire soon.
    pub(crate) fn renew(&self) {
        let mut command = Command::new(script());
        command.arg("--renew").arg(&self.0);
        succeeds(command);
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

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/generar-certificados.sh")
}

#[track_caller]
fn succeeds(mut command: Command) {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{:?}, which these tests need: {error}", command.get_program())
    });
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}
