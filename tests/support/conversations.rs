//! Whole conversations on several connections of several agencies, with bytes cut anywhere, ends and restarts, compared
//! with a model of `docs/protocol.md`. Each byte of an input, from a fuzzer or random, selects what happens next.
//!
//! One connection speaks at a time, and hears its replies before another speaks, so that the order of the commands is
//! known. The model has no times and no limits of places, because there are few connections.

use super::peer::{Agency, Lottery, Office, PATIENCE};
use std::collections::VecDeque;
use std::time::Instant;

const MESSAGE_BYTES_MAX: usize = 8192;
const WINNING_NUMBER: u16 = 7;
/// One less than an agency may have, because the server may not have noticed the end of another.
const CONNECTIONS_MAX: usize = 3;

/// The state that the page describes.
#[derive(Default)]
struct Model {
    accounts: Vec<Account>,
    connections: Vec<Connection>,
    /// The lines of `bets.csv`.
    stored: Vec<String>,
    held: bool,
    tickets: u64,
}

#[derive(Clone, Default)]
struct Account {
    /// The document and the number of each stored bet.
    bets: Vec<(String, String)>,
    has_asked: bool,
    waits_on: Option<usize>,
    /// A connection with a lower ticket was taken over.
    fence: u64,
}

#[derive(Default)]
struct Connection {
    ticket: u64,
    speaks_for: Option<usize>,
    /// The bytes that have arrived of later messages.
    inbox: Vec<u8>,
    /// The commands of a message that are not executed yet.
    commands: VecDeque<String>,
    open: Vec<(String, String)>,
    refused: bool,
    waits: bool,
    says_no_more: bool,
    /// The replies that its peer has not heard yet, without the details of errors.
    told: VecDeque<String>,
    ended: bool,
}

impl Model {
    fn connects(&mut self) {
        self.tickets += 1;
        self.connections.push(Connection { ticket: self.tickets, ..Connection::default() });
    }

    /// Executes the commands that have arrived on a connection, until it waits or ends.
    fn goes_on(&mut self, at: usize) {
        loop {
            let own = &mut self.connections[at];
            if own.waits || own.ended {
                return;
            }
            if let Some(command) = own.commands.pop_front() {
                if let Err(code) = self.executes(at, &command) {
                    self.connections[at].refuses(code, command);
                }
                continue;
            }
            let end = own.inbox.iter().take(MESSAGE_BYTES_MAX).position(|&byte| byte == b'\n');
            if let Some(end) = end {
                let message: Vec<u8> = own.inbox.drain(..=end).collect();
                let line = message[..end].strip_suffix(b"\r").unwrap_or(&message[..end]);
                match std::str::from_utf8(line) {
                    Ok(text) => own.commands.extend(text.split(';').map(str::to_owned)),
                    Err(_) => own.ends("ERROR|invalid_utf8"),
                }
            } else if own.inbox.len() >= MESSAGE_BYTES_MAX {
                own.ends("ERROR|message_too_long");
            } else if !own.says_no_more {
                return;
            } else if own.inbox.is_empty() {
                own.ended = true;
            } else {
                own.ends("ERROR|message_torn");
            }
        }
    }

