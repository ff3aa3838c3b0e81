#!/usr/bin/env python3
"""Makes docs/run.svg: a lottery in two terminals, recorded while it runs and played back by the picture.

    scripts/record-run.py [FILE]

Starts the server and the client, each on a terminal of its own, with small batches and pauses so that there is
something to see, and keeps what the terminals show, five times a second. RECORD_PROGRAMS names the directory of the
programs (target/release), and RECORD_PERIOD_MS is the pause after each batch (40). Needs Python and nothing else.
"""

import fcntl
import html
import os
import pathlib
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
COLUMNS, TICK = 80, 0.2
# The lines of each terminal, and how long the last picture stands before all begins again.
SERVER_LINES, CLIENT_LINES, HOLD = 10, 16, 5.0
SECONDS_MAX = 120

CHARACTER, LINE, MARGIN, BAR = 8.0, 17, 14, 26
COLOURS = ["#555", "#e66", "#5c7", "#db5", "#6af", "#c8e", "#5cc", "#ddd"]


class Screen:
    """What a terminal shows: lines of cells, each a character and its style."""

    def __init__(self, lines):
        self.lines = lines
        self.cells = [self.blank() for _ in range(lines)]
        self.row = self.column = 0
        self.style = ""
        self.pending = b""

    @staticmethod
    def blank():
        return [(" ", "")] * COLUMNS

    def feed(self, data):
        """Takes what a program wrote; an incomplete sequence waits for its rest."""
        data = self.pending + data
        text = data.decode("utf-8", "ignore")
        cut = re.search("\x1b(\\[[0-9;?]*)?$", text)
        whole = text[: cut.start()] if cut else text
        self.pending = text[len(whole) :].encode()
        for match in re.finditer("\x1b\\[([0-9;?]*)([A-Za-z])|\x1b.|(.)", whole, re.DOTALL):
            if match[2]:
                self.control(match[1], match[2])
            elif match[3]:
                self.put(match[3])

    def put(self, character):
        if character == "\r":
            self.column = 0
        elif character == "\n":
            self.down()
        elif character >= " ":
            if self.column == COLUMNS:
                self.column = 0
                self.down()
            self.cells[self.row][self.column] = (character, self.style)
            self.column += 1

    def down(self):
        if self.row + 1 < self.lines:
            self.row += 1
        else:
            self.cells = self.cells[1:] + [self.blank()]

    def control(self, arguments, command):
        numbers = [int(number) for number in re.findall(r"\d+", arguments)]
        count = max(1, numbers[0]) if numbers else 1
        if command == "A":
            self.row = max(0, self.row - count)
        elif command == "B":
            self.row = min(self.lines - 1, self.row + count)
        elif command == "C":
            self.column = min(COLUMNS, self.column + count)
        elif command == "D":
            self.column = max(0, self.column - count)
        elif command == "G":
            self.column = count - 1
        elif command == "H":
            self.row = min(self.lines - 1, count - 1)
            self.column = numbers[1] - 1 if len(numbers) > 1 else 0
        elif command == "K":
            begin, end = {1: (0, self.column + 1), 2: (0, COLUMNS)}.get(
                numbers[0] if numbers else 0, (self.column, COLUMNS)
            )
            self.cells[self.row][begin:end] = self.blank()[begin:end]
        elif command == "J":
            self.control(arguments, "K")
            for row in range(self.row + 1, self.lines):
                self.cells[row] = self.blank()
        elif command == "m":
            self.colour(numbers or [0])

    def colour(self, numbers):
        for number in numbers:
            if number == 0:
                self.style = ""
            elif number in (1, 2):
                self.style = (self.style + (" b" if number == 1 else " d")).strip()
            elif 30 <= number <= 37 or 90 <= number <= 97:
                kept = [part for part in self.style.split() if part[0] != "c"]
                self.style = " ".join([*kept, f"c{number % 10}"])

    def shown(self):
        """Each line as runs of characters of one style, without blanks at its end."""
        shown = []
        for cells in self.cells:
            runs = []
            for character, style in cells:
                if runs and runs[-1][1] == style:
                    runs[-1][0].append(character)
                else:
                    runs.append(([character], style))
            line = [("".join(characters), style) for characters, style in runs]
            while line and not line[-1][0].strip():
                line.pop()
            if line:
                line[-1] = (line[-1][0].rstrip(), line[-1][1])
            shown.append(tuple(line))
        return shown


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, arguments, lines, environment):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, COLUMNS, 0, 0))
        self.program = subprocess.Popen(
            arguments, stdin=slave, stdout=slave, stderr=slave, env=environment, cwd=ROOT, start_new_session=True
        )
        os.close(slave)
        self.screen = Screen(lines)

    def read(self, seconds):
        """Takes what the program writes within this time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not select.select([self.master], [], [], left)[0]:
                return
            try:
                self.screen.feed(os.read(self.master, 65536))
            except OSError:
                # Nobody has the terminal open any more.
                time.sleep(max(0.0, end - time.monotonic()))
                return


def free_address():
    """An address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return "127.0.0.1:%d" % probe.getsockname()[1]


