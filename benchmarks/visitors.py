"""Many visitors at once, each in a session of its own: how fast pages answer, memory, and who sees what.

    nice python benchmarks/visitors.py --visitors 30 --training 5 --minutes 10
    nice python benchmarks/visitors.py --visitors 4 --training 1 --minutes 60 --stay 10     # they come and go

It starts the app as a shared server with a store of its own. Each visitor speaks to it as a browser does, by a
WebSocket with a cookie of its own, has a table under a name of its own, and goes from page to page. Some train. At each
step a visitor asserts that no name of another is in what the server sent. A reaction is the time from the request until
the server has sent the whole page. Nothing is drawn: thirty browsers would measure themselves. Prints the figures of
docs/reliability.md.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import statistics
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from deepfm_core.schema.infer import infer_schema  # noqa: E402
from deepfm_core.spec.presets import preset  # noqa: E402
from deepfm_core.spec.run import RunSpec  # noqa: E402
from deepfm_core.store.store import Store  # noqa: E402
from tests.browser.conftest import Server  # noqa: E402

PAGES = ("data", "runs", "learn", "performance", "interactions", "train")
SUBPROTOCOL, FINISHED = Subprotocol("streamlit"), ForwardMsg.FINISHED_SUCCESSFULLY


@dataclass
class Seen:
    """What all visitors met."""

    seconds: list[float] = field(default_factory=list)
    crossed: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    own: int = 0
    sessions: int = 0


def content(number: int) -> bytes:
    chance = random.Random(number)
    lines = [f"click,a,b,own{number}"]
    for _ in range(400):
        a, b = chance.choice("xyz"), chance.choice("uvw")
        lines.append(
            f"{int(chance.random() < (0.8 if (a == 'x') == (b == 'u') else 0.2))},{a},{b},{chance.randrange(20)}"
        )
    return "\n".join(lines).encode() + b"\n"


def owner(number: int) -> str:
    return f"{number:032x}"


def prepare(home: Path, visitors: int, training: int) -> None:
    """Give each visitor a table of its own; those who train have runs that wait, one of them many more than others."""
    with closing(Store(home)) as store:
        for number in range(visitors):
            sha = store.import_table(content(number), f"table-of-{number}-only", owner(number)).sha256
            if number < training:
                table = store.table(sha, owner(number))
                model, fit = preset("recommended", "deepfm", 300)
                schema = infer_schema(table, "click")
                for run in range(40 if number == 0 else 2):
                    spec = RunSpec(sha, f"table-of-{number}-only", schema, model=model, fit=fit, seed=run)
                    store.enqueue(spec, f"run-of-{number}-only", owner(number))


async def visit(server: Server, number: int, until: float, stay: int, seen: Seen) -> None:
    """Go from page to page; after `stay` pages the visitor closes the browser and comes again."""
    chance = random.Random(number)
    while time.monotonic() < until:
        await session(server, number, until, stay, chance, seen)
        seen.sessions += 1


async def session(server: Server, number: int, until: float, stay: int, chance: random.Random, seen: Seen) -> None:
    address = f"ws://localhost:{server.port}/_stcore/stream"
    cookie = {"Cookie": f"deepfm_visitor={owner(number)}"}
    async with connect(
        address, additional_headers=cookie, subprotocols=[SUBPROTOCOL], max_size=None, ping_interval=None
    ) as socket:
        for _ in range(stay):
            if time.monotonic() > until:
                return
            name = chance.choice(PAGES)
            began = time.monotonic()
            await socket.send(BackMsg(rerun_script=ClientState(page_name=name)).SerializeToString())
            sent = await page_sent(socket)
            seen.seconds.append(time.monotonic() - began)
            look(sent, number, name, seen)
            await asyncio.sleep(chance.uniform(1, 9))  # a person reads


async def page_sent(socket: ClientConnection) -> str:
    """Return all that the server sends of a page, until it says that the page is whole."""
    parts = []
    while True:
        message = ForwardMsg.FromString(await socket.recv(decode=False))
        parts.append(str(message))
        if message.WhichOneof("type") == "script_finished" and message.script_finished == FINISHED:
            return "\n".join(parts)


def look(text: str, number: int, name: str, seen: Seen) -> None:
    """Note names of others, and a page of one's own that does not name what one has."""
    others = re.findall(r"(?:table|run)-of-(\d+)-only|\bown(\d+)\b", text)
    numbers = {int(one or two) for one, two in others}
    if numbers - {number}:
        seen.crossed.append(f"visitor {number} saw {sorted(numbers - {number})} on {name}")
    seen.own += number in numbers
    if "Something unexpected" in text or "exception {" in text:
        seen.failed.append(name)