    fn executes(&mut self, at: usize, command: &str) -> Result<(), &'static str> {
        let fields: Vec<&str> = command.split('|').collect();
        let own = &mut self.connections[at];
        match fields[..] {
            ["APUESTA", ..] if own.refused => {}
            ["FINAPUESTA", ..] if own.refused => own.refused = false,
            ["APUESTA", agency, "Ana", "Paz", document, "1999-03-17", number] => {
                let agency = self.agency(agency).ok_or("invalid_bet")?;
                let own = self.speaking_for(at, agency)?;
                own.open.push((document.to_owned(), number.to_owned()));
            }
            ["APUESTA", _, _, _, _, _, _] => return Err("invalid_bet"),
            ["FINAPUESTA"] => {
                let bets = std::mem::take(&mut own.open);
                if let Some(agency) = own.speaks_for.filter(|_| !bets.is_empty()) {
                    self.stores(at, agency, &bets)?;
                }
                self.tells(at, format!("CONFIRMARAPUESTA|{}", bets.len()));
            }
            ["GANADORES", agency] => {
                let agency = self.between_batches(at, agency)?;
                let (account, ticket) = (&mut self.accounts[agency], self.connections[at].ticket);
                if ticket < account.fence && !account.has_asked && !self.held {
                    return Err("taken_over");
                }
                account.has_asked = true;
                self.connections[at].waits = true;
                if let Some(before) = account.waits_on.replace(at) {
                    self.connections[before].ends("ERROR|superseded");
                }
                if self.held || self.accounts.iter().all(|account| account.has_asked) {
                    self.holds_draw(at);
                }
            }
            ["REANUDAR", agency] => {
                let agency = self.between_batches(at, agency)?;
                self.tickets += 1;
                self.connections[at].ticket = self.tickets;
                let account = &mut self.accounts[agency];
                account.fence = self.tickets;
                let last =
                    account.bets.last().map(|(document, number)| format!("|{document}|{number}"));
                let reply = format!("REANUDAR|{}{}", account.bets.len(), last.unwrap_or_default());
                self.tells(at, reply);
            }
            ["ECO", _] => self.tells(at, command.to_owned()),
            ["ESTADO"] => self.tells(at, self.status()),
            ["APUESTA" | "FINAPUESTA" | "GANADORES" | "REANUDAR" | "ECO" | "ESTADO", ..] => {
                return Err("field_count");
            }
            [""] => return Err("empty_command"),
            _ => return Err("unknown_command"),
        }
        Ok(())
    }

    fn stores(
        &mut self,
        at: usize,
        agency: usize,
        bets: &[(String, String)],
    ) -> Result<(), &'static str> {
        let account = &mut self.accounts[agency];
        if self.held {
            return Err("draw_held");
        } else if account.has_asked {
            return Err("agency_finished");
        } else if self.connections[at].ticket < account.fence {
            return Err("taken_over");
        }
        account.bets.extend_from_slice(bets);
        let row = |(document, number): &(String, String)| {
            format!("{},Ana,Paz,{document},1999-03-17,{number}\n", agency + 1)
        };
        self.stored.extend(bets.iter().map(row));
        Ok(())
    }

    /// Tells the winners to every connection that waits. Those other than `at` continue with the commands that they have
    /// sent meanwhile.
    fn holds_draw(&mut self, at: usize) {
        self.held = true;
        for agency in 0..self.accounts.len() {
            let account = &mut self.accounts[agency];
            let Some(waiting) = account.waits_on.take() else { continue };
            let won =
                account.bets.iter().filter(|(_, number)| number.parse() == Ok(WINNING_NUMBER));
            let documents: Vec<&str> = won.map(|(document, _)| document.as_str()).collect();
            let reply = format!("GANADORES|{}", documents.join("|"));
            self.tells(waiting, reply);
            self.connections[waiting].waits = false;
            if waiting != at {
                self.goes_on(waiting);
            }
        }
    }

    fn agency(&self, text: &str) -> Option<usize> {
        (0..self.accounts.len()).find(|agency| text == (agency + 1).to_string())
    }

    fn between_batches(&mut self, at: usize, agency: &str) -> Result<usize, &'static str> {
        let agency = self.agency(agency).ok_or("invalid_field")?;
        let own = &self.connections[at];
        if own.refused || !own.open.is_empty() {
            return Err("open_batch");
        }
        self.speaking_for(at, agency).map(|_| agency)
    }

    fn speaking_for(&mut self, at: usize, agency: usize) -> Result<&mut Connection, &'static str> {
        let own = &mut self.connections[at];
        if *own.speaks_for.get_or_insert(agency) == agency { Ok(own) } else { Err("wrong_agency") }
    }

    fn status(&self) -> String {
        let won = |account: &Account| {
            account.bets.iter().filter(|(_, number)| number.parse() == Ok(WINNING_NUMBER)).count()
        };
        let mut status = match self.held {
            true => format!("ESTADO|REALIZADO,{}", self.accounts.iter().map(won).sum::<usize>()),
            false => "ESTADO|PENDIENTE".to_owned(),
        };
        for (agency, account) in (1..).zip(&self.accounts) {
            let state = match account.has_asked {
                _ if self.held => "TERMINADA",
                true => "ESPERA",
                false => "ABIERTA",
            };
            status += &format!("|{agency},{},{state}", account.bets.len());
        }
        status
    }

    fn tells(&mut self, at: usize, reply: String) {
        self.connections[at].told.push_back(reply);
    }

    /// The server stops, and another one starts.
    fn restarts(&mut self) {
        for account in &mut self.accounts {
            *account = Account { bets: std::mem::take(&mut account.bets), ..Account::default() };
        }
        self.connections.clear();
    }
}

