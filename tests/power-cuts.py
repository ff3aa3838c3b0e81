#!/usr/bin/env python3
"""Cuts the power under a running server, again and again: `make power-cuts`, as root, on Linux with /dev/fuse.

    python3 tests/power-cuts.py target/release/server [CUTS [SEED]]

The server's files are on a file system of this script's own, which speaks the kernel's FUSE protocol. A cut kills the
server and keeps any subset of the 512-byte sectors that were written since each file's last sync, any length that it
had since, and any beginning of the operations on names since the directory's. Then a server has to start, and have of
each agency every confirmed bet and whole batches alone. After some cuts the agencies ask for the draw, and the power is
cut after any of its operations on the disk: what an agency was told stands, over exactly the bets that are stored. Then
`--new-draw` sets the files aside under further cuts, which lose none of them, and the next lottery begins. Nothing but
Python is needed.
"""
import ctypes, os, random, re, signal, socket, struct, subprocess, sys, tempfile, threading, time

SECTOR, ROOT = 512, 1
ENOENT, EIO, ENOSYS = 2, 5, 38
WINNING_NUMBER, WINS_EACH = 7574, 50
PROGRAMS, PREFIX = [], f"power-cuts-{os.getpid()}-"
LIBC = ctypes.CDLL(None, use_errno=True)

