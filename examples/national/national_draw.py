#!/usr/bin/env python3
"""The national draw: one table of all centrals' bets, on a Spark cluster.

Reads DIR/NAME/bets.csv and DIR/NAME/sorteo.toml of every central of centrals.toml; all machines of the cluster see
DIR under the same path. It checks that each bets.csv is what its draw was held over: its length and SHA-256, the bets
of each agency, and the winners. If anything differs it prints every difference, writes nothing and exits with 1.
Otherwise it writes, as CSV or Parquet:

  OUT/winners   central,agency,first_name,last_name,document,birthdate,number
  OUT/numbers   number,bets: how often each number from 0 to 9999 was played

Run it with spark-submit.
"""

import argparse
import hashlib
import os
import sys
import time
import tomllib
from collections import Counter

from pyspark.sql import SparkSession
from pyspark.sql import functions as f

# `bad` is not a column of the file: Spark puts a line there that does not fit the others.
BET = (
    "agency INT, first_name STRING, last_name STRING, document STRING, birthdate STRING, number INT, bad STRING"
)
# The document stays text, people may be called Null, and spaces belong to a name.
CSV = dict(
    header=False, sep=",", quote='"', escape='"', lineSep="\n", encoding="UTF-8", multiLine=False,
    nullValue="\u0001", emptyValue="", mode="PERMISSIVE", columnNameOfCorruptRecord="bad",
    ignoreLeadingWhiteSpace=False, ignoreTrailingWhiteSpace=False, maxCharsPerColumn=-1,
    # Else Spark reads only the columns that a query asks for, and takes a line of too few or too many for a bet.
    columnPruning=False,
)
WINNER = "central STRING, agency INT, first_name STRING, last_name STRING, document STRING, birthdate STRING, number INT"
NUMBERS = 10_000
READ_BYTES = 1 << 20

started = time.monotonic()


def say(text):
    print(f"{time.monotonic() - started:7.1f} s  {text}", flush=True)


def read_draws(centrals_file, directory):
    """Returns each central's draw by name, and what is wrong with them."""
    with open(centrals_file, "rb") as file:
        centrals = tomllib.load(file)["central"]
    draws, wrong = {}, []
    for central in centrals:
        name, path = central["name"], os.path.join(directory, central["name"], "sorteo.toml")
        try:
            with open(path, "rb") as file:
                draws[name] = tomllib.load(file)
        except OSError as error:
            wrong.append(f"{name}: no draw: {error}")
            continue
        # The gate takes part as the last agency.
        if len(draws[name]["agency"]) != central["agencies"] + 1:
            wrong.append(f"{name}: {len(draws[name]['agency'])} agencies instead of {central['agencies']} and the gate")
    unknown = set(os.listdir(directory)) - {central["name"] for central in centrals}
    wrong += [f"{name}: has files, but is not in {centrals_file}" for name in sorted(unknown)]
    if len({draw["winning_number"] for draw in draws.values()}) > 1:
        wrong += [f"{name}: drawn on {draw['winning_number']}" for name, draw in draws.items()]
    return draws, wrong