impl Connection {
    fn ends(&mut self, error: &str) {
        self.told.push_back(error.to_owned());
        (self.ended, self.waits) = (true, false);
    }

    /// Replies an error, drops the rest of the message, and refuses the batch that it leaves open.
    fn refuses(&mut self, code: &str, command: String) {
        self.told.push_back(format!("ERROR|{code}"));
        self.refused |= !self.open.is_empty();
        self.open.clear();
        self.commands.push_front(command);
        for command in self.commands.drain(..) {
            match command.split('|').next() {
                Some("APUESTA") => self.refused = true,
                Some("FINAPUESTA") => self.refused = false,
                _ => {}
            }
        }
    }
}

/// Choices, a byte each. The first of several is chosen after the last byte.
struct Choices<'b>(&'b [u8]);

impl Choices<'_> {
    fn below(&mut self, bound: usize) -> usize {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        usize::from(*first) % bound
    }

    fn one_of<T: Copy>(&mut self, these: &[T]) -> T {
        these[self.below(these.len())]
    }
}

/// Plays the conversations that `bytes` select. Fails if the server differs from the model.
pub(crate) fn plays(bytes: &[u8]) {
    let mut choices = Choices(bytes);
    let agencies = 1 + choices.below(3);
    let lottery = Lottery::of(agencies.try_into().expect("a small number")).won_by(WINNING_NUMBER);
    // No connection is slow enough to time out.
    let office = Office::start_over_empty_files(Lottery {
        newcomer_timeout: lottery.message_timeout,
        ..lottery
    });
    let observer = office.agency();
    let model = Model { accounts: vec![Account::default(); agencies], ..Model::default() };
    let mut play =
        Play { office, observer, model, peers: Vec::new(), document: 30_000_000, strays: 0 };
    while !choices.0.is_empty() {
        play.step(&mut choices);
    }
    play.ends();
}

struct Play {
    office: Office,
    /// Names no agency.
    observer: Agency,
    model: Model,
    /// The peer of each connection of the model, until it ends.
    peers: Vec<Option<Peer>>,
    document: u32,
    /// The number of connections whose end the server may not have noticed.
    strays: usize,
}

struct Peer {
    agency: Agency,
    /// The rest of messages that were sent in part.
    unsent: Vec<u8>,
}

impl Play {
    fn step(&mut self, choices: &mut Choices<'_>) {
        let talking: Vec<usize> = (0..self.peers.len())
            .filter(|&at| self.peers[at].is_some() && !self.model.connections[at].says_no_more)
            .collect();
        let open = self.peers.iter().flatten().count();
        let what = choices.below(16);
        if talking.is_empty() || (what == 0 && open < CONNECTIONS_MAX) {
            return if open < CONNECTIONS_MAX { self.connects() } else { self.restarts() };
        }
        let at = choices.one_of(&talking);
        let peer = self.peers[at].as_mut().expect("it talks");
        let tears = !self.model.connections[at].inbox.is_empty();
        match what {
            1 if choices.below(8) == 0 => self.restarts(),
            2 if self.strays == 0 || !tears => {
                self.strays += usize::from(tears);
                peer.agency.says_no_more();
                self.model.connections[at].says_no_more = true;
                self.follow(at);
            }
            3 if self.strays == 0 => {
                self.strays += 1;
                peer.agency.hangs_up();
                self.peers[at] = None;
            }
            4..=6 => {
                let part = (1 + choices.below(256)).min(peer.unsent.len());
                self.sends(at, part);
            }
            _ => {
                let message = self.message(at, choices);
                let peer = self.peers[at].as_mut().expect("it talks");
                peer.unsent.extend(message);
                let all = peer.unsent.len();
                if what > 8 {
                    self.sends(at, all);
                }
            }
        }
    }

    fn message(&mut self, at: usize, choices: &mut Choices<'_>) -> Vec<u8> {
        if self.strays == 0 && choices.below(32) == 0 {
            self.strays += 1;
            return choices.one_of(&[&[b'x'; MESSAGE_BYTES_MAX][..], b"ECO|a;ECO|\xFF\n"]).to_vec();
        }
        let commands: Vec<String> =
            (0..=choices.below(4)).map(|_| self.command(at, choices)).collect();
        (commands.join(";") + choices.one_of(&["\n", "\n", "\r\n"])).into_bytes()
    }

