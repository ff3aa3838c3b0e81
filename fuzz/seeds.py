#!/usr/bin/env python3
"""Makes the fuzzers' first corpus of the transcripts in docs/protocol.md, of agencies/ and of random choices.

    fuzz/seeds.py        writes fuzz/corpus/TARGET/*
"""

import hashlib
import pathlib
import random
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent
CORPUS = ROOT / "fuzz" / "corpus"


def plain(text):
    """The bytes of what a transcript writes: \\r, \\xFF and (x*5) mean what the page says."""
    text = re.sub(r"\((.+?)\*(\d+)\)", lambda found: found[1] * int(found[2]), text)
    data = text.encode().replace(rb"\r", b"\r")
    return re.sub(rb"\\x([0-9A-F]{2})", lambda found: bytes([int(found[1], 16)]), data)


def save(target, data):
    directory = CORPUS / target
    directory.mkdir(parents=True, exist_ok=True)
    (directory / hashlib.sha1(data).hexdigest()).write_bytes(data)


def main():
    page = (ROOT / "docs" / "protocol.md").read_text()
    count = 0
    for transcript in re.findall(r"```transcript\n(.*?)```", page, re.DOTALL):
        sent, heard, rows = b"", b"", b""
        for line in transcript.splitlines():
            said = re.match(r"\d+(>>|>|<) ?(.*)", line)
            if not said:
                continue
            direction, text = said[1], plain(said[2])
            if direction == "<":
                heard += text + b"\n"
                continue
            sent += text if direction == ">>" else text + b"\n"
            for bet in re.findall(rb"APUESTA\|([^;]*)", text):
                fields = bet.split(b"|")
                rows += b",".join(fields) + b"\n"
                save("agency_lines", b",".join(fields[1:]) + b"\n")
        # The first byte says in which pieces a message arrives.
        for pieces in (0, 3, 255):
            save("messages", bytes([pieces]) + sent)
        save("replies", heard)
        save("bets_csv", rows)
        for line in heard.splitlines(keepends=True):
            save("replies", line)
        count += 1
    for path in (ROOT / "agencies").glob("agency-*.csv"):
        save("agency_lines", b"".join(path.read_bytes().splitlines(keepends=True)[:5]))
    save("agency_lines", b'"Ana ""la"" \xc3\x91","Paz, hija",1234567,2000-02-29,0075\n')
    save("bets_csv", b'2,\xc3\x91and\xc3\xba,"Paz, la de ""ac\xc3\xa1""",12345678,1999-12-31,0075\n')
    save(
        "sorteo_toml",
        b'winning_number = 7574\nheld_at = 2026-01-31T12:00:00Z\n\n'
        b'[[agency]]\nid = 1\nbets = 3\nwinners = ["30904465", "1234567"]\n\n'
        b'[[agency]]\nid = 2\nbets = 0\nwinners = []\n',
    )
    # Every byte is a choice, so any bytes are a conversation.
    for seed in range(100):
        choices = random.Random(seed)
        save("conversations", choices.randbytes(choices.randrange(50, 500)))
    print(f"{count} transcripts, {sum(1 for _ in CORPUS.glob('*/*'))} seeds in {CORPUS.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