def record(programs):
    """What both terminals showed at each tick, in the end with the client's exit code checked."""
    address = free_address()
    with tempfile.TemporaryDirectory() as scratch:
        environment = {
            "PATH": os.environ["PATH"],
            "TERM": "xterm-256color",
            "BETS_FILE": f"{scratch}/bets.csv",
            "DRAW_FILE": f"{scratch}/sorteo.toml",
            "SERVER_ADDRESS": address,
            "CLI_SERVER_ADDRESS": address,
            "CLI_BATCH_MAX_AMOUNT": "20",
            "CLI_BATCH_PERIOD_MS": os.environ.get("RECORD_PERIOD_MS", "40"),
        }
        server = Terminal([f"{programs}/server"], SERVER_LINES, environment)
        client = None
        try:
            frames = []
            for tick in range(int(SECONDS_MAX / TICK)):
                server.read(TICK / 2)
                if client is None and tick == 5:
                    client = Terminal([f"{programs}/client"], CLIENT_LINES, environment)
                if client is None:
                    time.sleep(TICK / 2)
                    frames.append((server.screen.shown(), Screen(CLIENT_LINES).shown()))
                    continue
                client.read(TICK / 2)
                frames.append((server.screen.shown(), client.screen.shown()))
                if client.program.poll() is not None:
                    break
            for _ in range(5):
                server.read(TICK)
                client.read(TICK)
            frames.append((server.screen.shown(), client.screen.shown()))
            if client.program.poll() != 0:
                sys.exit(f"record-run: the client ended with {client.program.poll()}")
            return frames
        finally:
            for terminal in filter(None, (server, client)):
                if terminal.program.poll() is None:
                    terminal.program.send_signal(signal.SIGTERM)
                    terminal.program.wait()


def spans(states, seconds):
    """Of one line through all ticks: what it shows, from when, until when, and whether to the end."""
    begin = 0
    for tick in range(1, len(states) + 1):
        if tick == len(states) or states[tick] != states[begin]:
            if states[begin]:
                is_last = tick == len(states)
                yield states[begin], begin * TICK / seconds, min(1.0, tick * TICK / seconds), is_last
            begin = tick


def text(line, x, y):
    parts = []
    column = 0
    for characters, style in line:
        if characters.strip():
            kind = f' class="{style}"' if style else ""
            parts.append(f'<tspan x="{x + column * CHARACTER:g}"{kind}>{html.escape(characters)}</tspan>')
        column += len(characters)
    return "".join(parts), y


def terminal(name, states, y, seconds):
    """One terminal as a window at y, with all that each of its lines shows in turn."""
    lines = len(states[0])
    width, height = COLUMNS * CHARACTER + 2 * MARGIN, lines * LINE + BAR + MARGIN
    parts = [
        f'<rect class="window" x="0.5" y="{y + 0.5}" width="{width - 1:g}" height="{height - 1}" rx="7"/>',
        f'<text class="name" x="{width / 2:g}" y="{y + 18}">{name}</text>',
    ]
    for row in range(lines):
        for line, begin, end, is_last in spans([state[row] for state in states], seconds):
            content, baseline = text(line, MARGIN, y + BAR + (row + 1) * LINE - 4)
            shown = "visible" if is_last else "hidden"
            times, values = ([0, begin], ["hidden", "visible"]) if begin else ([0], ["visible"])
            if not is_last:
                times, values = [*times, end], [*values, "hidden"]
            animation = ""
            if len(times) > 1:
                animation = (
                    f'<animate attributeName="visibility" dur="{seconds:.1f}s" repeatCount="indefinite" '
                    f'calcMode="discrete" keyTimes="{";".join(f"{time:.4g}" for time in times)}" '
                    f'values="{";".join(values)}"/>'
                )
            parts.append(f'<text xml:space="preserve" y="{baseline}" visibility="{shown}">{content}{animation}</text>')
    return parts, height


STYLE = """
text { font: 13px ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; fill: #ddd; white-space: pre; }
.name { fill: #999; text-anchor: middle; font-size: 12px; }
.window { fill: #1b1e24; stroke: #444; }
.b { font-weight: bold; } .d { fill: #999; }
""" + "\n".join(f".c{number} {{ fill: {colour}; }}" for number, colour in enumerate(COLOURS))


def main():
    target = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs/run.svg"
    programs = os.environ.get("RECORD_PROGRAMS", f"{ROOT}/target/release")
    frames = record(pathlib.Path(programs).resolve())
    seconds = len(frames) * TICK + HOLD
    above, height = terminal("server", [server for server, _ in frames], 0, seconds)
    below, more = terminal("client", [client for _, client in frames], height + 10, seconds)
    width = COLUMNS * CHARACTER + 2 * MARGIN
    label = "A server and a client in two terminals: five agencies send their bets, and the winners are printed"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height + 10 + more}" '
        f'viewBox="0 0 {width:g} {height + 10 + more}" role="img" aria-label="{label}">'
    )
    picture = "\n".join([head, f"<style>{STYLE}</style>", *above, *below, "</svg>", ""])
    target.write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