class Node:
    def __init__(self):
        self.cached, self.durable, self.changes = bytearray(), bytearray(), []

    def change(self, offset, data):
        """Writes data, or cuts the file if there is none."""
        apply(self.cached, offset, data)
        self.changes.append((offset, data))

    def sync(self):
        self.durable, self.changes = bytearray(self.cached), []

    def cut(self, dice):
        share = dice.choice([0, 0.1, 0.5, 0.9, 1])
        length = len(self.durable)
        lengths = [length]
        for offset, data in self.changes:
            if data is None:
                length = offset
            else:
                length = max(length, offset + len(data))
                at = offset
                while at < offset + len(data):
                    end = min(offset + len(data), (at // SECTOR + 1) * SECTOR)
                    if dice.random() < share:
                        apply(self.durable, at, data[at - offset:end - offset])
                    at = end
            lengths.append(length)
        length = dice.choice([length, dice.randint(min(lengths), max(lengths))])
        apply(self.durable, length, None)
        self.cached, self.changes = bytearray(self.durable), []

def apply(content, offset, data):
    if data is None:
        del content[offset:]
        content.extend(bytes(offset - len(content)))
    else:
        content.extend(bytes(max(0, offset + len(data) - len(content))))
        content[offset:offset + len(data)] = data

class Disk:
    """What survives a cut, and a mount of it while there is power."""
    def __init__(self):
        self.nodes, self.names, self.durable_names, self.renames = {}, {}, {}, []
        self.next, self.lock = ROOT + 1, threading.Lock()
        # How many more requests are served before the power is gone. None: no end is set.
        self.left, self.is_dark = None, threading.Event()
        self.result = None

    def content(self, name):
        return bytes(self.nodes[self.names[name]].cached) if name in self.names else None

    def name(self, operation):
        operation(self.names)
        self.renames.append(operation)

    def mount(self):
        self.directory = tempfile.mkdtemp(prefix=PREFIX)
        self.device = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self.device},rootmode=40000,user_id=0,group_id=0".encode()
        if LIBC.mount(b"power-cuts", self.directory.encode(), b"fuse", 0, options) != 0:
            raise OSError(ctypes.get_errno(), "mount")
        self.thread = threading.Thread(target=self.serve, args=(self.device,), daemon=True)
        self.thread.start()

    def cut(self, dice):
        self.left = None
        self.is_dark.clear()
        LIBC.umount2(self.directory.encode(), 2)
        self.thread.join(20)
        os.close(self.device)
        os.rmdir(self.directory)
        for operation in self.renames[:dice.randint(0, len(self.renames))]:
            operation(self.durable_names)
        self.names, self.renames = dict(self.durable_names), []
        self.nodes = {node: file for node, file in self.nodes.items() if node in self.names.values()}
        for file in self.nodes.values():
            file.cut(dice)

    def serve(self, device):
        while True:
            try:
                request = os.read(device, 1 << 21)
            except OSError as error:
                if error.errno in (4, 2):
                    continue
                return
            length, opcode, unique, node = struct.unpack_from("<IIQQ", request)
            with self.lock:
                if self.left is not None:
                    self.left -= 1
                    if self.left < 0:
                        self.is_dark.set()
                reply = EIO if self.is_dark.is_set() else self.answer(opcode, node, request[40:length])
            if reply is None:
                continue
            error, body = (-reply, b"") if isinstance(reply, int) else (0, reply)
            try:
                os.write(device, struct.pack("<IiQ", 16 + len(body), error, unique) + body)
            except OSError:
                pass  # Whoever asked has been killed.

    def attributes(self, node):
        size, mode = (0, 0o40755) if node == ROOT else (len(self.nodes[node].cached), 0o100644)
        return struct.pack("<6Q10I", node, size, (size + 511) // 512, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def entry(self, node):
        return struct.pack("<4Q2I", node, 0, 0, 0, 0, 0) + self.attributes(node)

    def answer(self, opcode, node, body):
        if opcode == 26:  # INIT
            major, minor, readahead, _ = struct.unpack_from("<4I", body)
            return struct.pack("<4I2H2I2HI7I", 7, min(minor, 31), readahead, 1 << 5, 16, 12, 1 << 20, 1, 256, 0, 0, *[0] * 7)
        if opcode in (2, 36, 42):  # FORGET, INTERRUPT, BATCH_FORGET
            return None
        if opcode == 1:  # LOOKUP
            found = self.names.get(body.rstrip(b"\0"))
            return self.entry(found) if found else ENOENT
        if opcode == 3:  # GETATTR
            return struct.pack("<Q2I", 0, 0, 0) + self.attributes(node)
        if opcode == 4:  # SETATTR
            valid, _, _, size = struct.unpack_from("<IIQQ", body)
            if valid & 8:
                self.nodes[node].change(size, None)
            return struct.pack("<Q2I", 0, 0, 0) + self.attributes(node)
        if opcode == 35:  # CREATE
            name, new = body[16:].rstrip(b"\0"), self.next
            self.next += 1
            self.nodes[new] = Node()
            self.name(lambda names: names.__setitem__(name, new))
            return self.entry(new) + struct.pack("<QII", 0, 0, 0)
        if opcode in (14, 27):  # OPEN, OPENDIR
            return struct.pack("<QII", 0, 0, 0)
        if opcode == 15:  # READ
            _, offset, size = struct.unpack_from("<QQI", body)
            return bytes(self.nodes[node].cached[offset:offset + size])
        if opcode == 16:  # WRITE
            _, offset, size = struct.unpack_from("<QQI", body)
            self.nodes[node].change(offset, bytes(body[40:40 + size]))
            return struct.pack("<II", size, 0)
        if opcode == 20:  # FSYNC
            self.nodes[node].sync()
            return b""
        if opcode == 30:  # FSYNCDIR
            self.durable_names, self.renames = dict(self.names), []
            return b""
        if opcode == 10:  # UNLINK
            name = body.rstrip(b"\0")
            self.name(lambda names: names.pop(name, None))
            return b""
        if opcode in (12, 45):  # RENAME, RENAME2
            old, new = body[8 if opcode == 12 else 16:].rstrip(b"\0").split(b"\0")
            self.name(lambda names: names.__setitem__(new, names.pop(old)))
            return b""
        if opcode in (18, 25, 29, 34):  # RELEASE, FLUSH, RELEASEDIR, ACCESS
            return b""
        if opcode == 28:  # READDIR
            return b""
        return ENOSYS

class Agency:
    """Sends batches, several in flight, and knows where each ends."""
    def __init__(self, number):
        self.number, self.confirmed, self.ends = number, 0, []
        self.told = None

    def bet(self, place):
        number = 75 if place % WINS_EACH else WINNING_NUMBER
        return f"APUESTA|{self.number}|Ana|Paz|{10_000_000 + place}|2000-01-01|{number};"

    def ask(self, address):
        """Waits for the draw, and keeps what is told."""
        try:
            with socket.create_connection(address, timeout=60) as connection:
                connection.sendall(f"GANADORES|{self.number}\n".encode())
                line = connection.makefile("rb").readline()
                if line.startswith(b"GANADORES|") and line.endswith(b"\n"):
                    self.told = line
        except OSError:
            pass  # The power was cut.

    def winners(self):
        documents = [str(10_000_000 + place) for place in range(0, self.confirmed, WINS_EACH)]
        return f"GANADORES|{'|'.join(documents)}\n".encode()

    def run(self, address, dice):
        self.ends, sent = [], self.confirmed
        try:
            with socket.create_connection(address, timeout=10) as connection:
                replies = connection.makefile("rb")
                while True:
                    window = dice.randint(1, 4)
                    for _ in range(window):
                        bets = dice.choice([1, 3, 20, 120])
                        message = "".join(self.bet(place) for place in range(sent, sent + bets))
                        sent += bets
                        self.ends.append(sent)
                        connection.sendall(message.encode() + b"FINAPUESTA\n")
                    for _ in range(window):
                        if not replies.readline().startswith(b"CONFIRMARAPUESTA|"):
                            return
                        self.confirmed = self.ends.pop(0)
        except OSError:
            pass  # The power was cut.

    def check(self, address, cut):
        with socket.create_connection(address, timeout=10) as connection:
            connection.sendall(f"REANUDAR|{self.number}\n".encode())
            stored = int(connection.makefile("rb").readline().split(b"|")[1])
        allowed = [self.confirmed, *self.ends]
        assert stored in allowed, f"cut {cut}: agency {self.number} has {stored} bets, and may have {allowed}"
        self.confirmed = stored

def launch(server, disk, *flags):
    arguments = [server, "--address", "127.0.0.1:0", "--agencies", "3", *flags]
    files = {"BETS_FILE": f"{disk.directory}/bets.csv", "DRAW_FILE": f"{disk.directory}/sorteo.toml"}
    program = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, cwd="/tmp", env=files)
    PROGRAMS.append(program)
    return program

def start(server, disk):
    """Starts a server, and returns it with its address."""
    program, said = launch(server, disk), []
    for line in program.stderr:
        said.append(line)
        found = re.search(r"in_progress \| address: ([\d.]+):(\d+)", line)
        if found:
            threading.Thread(target=program.stderr.read, daemon=True).start()
            return program, (found[1], int(found[2]))
    raise AssertionError("the server does not start:\n" + "".join(said))

def cut_within_start(server, disk, dice):
    disk.mount()
    program = launch(server, disk)
    time.sleep(dice.random() * 0.05)
    return program, []

def cut_while_storing(server, disk, agencies, dice, cut):
    disk.mount()
    program, address = start(server, disk)
    for agency in agencies:
        agency.check(address, cut)
    threads = [threading.Thread(target=agency.run, args=(address, random.Random(dice.random()))) for agency in agencies]
    for thread in threads:
        thread.start()
    time.sleep(dice.random() * 0.3)
    return program, threads

def kill(program, threads, disk, dice):
    program.send_signal(signal.SIGKILL)
    program.wait()
    disk.cut(dice)
    for thread in threads:
        thread.join()

def cut_while_drawing(server, disk, agencies, dice, cut, operations):
    """Cuts the power after some operations of the draw. The server goes on without a disk for a moment."""
    disk.mount()
    program, address = start(server, disk)
    for agency in agencies:
        agency.check(address, cut)
    disk.left = dice.randint(0, operations)
    threads = [threading.Thread(target=agency.ask, args=(address,)) for agency in agencies]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads) and not disk.is_dark.is_set():
        time.sleep(0.001)
    time.sleep(dice.choice([0, 0.01]))
    before = disk.result
    kill(program, threads, disk, dice)
    disk.result = disk.content(b"sorteo.toml")
    assert before in (None, disk.result), f"cut {cut}: there was another result"
    for agency in agencies:
        if agency.told is not None:
            assert disk.result, f"cut {cut}: agency {agency.number} was told a result that is gone"
            assert agency.told == agency.winners(), f"cut {cut}: agency {agency.number} was told {agency.told[:100]}"
    if disk.result:
        counts = [int(count) for count in re.findall(rb"\nbets = (\d+)", disk.result)]
        assert counts == [agency.confirmed for agency in agencies], f"cut {cut}: the result counts {counts}"

