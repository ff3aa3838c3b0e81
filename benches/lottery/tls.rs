//! What TLS costs a connection: one question, one answer and the end, in TLS and plain.

use super::table::{Table, ratios};
use super::whole::{Certificates, Server};
use loteria::connection::{Connector, Stream, TlsFiles};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Far longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn connections(
    table: &mut Table,
    scratch: &Path,
    certificates: &Certificates,
    runs: usize,
) {
    const TIMES: u32 = 200;
    let (plain_directory, directory) =
        (tempfile::tempdir_in(scratch).unwrap(), tempfile::tempdir_in(scratch).unwrap());
    let plain = Server::start(plain_directory.path(), 5);
    let secure =
        Server::start_with(directory.path(), 5, |server| certificates.show(server, "server"));
    let files = TlsFiles {
        certificate: certificates.path("agency-1.pem"),
        key: certificates.path("agency-1.key"),
        authority: certificates.path("authority.pem"),
        revoked: None,
    };
    let connector = Connector::open(&files, &secure.address).unwrap();
    let micros = |server: &Server, connector: Option<&Connector>| {
        let start = Instant::now();
        (0..TIMES).for_each(|_| ask(&server.address, connector));
        start.elapsed().as_secs_f64() * 1e6 / f64::from(TIMES)
    };
    let (plains, secures): (Vec<f64>, Vec<f64>) =
        (0..runs).map(|_| (micros(&plain, None), micros(&secure, Some(&connector)))).unzip();
    plain.stop();
    secure.stop();
    table.row("a connection, one ECO and the end, plain, µs", &plains);
    table.row("the same in TLS, µs", &secures);
    table.row("the same in TLS over plain", &ratios(&secures, &plains));
}

fn ask(address: &str, connector: Option<&Connector>) {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_nodelay(true).unwrap();
    let mut stream = match connector {
        None => Stream::plain(&socket),
        Some(connector) => Stream::connect(&socket, connector, PATIENCE).unwrap(),
    };
    stream.within(PATIENCE).write_all(b"ECO|a\n").unwrap();
    let mut line = String::new();
    BufReader::new(&mut stream).read_line(&mut line).unwrap();
    assert_eq!(line, "ECO|a\n");
    stream.end();
}