def fingerprint(path):
    """Returns the length and the SHA-256 of a file. Runs on a worker."""
    digest, length = hashlib.sha256(), 0
    with open(path, "rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
            length += len(block)
    return length, digest.hexdigest()


def check_files(spark, directory, draws):
    """Checks that every bets.csv has the bytes that its draw was held over."""
    paths = [(name, os.path.join(directory, name, "bets.csv")) for name in draws]
    found = spark.sparkContext.parallelize(paths, len(paths)).mapValues(fingerprint).collectAsMap()
    wrong = []
    for name, draw in draws.items():
        length, digest = found[name]
        if length != draw.get("bets_bytes"):
            wrong.append(f"{name}: bets.csv has {length} bytes, but was drawn over {draw.get('bets_bytes')}")
        if digest != draw.get("bets_sha256"):
            wrong.append(f"{name}: bets.csv has the SHA-256 {digest}, but was drawn over {draw.get('bets_sha256')}")
    return sum(length for length, _ in found.values()), wrong


def read_bets(spark, directory, draws):
    # An absolute path without a scheme would be looked for on the cluster's default file system.
    paths = [f"file:{os.path.join(directory, name, 'bets.csv')}" for name in draws]
    central = f.regexp_extract(f.input_file_name(), r"([^/]+)/bets\.csv$", 1)
    return spark.read.schema(BET).options(**CSV).csv(paths).withColumn("central", central)


def check_counts(counts, draws):
    """Checks the bets of each agency, and that every line is a bet."""
    totals = counts.groupBy("central", "agency").agg(f.sum("bets").alias("bets"), f.sum("bad").alias("bad")).collect()
    found = {(row.central, row.agency): row.bets for row in totals}
    wrong = [f"{row.central}: {row.bad} lines are not bets" for row in totals if row.bad]
    expected = {(name, agency["id"]): agency["bets"] for name, draw in draws.items() for agency in draw["agency"]}
    for name, agency in sorted(found.keys() | expected.keys(), key=str):
        ours, theirs = found.get((name, agency), 0), expected.get((name, agency), 0)
        if ours != theirs:
            wrong.append(f"{name}: agency {agency} has {ours} bets, but was drawn with {theirs}")
    return sum(found.values()), wrong


def check_winners(winners, draws):
    """Checks that the winners of all are those of the centrals, put together."""
    ours = Counter((row.central, row.agency, row.document) for row in winners)
    theirs = Counter(
        (name, agency["id"], document)
        for name, draw in draws.items() for agency in draw["agency"] for document in agency["winners"]
    )
    return (
        [f"{name}: agency {agency}: {document} is no winner in sorteo.toml" for name, agency, document in (ours - theirs).elements()]
        + [f"{name}: agency {agency}: {document} won only in sorteo.toml" for name, agency, document in (theirs - ours).elements()]
    )


def write(frame, format, path):
    # One file each: both tables are small, whatever the bets.
    writer = frame.coalesce(1).write.mode("overwrite")
    if format == "csv":
        writer.options(
            header=True, quote='"', escape='"', ignoreLeadingWhiteSpace=False, ignoreTrailingWhiteSpace=False
        ).csv(f"file:{path}")
    else:
        writer.parquet(f"file:{path}")


def draw(spark, draws, directory, out, format):
    """Checks and writes everything. Returns what is wrong."""
    number = next(iter(draws.values()))["winning_number"]
    say(f"checking the files of {len(draws)} centrals")
    total_bytes, wrong = check_files(spark, directory, draws)
    say(f"checked {total_bytes} bytes; counting bets")
    bets = read_bets(spark, directory, draws)
    counts = bets.groupBy("central", "agency", "number").agg(f.count("*").alias("bets"), f.count("bad").alias("bad"))
    # Two answers of one pass over the bets.
    counts.persist()
    total, miscounted = check_counts(counts, draws)
    played = spark.range(NUMBERS).select(f.col("id").cast("int").alias("number"))
    sums = counts.groupBy("number").agg(f.sum("bets").alias("bets"))
    numbers = played.join(sums, "number", "left").fillna(0, "bets").orderBy("number").collect()
    counts.unpersist()
    say(f"counted {total} bets; looking for those on {number}")
    # sorteo.toml has the same list in the driver's memory.
    winners = bets.where(f.col("number") == number).select(WINNER.replace(" STRING", "").replace(" INT", "").split(", ")).collect()
    say(f"found {len(winners)} winners")
    wrong += miscounted + check_winners(winners, draws)
    if wrong:
        return wrong
    winners.sort(key=lambda row: (row.central, row.agency, row.document))
    write(spark.createDataFrame(winners, WINNER), format, os.path.join(out, "winners"))
    write(spark.createDataFrame(numbers, "number INT, bets LONG"), format, os.path.join(out, "numbers"))
    say(f"wrote winners and numbers to {out}")
    return []


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--centrals", default="centrals.toml", metavar="FILE", help="the centrals [centrals.toml]")
    parser.add_argument("--format", choices=["csv", "parquet"], default="csv", help="of both tables [csv]")
    parser.add_argument("directory", metavar="DIR", help="where the centrals' files are, NAME/bets.csv")
    parser.add_argument("out", metavar="OUT", help="where the tables go; those of an earlier run are replaced")
    arguments = parser.parse_args()
    directory, out = os.path.abspath(arguments.directory), os.path.abspath(arguments.out)
    draws, wrong = read_draws(arguments.centrals, directory)
    if not wrong:
        spark = SparkSession.builder.appName("national draw").getOrCreate()
        wrong = draw(spark, draws, directory, out, arguments.format)
        spark.stop()
    for reason in wrong:
        print(f"national_draw: {reason}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