def set_aside_under_cuts(server, disk, dice, cut, number):
    """Lets `--new-draw` end, or the power be cut after some of its operations, until the files are aside. Returns the
    number of cuts."""
    files = {b"bets.csv": b"bets.%d.csv" % number, b"sorteo.toml": b"sorteo.%d.toml" % number}
    contents = {old: disk.content(old) for old in files}
    cuts, is_aside = 0, False
    while not is_aside:
        disk.mount()
        cuts += 1
        # It has some 190 operations, and the last ones rename. Later rounds let it come to its end.
        disk.left = dice.randint(dice.choice([0, 140]), 180 + 20 * cuts)
        program = launch(server, disk, "--new-draw")
        said = program.communicate(timeout=20)[1]
        is_cut = disk.is_dark.is_set()
        disk.cut(dice)
        where = f"cut {cut + cuts}"
        for old, new in files.items():
            found = [disk.content(name) for name in (old, new) if name in disk.names]
            assert found == [contents[old]], f"{where}: {old.decode()} is there {len(found)} times, or is another"
        is_aside = all(name in disk.names for name in (*files.values(), b"bets.%d.journal" % number))
        assert is_aside or program.returncode == 1, f"{where}: it was said to be done:\n{said}"
        assert is_aside or is_cut, f"{where}: it ended by itself:\n{said}"
    assert not any(name in disk.names for name in (*files, b"bets.journal")), f"cut {cut + cuts}: {list(disk.names)}"
    return cuts

