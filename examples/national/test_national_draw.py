#!/usr/bin/env python3
"""Tests national_draw.py on a cluster of two workers within this machine. Needs PySpark and a Java runtime."""

import csv
import hashlib
import os
import tempfile
import unittest
from pathlib import Path

from pyspark.sql import SparkSession

import national_draw

BETS = {
    "north": [
        "1,Ana,Paz,30904465,1999-03-17,7574",
        '1,Juan,"Gil, hijo",04567890,1944-02-29,75',
        '2,"María ""la Única""",Null,21689196,1987-06-05,0075',
        "2,Eva,NA,01234567,2001-12-24,7574",
    ],
    "south": [
        "1,Zoë,O'Higgins,38111222,1995-10-01,7501",
        "1, Ana ,Paz\\,30904465,1999-03-17,075",
        # The same person twice, with equal lines: two bets, and both win.
        "1,Ana,null,30904465,1999-03-17,75",
        "1,Ana,null,30904465,1999-03-17,75",
        "1,1,2,30904466,1999-03-17,0",
    ],
}
AGENCIES = {"north": 2, "south": 1}
WINNERS = [
    ["north", "1", "Juan", "Gil, hijo", "04567890", "1944-02-29", "75"],
    ["north", "2", 'María "la Única"', "Null", "21689196", "1987-06-05", "75"],
    ["south", "1", " Ana ", "Paz\\", "30904465", "1999-03-17", "75"],
    ["south", "1", "Ana", "null", "30904465", "1999-03-17", "75"],
    ["south", "1", "Ana", "null", "30904465", "1999-03-17", "75"],
]


class Centrals:
    """The files of two centrals, as their servers leave them."""

    def __init__(self, directory, number=75, seal_only={}):
        """`seal_only` has a further line for some centrals, which their draws' length and hash cover."""
        self.directory = Path(directory)
        self.files = self.directory / "centrals"
        self.out = self.directory / "out"
        self.list = self.directory / "centrals.toml"
        self.list.write_text("".join(
            f'[[central]]\nname = "{name}"\naddress = "{name}:1"\nagencies = {agencies}\n' for name, agencies in AGENCIES.items()
        ))
        for name, lines in BETS.items():
            (self.files / name).mkdir(parents=True)
            further = [seal_only[name]] if name in seal_only else []
            text = "".join(line + "\n" for line in lines + further).encode()
            (self.files / name / "bets.csv").write_bytes(text)
            draw = [f"winning_number = {number}", "held_at = 2026-01-01T00:00:00Z"]
            draw += [f"bets_bytes = {len(text)}", f'bets_sha256 = "{hashlib.sha256(text).hexdigest()}"']
            rows = list(csv.reader(lines))
            for agency in range(1, AGENCIES[name] + 2):
                own = [row for row in rows if row[0] == str(agency)]
                winners = [row[3] for row in own if int(row[5]) == number]
                quoted = ", ".join(f'"{winner}"' for winner in winners)
                draw += ["[[agency]]", f"id = {agency}", f"bets = {len(own)}", f"winners = [{quoted}]"]
            (self.files / name / "sorteo.toml").write_text("\n".join(draw) + "\n")

    def replace(self, path, old, new):
        path = self.files / path
        text = path.read_text()
        assert old in text, text
        path.write_text(text.replace(old, new, 1))


