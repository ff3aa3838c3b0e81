#!/usr/bin/env python3
"""An agency of the lottery, written from docs/protocol.md and from nothing else.

    python3 examples/agency.py 1 agencies/agency-1.csv --server 127.0.0.1:12345
    python3 examples/agency.py 1 agencies/agency-1.csv --tls tls/authority.pem tls/agency-1.pem tls/agency-1.key

Sends the file's bets, waits for the draw, and prints the winners as `agency,document`. Whatever
breaks on the way, run it again: it goes on behind the last bet that is stored.
"""
import argparse, csv, random, re, socket, ssl, sys, time

MESSAGE_BYTES_MAX, BATCH_BETS_MAX = 8192, 120
REPLY_SECONDS, ASK_AGAIN_SECONDS, GIVE_UP_SECONDS = 30, 300, 60
FORBIDDEN = re.compile(r"[|;\x00-\x1f\x7f-\x9f]")
# After these a new connection may do better; after any other error somebody has to look first.
TRY_AGAIN = "taken_over message_torn timed_out superseded too_many_connections stopping".split()

class Refused(Exception):
    """Asked again, the same would be answered."""

def read(path):
    """The file's bets, each with its line. What could break a message is found before any is sent."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, strict=True)
        bets = [(rows.line_num, row) for row in rows if row]
    for line, bet in bets:
        if len(bet) != 5 or any(FORBIDDEN.search(field) or len(field) > 64 for field in bet):
            raise Refused(f"{path}:{line}: not 5 fields of up to 64 characters, none of them |, ; or control")
    return bets

class Office:  # A conversation with it: a message, an answer.
    def __init__(self, address, tls):
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host.strip("[]"), port), REPLY_SECONDS)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname=host.strip("[]"))
        self.replies = self.socket.makefile(encoding="utf-8", newline="\n")

    def ask(self, message, expected, seconds=REPLY_SECONDS):
        self.socket.settimeout(seconds)
        try:
            self.socket.sendall(message.encode())
        except OSError:
            pass  # The office may have said why before it hung up: read on.
        line = self.replies.readline()
        if not line.endswith("\n"):
            raise ConnectionError("the server ended the connection")
        word, *fields = line[:-1].split("|")
        if word == "ERROR":
            raise (ConnectionError if fields[0] in TRY_AGAIN else Refused)(": ".join(fields))
        if word != expected:
            raise Refused(f"{expected} was due, and this came: {line[:80]!r}")
        return fields

def converse(office, agency, path, bets):
    """Sends what is not stored yet. Yields at every step forward, and the winners at last."""
    stored, *last = office.ask(f"REANUDAR|{agency}\n", "REANUDAR")
    stored = int(stored)
    if stored > len(bets) or stored and [bets[stored - 1][1][i] for i in (2, 4)] != last:
        raise Refused(f"{path}: bet {stored} is not the one stored, {last}; is this the file sent before?")
    print(f"agency {agency}: {stored} of {len(bets)} bets are stored", file=sys.stderr)
    while stored < len(bets):
        commands = ["|".join(["APUESTA", agency, *bet]) + ";" for _, bet in bets[stored:stored + BATCH_BETS_MAX]]
        while len(("".join(commands) + "FINAPUESTA\n").encode()) > MESSAGE_BYTES_MAX:
            commands.pop()
        try:
            office.ask("".join(commands) + "FINAPUESTA\n", "CONFIRMARAPUESTA")
        except Refused as reason:
            raise Refused(f"{path}: the batch from line {bets[stored][0]} on: {reason}")
        stored += len(commands)
        yield None
    print(f"agency {agency}: waiting for the draw", file=sys.stderr)
    try:
        yield [winner for winner in office.ask(f"GANADORES|{agency}\n", "GANADORES", ASK_AGAIN_SECONDS) if winner]
    except TimeoutError:
        yield None  # A wait that long may be a server that vanished: ask over a new connection.

def main(server, agency, file, tls):
    if not re.fullmatch(r".+:\d+", server):
        raise Refused(f"{server}: HOST:PORT was expected")
    if tls:
        tls, own = ssl.create_default_context(cafile=tls[0]), tls[1:]
        tls.load_cert_chain(*own)
    bets, forward, told = read(file), time.monotonic(), None
    while True:
        try:
            for winners in converse(Office(server, tls), agency, file, bets):
                forward, told = time.monotonic(), None
                if winners is not None:
                    return print("".join(f"{agency},{winner}\n" for winner in winners), end="")
        except OSError as error:
            if re.search("CERTIFICATE|ALERT", str(getattr(error, "reason", ""))):
                raise Refused(f"{server}: {error}")  # One side rejects the other's certificate.
            if time.monotonic() > forward + GIVE_UP_SECONDS:
                raise Refused(f"{server}: {error}; is the server running there?")
            if str(error) != told:
                print(f"agency {agency}: {server}: {error}; trying again", file=sys.stderr)
            told = str(error)
        time.sleep(random.uniform(0.2, 1.0))

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Sends an agency's bets and prints its winners.")
    parser.add_argument("agency", help="its number, from 1")
    parser.add_argument("file", help="nombre,apellido,documento,nacimiento,numero on every line")
    parser.add_argument("--server", metavar="HOST:PORT", default="127.0.0.1:12345")
    parser.add_argument("--tls", metavar=("AUTHORITY", "CERTIFICATE", "KEY"), nargs=3, help="PEM files; speaks TLS")
    try:
        main(**vars(parser.parse_args()))
    except (Refused, OSError, UnicodeError, csv.Error, KeyboardInterrupt) as reason:
        sys.exit(f"agency.py: {str(reason) or 'stopped; run it again to go on'}")
