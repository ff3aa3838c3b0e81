#!/usr/bin/env python3
"""Tests gate.py against a stand-in for the client, which tells prepared statuses and remembers which gates it ran."""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

GATE = Path(__file__).resolve().parent / "gate.py"

# A file ADDRESS holds the statuses of a central, in the order in which they are told; the last one stays.
STAND_IN = """import json, os, sys
arguments = sys.argv[1:]
address = arguments[arguments.index("--server") + 1]
os.chdir(os.path.dirname(__file__))
with open(address) as file:
    told = json.load(file)
def tell_next(statuses):
    with open(address, "w") as file:
        json.dump(statuses, file)
if "--status" in arguments:
    assert "--json" in arguments
    status = told[0]
    if len(told) > 1:
        tell_next(told[1:])
    if status is None:
        sys.exit(1)
    print(json.dumps(status))
else:
    agency = arguments[arguments.index("--agency") + 1]
    assert os.path.getsize(arguments[arguments.index("--file") + 1]) == 0
    with open("opened", "a") as opened:
        opened.write(f"{address} {agency}\\n")
    if os.path.exists(f"{address}-fails"):
        sys.exit(1)
    status = next(status for status in reversed(told) if status)
    tell_next([{**status, "draw": "held", "winners": 0}])
"""


def status(*agencies, draw="pending"):
    """A status of agencies given as (bets, state), the gate last."""
    return {
        "draw": draw,
        "winners": 1 if draw == "held" else None,
        "bets": sum(bets for bets, _ in agencies),
        "agencies": [
            {"agency": agency, "bets": bets, "state": state} for agency, (bets, state) in enumerate(agencies, 1)
        ],
    }


READY = status((4, "waiting"), (0, "open"))
SELLING = status((3, "open"), (0, "open"))
HELD = status((4, "finished"), (0, "finished"), draw="held")


class Gate(unittest.TestCase):
    def run_gate(self, *fails, **told):
        """Runs the gate of centrals that each have one agency; returns what ended, and the gates that were opened."""
        with tempfile.TemporaryDirectory() as scratch:
            scratch = Path(scratch)
            client = scratch / "client"
            # Isolated and without packages, because it starts some sixty times.
            client.write_text(f"#!{sys.executable} -IS\n{STAND_IN}")
            client.chmod(0o755)
            centrals = ""
            for name, statuses in told.items():
                (scratch / f"{name}:1").write_text(json.dumps(statuses))
                centrals += f'[[central]]\nname = "{name}"\naddress = "{name}:1"\nagencies = 1\n'
            for name in fails:
                (scratch / f"{name}:1-fails").touch()
            (scratch / "centrals.toml").write_text(centrals)
            ended = subprocess.run(
                [sys.executable, GATE, "--centrals", scratch / "centrals.toml", "--client", client, "--poll-seconds", "0"],
                capture_output=True, text=True, timeout=60,
            )
            opened = scratch / "opened"
            return ended, sorted(opened.read_text().splitlines()) if opened.exists() else []

    def refuses(self, reason, *fails, **told):
        ended, opened = self.run_gate(*fails, **told)
        self.assertEqual(ended.returncode, 1, ended)
        self.assertIn(reason, ended.stderr)
        return opened

    def test_all_gates_open_when_all_agencies_wait(self):
        ended, opened = self.run_gate(north=[SELLING, READY], south=[READY])
        self.assertEqual(ended.returncode, 0, ended)
        self.assertEqual(opened, ["north:1 2", "south:1 2"])
        self.assertEqual(ended.stdout.splitlines(), [
            "north: 0 of 1 agencies wait, 3 bets",
            "south: 1 of 1 agencies wait, 4 bets",
            "north: 1 of 1 agencies wait, 4 bets",
            "every agency of every central waits; opening 2 of 2 draws",
            "north: draw held over 4 bets, 0 of them won",
            "south: draw held over 4 bets, 0 of them won",
        ])

    def test_no_gate_opens_while_one_agency_sells(self):
        # Were a gate opened too early, the last status of north would never be asked for.
        gate_had_bets = status((3, "open"), (1, "open"))
        opened = self.refuses("is the gate, but has 1 bets", north=[SELLING, SELLING, gate_had_bets], south=[READY])
        self.assertEqual(opened, [])

    def test_an_agency_that_is_finished_but_not_there_does_not_wait(self):
        gone = status((4, "finished"), (0, "open"))
        ended, _ = self.run_gate(north=[gone, READY])
        self.assertEqual(ended.returncode, 0, ended)
        self.assertIn("north: 0 of 1 agencies wait", ended.stdout)

    def test_a_central_that_does_not_answer_is_waited_for(self):
        ended, opened = self.run_gate(north=[None, READY], south=[READY])
        self.assertEqual(ended.returncode, 0, ended)
        self.assertIn("north: no answer from north:1\n", ended.stdout)
        self.assertEqual(opened, ["north:1 2", "south:1 2"])

    def test_a_central_that_has_held_its_draw_is_left_alone(self):
        ended, opened = self.run_gate(north=[HELD], south=[SELLING, READY])
        self.assertEqual(ended.returncode, 0, ended)
        self.assertEqual(opened, ["south:1 2"])
        self.assertIn("opening 1 of 2 draws", ended.stdout)

    def test_a_gate_that_was_finished_before_is_run_again(self):
        ended, opened = self.run_gate(north=[status((4, "waiting"), (0, "finished"))])
        self.assertEqual((ended.returncode, opened), (0, ["north:1 2"]), ended)

    def test_it_refuses_a_server_with_another_number_of_agencies(self):
        for agencies in [[(4, "waiting")], [(4, "waiting"), (0, "open"), (0, "open")]]:
            opened = self.refuses(f"the server has {len(agencies)} agencies", north=[status(*agencies)], south=[READY])
            self.assertEqual(opened, [])

    def test_it_refuses_a_gate_that_has_bets(self):
        for draw, state in [("pending", "waiting"), ("held", "finished")]:
            opened = self.refuses("has 2 bets", north=[status((4, state), (2, state), draw=draw)], south=[READY])
            self.assertEqual(opened, [])

    def test_it_refuses_a_gate_that_waits_before_the_agencies(self):
        self.refuses("the gate, already waits", north=[status((4, "open"), (0, "waiting"))])

    def test_a_gate_that_fails_is_told(self):
        opened = self.refuses("the gates of these centrals failed: north", "north", north=[READY], south=[READY])
        self.assertEqual(opened, ["north:1 2", "south:1 2"])

    def test_it_refuses_two_centrals_of_one_name(self):
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as centrals:
            central = '[[central]]\nname = "north"\naddress = "north:1"\nagencies = 1\n'
            centrals.write(central + central)
            centrals.flush()
            ended = subprocess.run(
                [sys.executable, GATE, "--centrals", centrals.name], capture_output=True, text=True, timeout=60
            )
        self.assertEqual(ended.returncode, 2)
        self.assertIn("two centrals have the same name", ended.stderr)


if __name__ == "__main__":
    unittest.main()