class NationalDraw(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # The workers are processes of their own, which import what this one has.
        os.environ["PYTHONPATH"] = f"{Path(__file__).resolve().parent}:{os.environ.get('PYTHONPATH', '')}"
        cls.spark = (
            SparkSession.builder.master("local-cluster[2,1,1024]")
            .config("spark.ui.enabled", False).config("spark.sql.shuffle.partitions", 2)
            .config("spark.driver.host", "127.0.0.1").getOrCreate()
        )

    @classmethod
    def tearDownClass(cls):
        cls.spark.stop()

    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = scratch.name

    def draw(self, centrals, format="csv"):
        draws, wrong = national_draw.read_draws(centrals.list, str(centrals.files))
        return wrong or national_draw.draw(self.spark, draws, str(centrals.files), str(centrals.out), format)

    def finds(self, centrals, *reasons):
        """Every reason is told, no other is, and nothing is written."""
        wrong = self.draw(centrals)
        self.assertEqual(len(wrong), len(reasons), wrong)
        for reason in reasons:
            self.assertTrue(any(reason in text for text in wrong), wrong)
        self.assertFalse(centrals.out.exists())

    def rows(self, directory):
        [file] = directory.glob("part-*.csv")
        with open(file, encoding="utf-8", newline="") as text:
            return list(csv.reader(text))

    def test_the_winners_of_all_centrals_and_each_number_are_written(self):
        centrals = Centrals(self.scratch)
        self.assertEqual(self.draw(centrals), [])
        header, *winners = self.rows(centrals.out / "winners")
        self.assertEqual(header, ["central", "agency", "first_name", "last_name", "document", "birthdate", "number"])
        # Winners with the same document come in no order.
        self.assertEqual(sorted(winners), sorted(WINNERS))
        header, *numbers = self.rows(centrals.out / "numbers")
        self.assertEqual(header, ["number", "bets"])
        self.assertEqual([int(number) for number, _ in numbers], list(range(10_000)))
        self.assertEqual({number: bets for number, bets in numbers if bets != "0"}, {"0": "1", "75": "5", "7501": "1", "7574": "2"})

    def test_parquet_has_the_same(self):
        centrals = Centrals(self.scratch)
        self.assertEqual(self.draw(centrals, "parquet"), [])
        winners = self.spark.read.parquet(f"file:{centrals.out}/winners").collect()
        self.assertEqual(sorted([str(field) for field in row] for row in winners), sorted(WINNERS))
        numbers = self.spark.read.parquet(f"file:{centrals.out}/numbers")
        self.assertEqual(numbers.where("bets > 0").count(), 4)

    def test_a_second_run_replaces_the_tables(self):
        centrals = Centrals(self.scratch)
        self.assertEqual(self.draw(centrals), [])
        self.assertEqual(self.draw(centrals), [])
        self.assertEqual(len(self.rows(centrals.out / "winners")), 1 + len(WINNERS))

    def test_a_byte_that_changed_is_found(self):
        centrals = Centrals(self.scratch)
        centrals.replace("south/bets.csv", "Higgins", "Huggins")
        self.finds(centrals, "south: bets.csv has the SHA-256")

    def test_a_line_that_was_lost_is_found(self):
        centrals = Centrals(self.scratch)
        centrals.replace("north/bets.csv", BETS["north"][0] + "\n", "")
        self.finds(centrals, "north: bets.csv has 1", "north: bets.csv has the SHA-256", "north: agency 1 has 1 bets, but was drawn with 2")

    def test_a_winner_that_changed_is_found(self):
        centrals = Centrals(self.scratch)
        centrals.replace("north/sorteo.toml", '"04567890"', '"4567890"')
        self.finds(
            centrals, "north: agency 1: 04567890 is no winner in sorteo.toml", "north: agency 1: 4567890 won only in sorteo.toml"
        )

    def test_a_count_that_changed_is_found(self):
        centrals = Centrals(self.scratch)
        centrals.replace("south/sorteo.toml", "bets = 5", "bets = 6")
        self.finds(centrals, "south: agency 1 has 5 bets, but was drawn with 6")

    def test_a_line_that_is_no_bet_is_found(self):
        # The draw's own hash of such a file would hold: it is the table's types that find it.
        for line in ["1,Ana,Paz,30904465,1999-03-17", "1,Ana,Paz,30904465,1999-03-17,12,13", "x,Ana,Paz,1,1999-03-17,1"]:
            with self.subTest(line), tempfile.TemporaryDirectory() as scratch:
                centrals = Centrals(scratch, seal_only={"north": line})
                wrong = self.draw(centrals)
                self.assertIn("north: 1 lines are not bets", wrong)
                self.assertFalse(centrals.out.exists())

    def test_a_result_without_a_fingerprint_is_not_believed(self):
        centrals = Centrals(self.scratch)
        centrals.replace("south/sorteo.toml", "bets_sha256", "# bets_sha256")
        self.finds(centrals, "but was drawn over None")

    def test_a_central_that_is_missing_unknown_or_drawn_on_another_number_is_found(self):
        centrals = Centrals(self.scratch)
        (centrals.files / "north" / "sorteo.toml").unlink()
        self.finds(centrals, "north: no draw")
        (centrals.files / "west").mkdir()
        self.finds(centrals, "north: no draw", "west: has files, but is not in")
        with tempfile.TemporaryDirectory() as scratch:
            centrals = Centrals(scratch)
            centrals.replace("south/sorteo.toml", "winning_number = 75", "winning_number = 76")
            self.finds(centrals, "north: drawn on 75", "south: drawn on 76")
        with tempfile.TemporaryDirectory() as scratch:
            centrals = Centrals(scratch)
            centrals.list.write_text(centrals.list.read_text().replace("agencies = 2", "agencies = 3"))
            self.finds(centrals, "north: 3 agencies instead of 3 and the gate")


if __name__ == "__main__":
    unittest.main()