def main():
    server = os.path.abspath(sys.argv[1])
    cuts = int(sys.argv[2]) if len(sys.argv) > 2 else 300
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    dice = random.Random(seed)
    cut, early, drawing, aside, draws, bets = 0, 0, 0, 0, 0, 0
    disk, number = Disk(), 0
    while cut < cuts:
        agencies, number = [Agency(agency) for agency in (1, 2, 3)], number + 1
        for _ in range(dice.randint(1, 9)):
            cut += 1
            if dice.random() < 0.2:
                early += 1
                program, threads = cut_within_start(server, disk, dice)
            else:
                program, threads = cut_while_storing(server, disk, agencies, dice, cut)
            assert program.poll() is None, f"cut {cut}: the server had ended by itself: {program.returncode}"
            kill(program, threads, disk, dice)
        # A draw has some 25 operations. Later rounds let it come to its end.
        operations = 22
        while any(agency.told is None for agency in agencies):
            cut, drawing, operations = cut + 1, drawing + 1, operations + 2
            cut_while_drawing(server, disk, agencies, dice, cut, operations)
        disk.mount()
        program, address = start(server, disk)
        for agency in agencies:
            agency.check(address, cut)
        program.terminate()
        assert program.wait() == 0
        disk.cut(dice)
        assert disk.content(b"sorteo.toml") == disk.result, f"cut {cut}: there was another result"
        draws, bets = draws + 1, bets + sum(agency.confirmed for agency in agencies)
        cuts_aside = set_aside_under_cuts(server, disk, dice, cut, number)
        cut, aside, disk.result = cut + cuts_aside, aside + cuts_aside, None
        if dice.random() < 0.3:
            disk, number = Disk(), 0
    print(f"{cut} cuts from seed {seed}: {early} within a start, {drawing} around {draws} draws, and {aside} while their "
          f"files were set aside. {bets} bets are stored, none was lost, each draw was held once, and each file is there")

if __name__ == "__main__":
    try:
        main()
    finally:
        # Of a run that failed the server and its file system are still there.
        for program in PROGRAMS:
            program.kill()
        for mount in open("/proc/mounts"):
            if mount.startswith("power-cuts ") and os.path.basename(mount.split()[1]).startswith(PREFIX):
                LIBC.umount2(mount.split()[1].encode(), 2)