async def watch(server: Server, until: float, memory: list[int]) -> None:
    while time.monotonic() < until:
        memory.append(psutil.Process(server._process.pid).memory_info().rss)
        await asyncio.sleep(5)


async def all_at_once(server: Server, asked: argparse.Namespace, seen: Seen, memory: list[int]) -> None:
    until = time.monotonic() + 60 * asked.minutes
    visits = [visit(server, number, until, asked.stay, seen) for number in range(asked.visitors)]
    await asyncio.gather(*visits, watch(server, until, memory))


def turns(home: Path) -> str:
    """Say in which order the visitors' runs were taken up."""
    with closing(Store(home)) as store:
        runs = sorted((run for run in store.runs() if run.started), key=lambda run: run.started or 0.0)
    return " ".join(str(int(run.owner, 16)) for run in runs)


def tell(asked: argparse.Namespace, seen: Seen, memory: list[int], order: str) -> None:
    seconds, megabytes = sorted(seen.seconds), [value / 1e6 for value in memory]
    most = max(megabytes)
    print(f"{asked.visitors} visitors, {asked.training} train, {asked.minutes} minutes, {os.cpu_count()} processors")
    print(f"load of the machine at the end {os.getloadavg()[0]:.1f}; {len(seconds)} pages")
    print(f"reaction: median {statistics.median(seconds):.1f} s, 95% {seconds[int(0.95 * len(seconds))]:.1f} s")
    print(f"slowest reaction: {seconds[-1]:.1f} s")
    print(f"server: {megabytes[0]:.0f} MB before, {most:.0f} MB at most")
    print(f"a session: {(most - megabytes[0]) / asked.visitors:.1f} MB")
    print(f"server over time, MB: {' '.join(f'{value:.0f}' for value in megabytes[:: max(len(memory) // 12, 1)])}")
    print(f"pages with names of one's own: {seen.own}")
    print(f"names of others seen: {len(seen.crossed)} {seen.crossed[:3]}")
    print(f"failures: {len(seen.failed)} {seen.failed[:3]}")
    print(f"runs were taken up in this order of visitors: {order}")


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--visitors", type=int, default=30)
    given.add_argument("--training", type=int, default=5)
    given.add_argument("--minutes", type=float, default=3.0)
    given.add_argument("--stay", type=int, default=10**9, help="pages after which a visitor leaves and comes again")
    asked = given.parse_args()
    seen, memory = Seen(), list[int]()
    with tempfile.TemporaryDirectory(prefix="visitors-") as folder:
        home = Path(folder) / "home"
        prepare(home, asked.visitors, asked.training)
        server = Server(home, "app/server.py", DEEPFM_PRIVATE="1")
        process = psutil.Process(server._process.pid)
        before = process.memory_info().rss
        try:
            asyncio.run(all_at_once(server, asked, seen, memory))
        finally:
            order, worked = turns(home), process.cpu_times()
            server.close()
    tell(asked, seen, [before, *memory], order)
    print(f"processor a page: {(worked.user + worked.system) / len(seen.seconds):.2f} s")
    sys.exit(bool(seen.crossed))


if __name__ == "__main__":
    main()
