"""Both databases of the store: what the tests say holds for SQLite and for PostgreSQL, whose server is started here."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from tempfile import mkdtemp
from urllib.parse import quote

import pytest

from deepfm_core.store.database import Database

NUMBERS = count()
SWEEP = 'read _; "$@"; rm -rf "$0"'
"""Of a shell: waits until its input ends, then does what it is given and removes the folder."""
NO_SERVER = "PostgreSQL is not installed (`apt-get install postgresql`, `pip install psycopg[binary]`)."


def _programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, which Debian does not put on the path."""
    found = shutil.which("initdb")
    places = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "initdb").exists()), None)


def _has_user() -> bool:
    """Say whether a server can be run as the user that Debian makes for it."""
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        return False
    return shutil.which("runuser") is not None


class Cluster:
    """A PostgreSQL server of its own, reached by a socket in its folder. It does not wait for disks.

    A process beside it ends it and removes the folder as soon as this process lets go of it, also by being killed.
    """

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._folder = programs, folder
        self._as = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []  # it refuses to run as root
        self._sweeper = subprocess.Popen(
            ["sh", "-c", SWEEP, str(folder), *self._command("pg_ctl", *self._stopping)],
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # what is typed or sent to the tests' group does not end it
        )
        if self._as:
            shutil.chown(folder, "postgres")
        self._do("initdb", "-A", "trust", "-U", "postgres", "-N", "-D", f"{folder}/data")
        self.start()

    @property
    def _stopping(self) -> tuple[str, ...]:
        return "-w", "-D", f"{self._folder}/data", "-m", "immediate", "stop"

    def _command(self, program: str, *arguments: str) -> list[str]:
        return [*self._as, str(self._programs / program), *arguments]

    def _do(self, program: str, *arguments: str) -> None:
        subprocess.run(
            self._command(program, *arguments),
            cwd="/",
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )

    def start(self) -> None:
        options = f"-c listen_addresses='' -k {self._folder} -c fsync=off -c max_connections=60"
        self._do("pg_ctl", "-w", "-D", f"{self._folder}/data", "-l", f"{self._folder}/log", "-o", options, "start")

    def stop(self) -> None:
        self._do("pg_ctl", *self._stopping)

    def close(self) -> None:
        """Let go of the server, and wait until it and its folder are gone."""
        assert self._sweeper.stdin
        self._sweeper.stdin.close()
        self._sweeper.wait()

    def fresh_url(self) -> str:
        """Make an empty schema, and return the URL of a database that is nothing but that."""
        import psycopg

        name, host = f"s{next(NUMBERS)}", quote(str(self._folder), safe="")
        whole = f"postgresql://postgres@{host}/postgres"
        with psycopg.connect(whole, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}".encode())
        return f"{whole}?options=-c%20search_path%3D{name}"


@pytest.fixture(scope="session")
def programs() -> Path:
    """The folder of PostgreSQL's programs, where a server can be run here."""
    pytest.importorskip("psycopg", reason=NO_SERVER)
    if (programs := _programs()) is None:
        pytest.skip(NO_SERVER)
    if os.getuid() == 0 and not _has_user():
        pytest.skip("PostgreSQL refuses to run as root, and there is no user `postgres` to run it as.")
    return programs


@pytest.fixture(scope="session")
def cluster(programs: Path) -> Iterator[Cluster]:
    server = Cluster(
        programs, Path(mkdtemp(prefix="pg-"))
    )  # in no test's folder: a socket's path has 107 bytes at most
    yield server
    server.close()


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have stores use each database in turn, each test an empty one; give its URL."""
    url = "" if request.param == "sqlite" else request.getfixturevalue("cluster").fresh_url()
    monkeypatch.setenv("DEEPFM_DATABASE", url)
    return url


@pytest.fixture
def other_writer(database: str, tmp_path: Path) -> Iterator[Database]:
    """A second connection to the database of the store at `tmp_path / "home"`."""
    other = Database(tmp_path / "home" / "runs.db", url=database)
    yield other
    other.close()
