#!/usr/bin/env python3
"""Recounts a draw from its transactions, written from README.md and docs/data.md and from nothing else.

    python3 examples/control.py bets.csv sorteo.toml

Prints a line for each thing in which the two files disagree, and ends with 1; or what they agree on, and 0.
Needs nothing but Python 3.11 or later.
"""
import csv, hashlib, io, sys, tomllib

def recount(path, winning_number):
    """Bets and winners of each agency, the length and the SHA-256, from one file alone."""
    with open(path, "rb") as file:
        content = file.read()
    bets, winners = {}, {}
    for row in csv.reader(io.StringIO(content.decode("utf-8"), newline=""), strict=True):
        agency, _, _, document, _, number = row
        agency = int(agency)
        bets[agency] = bets.get(agency, 0) + 1
        if int(number) == winning_number:
            winners.setdefault(agency, []).append(document)
    return bets, winners, len(content), hashlib.sha256(content).hexdigest()

def differences(bets_path, result_path):
    with open(result_path, "rb") as file:
        result = tomllib.load(file)
    bets, winners, length, sha256 = recount(bets_path, result["winning_number"])
    if result["bets_bytes"] != length:
        yield f"bets_bytes: {result['bets_bytes']}, and {bets_path} has {length}"
    if result["bets_sha256"] != sha256:
        yield f"bets_sha256: {result['bets_sha256']}, and that of {bets_path} is {sha256}"
    agencies = {agency["id"]: agency for agency in result.get("agency", [])}
    if sorted(agencies) != list(range(1, len(result.get("agency", [])) + 1)):
        yield f"agencies: {sorted(agencies)} are not numbered from 1, each once"
    for agency in sorted(agencies.keys() | bets.keys()):
        told = agencies.get(agency, {"bets": 0, "winners": []})
        if told["bets"] != bets.get(agency, 0):
            yield f"agency {agency}: {told['bets']} bets, and {bets_path} has {bets.get(agency, 0)}"
        if told["winners"] != winners.get(agency, []):
            yield f"agency {agency}: winners {told['winners']}, and {bets_path} yields {winners.get(agency, [])}"

def main():
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        found = list(differences(*sys.argv[1:]))
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        found = [f"{type(error).__name__}: {error}"]
    for difference in found:
        print(difference)
    if not found:
        print("counts, winners and checksum agree")
    return 1 if found else 0

if __name__ == "__main__":
    sys.exit(main())