    fn command(&mut self, at: usize, choices: &mut Choices<'_>) -> String {
        self.document += 1;
        let (agencies, document) = (self.model.accounts.len(), self.document);
        let other = choices.below(32);
        // Mostly that of this connection and of the one beside it.
        let agency = 1 + if other <= agencies { other } else { at / 2 % agencies };
        let (date, number) = ("1999-03-17", choices.one_of(&["7", "12", "0007", "7000"]));
        let closed = choices.one_of(&["", "FINAPUESTA;"]);
        match choices.below(24) {
            0..=7 => format!("APUESTA|{agency}|Ana|Paz|{document}|{date}|{number}"),
            8 => format!("APUESTA|{agency}|Ana|Paz|{document}|1999-02-29|{number}"),
            9 => format!("APUESTA|{agency}|Ana"),
            10 => {
                choices.one_of(&["HOLA", "", "FINAPUESTA|1", "ECO", "ESTADO|", "REANUDAR|x"]).into()
            }
            11..=13 => format!("{closed}REANUDAR|{agency}"),
            14 => format!("ECO|{document}"),
            15 | 16 => "ESTADO".to_owned(),
            17 => format!("{closed}GANADORES|{agency}"),
            _ => "FINAPUESTA".to_owned(),
        }
    }

    /// Opens a connection. A later one is answered, so that the server has accepted it.
    fn connects(&mut self) {
        self.peers.push(Some(Peer { agency: self.office.agency(), unsent: Vec::new() }));
        self.model.connects();
        self.observer = self.office.agency();
        self.observer.says("ECO|accepted");
        self.observer.hears("ECO|accepted");
    }

    fn sends(&mut self, at: usize, count: usize) {
        let peer = self.peers[at].as_mut().expect("it talks");
        let bytes: Vec<u8> = peer.unsent.drain(..count).collect();
        peer.agency.sends(&bytes);
        self.model.connections[at].inbox.extend(bytes);
        self.follow(at);
    }

    /// Continues the model after bytes have arrived on a connection, and hears the replies of all connections.
    fn follow(&mut self, at: usize) {
        self.model.goes_on(at);
        for (peer, connection) in self.peers.iter_mut().zip(&mut self.model.connections) {
            let told = std::mem::take(&mut connection.told);
            let Some(Peer { agency, .. }) = peer else { continue };
            for expected in told {
                let heard = agency.hears_a_line();
                let code = heard.strip_prefix("ERROR|").and_then(|error| error.split('|').next());
                let heard = code.map_or(heard.clone(), |code| format!("ERROR|{code}"));
                if heard != expected {
                    agency.fail(format_args!("heard {heard}, and the page says {expected}"));
                }
            }
            if connection.ended {
                agency.hears_the_end();
                *peer = None;
            }
        }
        if self.model.connections[at].waits {
            self.observe();
        }
    }

    /// Asks until the status is that of the model, because a wait for the draw has no reply.
    fn observe(&mut self) {
        let (expected, start) = (self.model.status(), Instant::now());
        loop {
            self.observer.says("ESTADO");
            let heard = self.observer.hears_a_line();
            if heard == expected {
                return;
            }
            if start.elapsed() > PATIENCE {
                self.observer.fail(format_args!("the status is {heard}, and should be {expected}"));
            }
        }
    }

    fn restarts(&mut self) {
        self.stops();
        self.office.start_again();
        self.model.restarts();
        self.observer = self.office.agency();
        self.strays = 0;
    }

    fn stops(&mut self) {
        for (peer, connection) in self.peers.iter_mut().zip(&self.model.connections) {
            let Some(Peer { agency, .. }) = peer else { continue };
            if connection.inbox.is_empty() && !connection.waits {
                agency.says("ECO|all is read");
                agency.hears("ECO|all is read");
            }
        }
        self.office.stop();
        for (peer, connection) in self.peers.drain(..).zip(&self.model.connections) {
            let Some(Peer { mut agency, .. }) = peer else { continue };
            let heard = String::from_utf8(agency.rest()).expect("text");
            let told = heard.starts_with("ERROR|stopping|") && heard.lines().count() == 1;
            // If the server stops before it has read all bytes, the system resets the connection.
            if !told && connection.inbox.is_empty() {
                agency.fail(format_args!("it should hear that the server stops: {heard:?}"));
            }
        }
    }

    fn ends(mut self) {
        self.observe();
        self.stops();
        self.office.has_stored(&self.model.stored.concat());
        self.office.draw_is_on_disk_or_not(self.model.held);
    }
}
