//! Takes the place of `tls.rs` in a build without the feature `tls`: two types of which there is no value, because
//! opening one fails.

use super::timed::TimedSocket;
use super::{InvalidTls, Layer, TlsFiles};
use std::io;
use std::path::Path;

/// The server's side of TLS.
#[derive(Clone, Debug)]
pub enum Acceptor {}

impl Acceptor {
    /// Fails, because this build has no TLS.
    ///
    /// # Errors
    ///
    /// Always.
    pub fn open(_files: &TlsFiles) -> Result<Acceptor, InvalidTls> {
        Err(not_built_in())
    }

    /// Reads the files again.
    ///
    /// # Errors
    ///
    /// None.
    pub fn reload(&self) -> Result<Option<&Path>, InvalidTls> {
        match *self {}
    }

    pub(super) fn accept(
        &self,
        _: &mut TimedSocket<'_>,
        _heard: &dyn Fn(),
    ) -> io::Result<Box<dyn Layer>> {
        match *self {}
    }
}

/// The client's side of TLS with one server.
#[derive(Clone, Debug)]
pub enum Connector {}

impl Connector {
    /// Fails, because this build has no TLS.
    ///
    /// # Errors
    ///
    /// Always.
    pub fn open(_files: &TlsFiles, _address: &str) -> Result<Connector, InvalidTls> {
        Err(not_built_in())
    }

    pub(super) fn connect(&self, _socket: &mut TimedSocket<'_>) -> io::Result<Box<dyn Layer>> {
        match *self {}
    }
}

fn not_built_in() -> InvalidTls {
    InvalidTls("this program was built without TLS; `--features tls` builds it in".into())
}
