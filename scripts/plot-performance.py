#!/usr/bin/env python3
"""Makes docs/performance.svg and docs/growth.svg of the figures in the CSV files of the same names.

    scripts/plot-performance.py

The figures are those of `cargo bench --bench lottery` and `cargo bench --bench growth`. Needs Python and nothing else.
"""

import csv
import math
import pathlib

DOCS = pathlib.Path(__file__).resolve().parent.parent / "docs"
WIDTH, HEIGHT = 380, 230
LEFT, RIGHT, TOP, BOTTOM = 48, 16, 40, 40
# Of the bars.
NAMES, LINE, UNIT = 220, 24, ", M bets/s"

# Each chart: its title, the series drawn in it with their names, and what its x axis counts.
CHARTS = [
    ("More bets", {"bets": ""}, "bets of five agencies"),
    ("More agencies", {"agencies": ""}, "agencies with 2 million bets together"),
    ("Larger batches", {"batch amount": ""}, "most bets in a batch"),
    (
        "More batches on their way",
        {"window": "synced to disk", "window in memory": "stored in memory"},
        "batches without a confirmation",
    ),
]


def rows(name):
    with open(DOCS / name, newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def points():
    """The points of each series: what is counted, and the throughput over the copy."""
    series = {}
    for row in rows("growth.csv"):
        point = (float(row["x"]), float(row["over_copy"]))
        series.setdefault(row["series"], []).append(point)
    return series


def short(number):
    """100000 as 10⁵, 120 as it is."""
    power = round(math.log10(number))
    if number >= 100_000 and 10**power == number:
        return "10" + "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] for digit in str(power))
    return f"{number:g}"


def chart(title, names, counted, series, x0, y0):
    """One chart with its corner at x0, y0."""
    points = [point for name in names for point in series[name]]
    low, high = (math.log10(f(x for x, _ in points)) for f in (min, max))
    top = max(2.0, math.ceil(max(y for _, y in points) * 2) / 2)

    def place(x, y):
        across = (math.log10(x) - low) / (high - low)
        left = x0 + LEFT + across * (WIDTH - LEFT - RIGHT)
        return left, y0 + HEIGHT - BOTTOM - y / top * (HEIGHT - TOP - BOTTOM)

    parts = [f'<text class="title" x="{x0 + LEFT}" y="{y0 + 22}">{title}</text>']
    for half in range(int(top * 2) + 1):
        y = half / 2
        left, up = place(10**low, y)
        kind = "one" if y == 1 else "grid"
        right = x0 + WIDTH - RIGHT
        parts.append(f'<line class="{kind}" x1="{left}" y1="{up}" x2="{right}" y2="{up}"/>')
        parts.append(f'<text class="y" x="{left - 6}" y="{up + 4}">{y:g}</text>')
    middle = x0 + LEFT + (WIDTH - LEFT - RIGHT) / 2
    parts.append(f'<text class="x" x="{middle}" y="{y0 + HEIGHT - 6}">{counted}</text>')
    for number, (name, label) in enumerate(names.items()):
        path = " ".join("{:.1f},{:.1f}".format(*place(*point)) for point in series[name])
        parts.append(f'<polyline class="line{number}" points="{path}"/>')
        for x, y in series[name]:
            left, up = place(x, y)
            parts.append(f'<circle class="dot{number}" cx="{left:.1f}" cy="{up:.1f}" r="3"/>')
            if number == 0:
                floor = y0 + HEIGHT - BOTTOM + 16
                parts.append(f'<text class="x" x="{left:.1f}" y="{floor}">{short(x)}</text>')
        if label:
            left, up = place(*series[name][-1])
            parts.append(f'<text class="label{number}" x="{left}" y="{up - 8}">{label}</text>')
    return parts


def bars():
    """A bar for each throughput, with a line from its least to its most."""
    rates = [row for row in rows("performance.csv") if row["figure"].endswith(UNIT)]
    scale = (2 * WIDTH - NAMES - 60) / max(float(row["most"]) for row in rates)
    parts = ['<text class="title" x="16" y="22">Million bets a second</text>']
    for number, row in enumerate(rates):
        y, name = TOP + number * LINE, row["figure"].removesuffix(UNIT)
        least, median, most = (float(row[key]) for key in ("least", "median", "most"))
        kind = "bar0" if name.startswith("loteria") else "bar1"
        parts.append(f'<text class="y" x="{NAMES - 8}" y="{y + 13}">{name}</text>')
        parts.append(
            f'<rect class="{kind}" x="{NAMES}" y="{y}" width="{median * scale:.1f}" height="{LINE - 8}"/>'
        )
        x1, x2, middle = NAMES + least * scale, NAMES + most * scale, y + LINE / 2 - 4
        parts.append(f'<line class="range" x1="{x1:.1f}" y1="{middle}" x2="{x2:.1f}" y2="{middle}"/>')
        parts.append(f'<text x="{x2 + 6:.1f}" y="{y + 13}">{median:g}</text>')
    return parts, TOP + len(rates) * LINE


STYLE = """
svg { font: 12px system-ui, sans-serif; background: #fff; }
text { fill: #333; }
.title { font-weight: 600; font-size: 14px; }
.x { text-anchor: middle; }
.y { text-anchor: end; }
.grid { stroke: #ddd; }
.one { stroke: #888; stroke-dasharray: 4 3; }
polyline { fill: none; stroke-width: 2; }
.line0 { stroke: #0b6; } .dot0 { fill: #0b6; } .label0 { fill: #087; text-anchor: end; }
.line1 { stroke: #a5c; } .dot1 { fill: #a5c; } .label1 { fill: #84a; text-anchor: end; }
.bar0 { fill: #0b6; } .bar1 { fill: #aaa; } .range { stroke: #333; }
@media (prefers-color-scheme: dark) {
  svg { background: #111; } text { fill: #ccc; } .grid { stroke: #333; } .range { stroke: #ddd; } .bar1 { fill: #666; }
  .label0 { fill: #3d8; } .label1 { fill: #c8e; }
}
"""


def write(name, label, parts, height):
    size = f'width="{2 * WIDTH}" height="{height}" viewBox="0 0 {2 * WIDTH} {height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{label}">'
    text = "\n".join([head, f"<style>{STYLE}</style>", *parts, "</svg>", ""])
    (DOCS / name).write_text(text, encoding="utf-8")


def main():
    write("performance.svg", "Throughput of the programs and of other ways to store the bets", *bars())
    series, parts = points(), []
    for number, (title, names, counted) in enumerate(CHARTS):
        x0, y0 = number % 2 * WIDTH, number // 2 * HEIGHT
        parts += chart(title, names, counted, series, x0, y0)
    write("growth.svg", "Throughput over a copy with the csv crate, as load grows", parts, 2 * HEIGHT)


if __name__ == "__main__":
    main()
