//! Takes the place of `tls.rs` in a build without the feature `tls`: uninhabited types, so the compiler
//! removes every branch of TLS.

use super::timed::TimedSocket;
use super::{InvalidTls, TlsFiles};
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

    pub(super) fn accept(&self, _: &mut TimedSocket<'_>, _heard: &dyn Fn()) -> io::Result<Tls> {
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

    pub(super) fn connect(&self, _socket: &mut TimedSocket<'_>) -> io::Result<Tls> {
        match *self {}
    }
}

#[derive(Debug)]
pub(super) enum Tls {}

impl Tls {
    pub(super) fn verify_again(&mut self) -> io::Result<()> {
        match *self {}
    }

    pub(super) fn peer_names(&self) -> Vec<String> {
        match *self {}
    }

    pub(super) fn read(&mut self, _: &mut TimedSocket<'_>, _: &mut [u8]) -> io::Result<usize> {
        match *self {}
    }

    pub(super) fn write(&mut self, _: &mut TimedSocket<'_>, _: &[u8]) -> io::Result<usize> {
        match *self {}
    }

    pub(super) fn has_unread(&mut self) -> bool {
        match *self {}
    }

    pub(super) fn shrink(&mut self) {
        match *self {}
    }

    pub(super) fn end(&mut self, _: &mut TimedSocket<'_>) -> io::Result<()> {
        match *self {}
    }
}

fn not_built_in() -> InvalidTls {
    InvalidTls("this program was built without TLS; `--features tls` builds it in".into())
}
