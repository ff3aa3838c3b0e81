#!/usr/bin/env python3
"""Opens the draws of all centrals once every agency of every central waits.

Each central runs with one agency more than it has. This last agency is the gate: it has no bets, and the central
cannot hold its draw without it. This program asks every central for its status until all agencies but the gates
wait, then runs all gates at once, and ends when every central has held its draw.

It may be stopped and started again at any time: a central that has held its draw already is left alone.

Exit codes: 0 if every draw was held, 1 if a central is not as centrals.toml has it or a gate failed, 2 for usage.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass

# A status that takes longer than this counts as none. The client's own retries end before.
STATUS_SECONDS_MAX = 20
RETRY_STATUS_FOR_MS = 5000


class Refused(Exception):
    """A central that must not be opened. It needs a person, so trying again does not help."""


@dataclass(frozen=True)
class Central:
    name: str
    address: str
    agencies: int

    @property
    def gate(self):
        return self.agencies + 1


@dataclass(frozen=True)
class Standing:
    """What a central's status means for the gate."""

    held: bool
    winners: int
    bets: int
    waiting: int


def read_centrals(path):
    with open(path, "rb") as file:
        tables = tomllib.load(file)["central"]
    centrals = [Central(table["name"], table["address"], table["agencies"]) for table in tables]
    if len({central.name for central in centrals}) != len(centrals):
        raise ValueError("two centrals have the same name")
    return centrals


def client_command(client, central, *arguments):
    return [client, "--server", central.address, "--quiet", *arguments]


def ask_status(client, central):
    """Returns the central's status, or None if it does not answer now."""
    # The gate's own settings of the client would name an agency, which --status does not take.
    environment = {key: value for key, value in os.environ.items() if key != "CLI_ID"}
    environment["CLI_RETRY_FOR_MS"] = str(RETRY_STATUS_FOR_MS)
    try:
        answer = subprocess.run(
            client_command(client, central, "--status", "--json"),
            env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=STATUS_SECONDS_MAX,
        )
    except subprocess.TimeoutExpired:
        return None
    if answer.returncode == 2:
        raise Refused(f"{central.name}: the client refuses the question: {answer.stderr.strip()}")
    return json.loads(answer.stdout) if answer.returncode == 0 else None


def judge(central, status):
    """Returns how the central stands. Raises Refused if it is not the central that centrals.toml describes."""
    agencies = status["agencies"]
    if len(agencies) != central.gate:
        raise Refused(f"{central.name}: the server has {len(agencies)} agencies instead of {central.agencies} and the gate")
    if [agency["agency"] for agency in agencies] != list(range(1, central.gate + 1)):
        raise Refused(f"{central.name}: its agencies are not numbered from 1")
    gate = agencies[-1]
    if gate["bets"] != 0:
        raise Refused(f"{central.name}: agency {central.gate} is the gate, but has {gate['bets']} bets")
    waiting = sum(agency["state"] == "waiting" for agency in agencies[:-1])
    held = status["draw"] == "held"
    if not held and gate["state"] == "waiting" and waiting < central.agencies:
        raise Refused(f"{central.name}: agency {central.gate}, the gate, already waits; stop its client first")
    return Standing(held, status["winners"] or 0, status["bets"], waiting)


def describe(central, standing):
    if standing is None:
        return f"{central.name}: no answer from {central.address}"
    if standing.held:
        return f"{central.name}: draw held over {standing.bets} bets, {standing.winners} of them won"
    return f"{central.name}: {standing.waiting} of {central.agencies} agencies wait, {standing.bets} bets"


def look(client, centrals, said):
    """Returns how every central stands, and prints each that stands otherwise than `said` remembers."""
    standings = {}
    for central in centrals:
        status = ask_status(client, central)
        standing = None if status is None else judge(central, status)
        standings[central] = standing
        # Bets alone change with every look; a line for each would bury the rest.
        kind = None if standing is None else (standing.held, standing.waiting)
        if said.get(central, "nothing yet") != kind:
            print(describe(central, standing), flush=True)
            said[central] = kind
    return standings


def is_ready(central, standing):
    return standing is not None and (standing.held or standing.waiting == central.agencies)


def open_gates(client, centrals):
    """Runs the gates of `centrals` side by side until each has heard its result."""
    failed = []
    with tempfile.NamedTemporaryFile(suffix=".csv") as no_bets:
        gates = [
            (central, subprocess.Popen(
                client_command(client, central, "--agency", str(central.gate), "--file", no_bets.name),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
            ))
            for central in centrals
        ]
        for central, gate in gates:
            winners, _ = gate.communicate()
            if gate.returncode != 0 or winners:
                failed.append(f"{central.name} (exit code {gate.returncode}, winners {winners.split()})")
    if failed:
        raise Refused(f"the gates of these centrals failed: {', '.join(failed)}; start this program again")


def run(client, centrals, poll_seconds):
    said = {}
    while True:
        standings = look(client, centrals, said)
        if all(is_ready(central, standings[central]) for central in centrals):
            break
        time.sleep(poll_seconds)
    pending = [central for central in centrals if not standings[central].held]
    print(f"every agency of every central waits; opening {len(pending)} of {len(centrals)} draws", flush=True)
    open_gates(client, pending)
    standings = look(client, centrals, said)
    for central in centrals:
        if standings[central] is None or not standings[central].held:
            raise Refused(f"{central.name}: its gate ended, but its draw cannot be seen to be held; start this program again")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--centrals", default="centrals.toml", metavar="FILE", help="the centrals [centrals.toml]")
    parser.add_argument("--client", default="client", metavar="PROGRAM", help="the agencies' program [client]")
    parser.add_argument("--poll-seconds", type=float, default=1.0, metavar="S", help="pause between two looks [1]")
    arguments = parser.parse_args()
    try:
        centrals = read_centrals(arguments.centrals)
    except (OSError, tomllib.TOMLDecodeError, KeyError, ValueError) as error:
        parser.error(f"{arguments.centrals}: {error}")
    try:
        run(arguments.client, centrals, arguments.poll_seconds)
    except Refused as reason:
        print(f"gate: {reason}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
