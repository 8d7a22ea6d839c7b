"""Who has come? Asked before JAX joins the processes of a run, since JAX does not say who is missing: it aborts.

Process 0 listens at the address where JAX will meet a moment later. The others report there with their number and the
size of the run, and all hear the same answer: go on, or one line that names who is absent, twice there, or of another
run.
"""

import json
import select
import socket
import sys
import time
from collections.abc import Iterable

from seisjax.errors import UserError

_SAY_EVERY = 30.0  # s between two lines about who is waited for
_PATIENCE = 2.0  # s for a caller to say who it is, and of a new try to reach process 0


def call_roll(address: str, count: int, number: int, timeout: float) -> None:
    """Return when all `count` processes have reported at `address`, host:port of process 0; this one is `number`.

    Raises UserError, the same on every process that can be reached, when after `timeout` seconds some have not come,
    when two have the same number, and when they disagree about `count`.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise UserError(f"--coordinator_address={address}: no host:port; give a machine and a free port of it")
    if number == 0:
        _Roll(int(port), count).call(timeout)
    else:
        _report(host.strip("[]"), int(port), count, number, timeout)


def spans(numbers: Iterable[int]) -> str:
    """Numbers for people: `1, 3-5`."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in found)


class _Roll:
    """Process 0: who has reported so far, and the connections on which they wait."""

    def __init__(self, port: int, count: int):
        self.port, self.count = port, count
        self.present: dict[int, tuple[socket.socket | None, str]] = {0: (None, socket.gethostname())}
        self.refused: list[socket.socket] = []

    def call(self, timeout: float) -> None:
        with self._listen() as server:
            try:
                self._wait(server, timeout)
                self._answer("")
            except UserError as error:
                self._answer(str(error))
                raise

    def _listen(self) -> socket.socket:
        both = socket.has_dualstack_ipv6()
        try:
            return socket.create_server(
                ("", self.port), family=socket.AF_INET6 if both else socket.AF_INET, dualstack_ipv6=both, backlog=1024
            )
        except OSError as error:
            raise UserError(
                f"--coordinator_address: process 0 cannot listen on port {self.port} of {socket.gethostname()} "
                f"({error.strerror}); choose another port"
            ) from error

    def _wait(self, server: socket.socket, timeout: float) -> None:
        started = said = time.monotonic()
        while len(self.present) < self.count:
            waiting = {connection: number for number, (connection, _) in self.present.items() if connection}
            for ready in select.select([server, *waiting], [], [], 0.5)[0]:
                if ready is server:
                    self._admit(server.accept()[0])
                else:  # it said all it has to say: this is its end
                    ready.close()
                    del self.present[waiting[ready]]
            now = time.monotonic()
            absent = set(range(self.count)) - set(self.present)
            names = f"process{'es' * (len(absent) > 1)} {spans(absent)} of {self.count}"
            if absent and now - started > timeout:
                raise UserError(
                    f"--start_timeout: {names} did not come to process 0 on {socket.gethostname()}, port {self.port}, "
                    f"within {timeout:.0f} s; see why in their logs, or give them more time"
                )
            if absent and now - said > _SAY_EVERY:
                said = now
                _say(f"waiting for {names}, {timeout - (now - started):.0f} s more")

    def _admit(self, connection: socket.socket) -> None:
        message = _read(connection, _PATIENCE)
        if not {"process", "of", "host"} <= set(message):  # a stranger
            connection.close()
            return
        number, of, host = message["process"], message["of"], message["host"]
        if of == self.count and number not in self.present:
            self.present[number] = (connection, host)
            return
        self.refused.append(connection)
        if of != self.count:
            raise UserError(
                f"--num_processes: process {number} on {host} was started with {of}, process 0 with {self.count}; "
                "start all of a run with the same number"
            )
        raise UserError(
            f"--process_id: {number} came twice, from {self.present[number][1]} and from {host}; "
            f"give each process a number of its own, 0 to {self.count - 1}"
        )

    def _answer(self, error: str) -> None:
        for connection in [*self.refused, *(connection for connection, _ in self.present.values() if connection)]:
            with connection:
                try:
                    _write(connection, {"error": error})
                except OSError:  # it has gone; JAX's own meeting will say so
                    continue


def _report(host: str, port: int, count: int, number: int, timeout: float) -> None:
    """The other processes: report to process 0 and hear its answer."""
    started = said = time.monotonic()
    while True:
        try:
            with socket.create_connection((host, port), timeout=_PATIENCE) as connection:
                # A port in the range that clients are given may, while nobody listens, connect to itself.
                if connection.getsockname() != connection.getpeername():
                    _write(connection, {"process": number, "of": count, "host": socket.gethostname()})
                    # From here on process 0 looks at the clock.
                    answer = _read(connection, timeout + _SAY_EVERY)
                    if "error" in answer:
                        if answer["error"]:
                            raise UserError(answer["error"])
                        return
            reason = "what answers there is no run that starts"
        except OSError as error:
            reason = error.strerror or str(error)
        now = time.monotonic()
        if now - started > timeout:
            raise UserError(
                f"--coordinator_address={host}:{port}: process 0 of {count} did not come within {timeout:.0f} s "
                f"({reason}); see why in its log, mend the address, or give a longer --start_timeout"
            )
        if now - said > _SAY_EVERY:
            said = now
            _say(f"process {number} of {count} waits for process 0 at {host}:{port} ({reason})")
        time.sleep(0.3)


def _write(connection: socket.socket, message: dict[str, object]) -> None:
    connection.sendall(json.dumps(message).encode() + b"\n")


def _read(connection: socket.socket, timeout: float) -> dict:
    """One line as an object; empty where none comes within `timeout` seconds or it is none of ours."""
    connection.settimeout(timeout)
    line = b""
    try:
        while not line.endswith(b"\n") and len(line) < 65536:
            piece = connection.recv(4096)
            if not piece:
                break
            line += piece
        message = json.loads(line)
    except (OSError, ValueError):
        return {}
    return message if isinstance(message, dict) else {}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
