"""Workers and producers, real processes, killed again and again: nothing is lost, and nothing is done twice.

`ECROSS_TEST_KILLS` sets how many are killed: more than a few take their time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any, Final

import pytest

KILLS: Final = int(os.environ.get("ECROSS_TEST_KILLS", "20"))

SCRIPT: Final = """
import json, os, random, signal, sys, time
from contextlib import closing
from sqlalchemy import text
from ecross_server.jobs.service import queue_job
from ecross_server.jobs.tasks import Kind, Policy, Runner
from ecross_server.kit.database import Database
from ecross_server.kit.logs import configure_logs

url, kills, workers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
configure_logs("json", "error")
POLICY = Policy(most_attempts=10_000, first_delay_seconds=0.001, longest_delay_seconds=0.001)

def handle(job, finish):
    with finish() as session:
        session.execute(text("INSERT INTO test_effects VALUES (:n)"), {"n": job.payload["n"]})
        queue_job(session, "test.follow", dict(job.payload), key=f"k/{job.payload['n']}")

def follow(job, finish):
    with finish() as session:
        for payload in (job.payload, *finish.take_along(session, "k/", len)):
            session.execute(text("INSERT INTO test_effects VALUES (:n)"), {"n": -payload["n"]})

KINDS = {
    "test.change": Kind(handle, POLICY),
    "test.follow": Kind(follow, Policy(most_attempts=10_000, most_along=5, first_delay_seconds=0.001,
        longest_delay_seconds=0.001)),
}

def work(place):
    Runner(Database(url), KINDS, worker=f"w{place}", poll_seconds=0.002).run_until(lambda s: time.sleep(s) or False)

def produce(place):
    database = Database(url)
    for number in range(1, 10**6):
        n = 10**6 * (os.getpid() % 1000) + number
        with database.write() as session:
            session.execute(text("INSERT INTO test_changes VALUES (:n)"), {"n": n})
            queue_job(session, "test.change", {"n": n})
        os.write(tell, b"1")
        time.sleep(0.003)

def start(place):
    pid = os.fork()
    if not pid:
        (produce if place == workers else work)(place)
    return pid

with closing(Database(url)) as database, database.write() as session:
    for table in ("test_changes", "test_effects"):
        session.execute(text(f"DROP TABLE IF EXISTS {table}"))
        session.execute(text(f"CREATE TABLE {table} (n BIGINT)"))
told, tell = os.pipe()
running = {place: start(place) for place in range(workers + 1)}
chance = random.Random(7)
for _ in range(kills):
    os.read(told, 65536)  # something has happened since the last one
    time.sleep(chance.uniform(0.01, 0.08))
    place = chance.randrange(workers + 1)
    os.kill(running[place], signal.SIGKILL)
    os.waitpid(running[place], 0)
    running[place] = start(place)
for pid in running.values():
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
with closing(Database(url)) as database:
    runners = [Runner(database, KINDS, worker=f"w{place}") for place in range(workers)]
    for runner in runners:
        runner.release()
    time.sleep(0.01)
    runners[0].run_due()
    with database.read() as session:
        counted = {table: [n for (n,) in session.execute(text(f"SELECT n FROM {table} ORDER BY n"))]
                for table in ("test_changes", "test_effects")}
        counted["left"] = session.execute(text("SELECT count(*) FROM jobs")).scalar_one()
    with database.write() as session:
        for table in ("test_changes", "test_effects"):
            session.execute(text(f"DROP TABLE {table}"))
print(json.dumps(counted))
"""


@pytest.mark.unmeasured
@pytest.mark.usefixtures("database")
def test_killed_workers_lose_and_double_nothing(database_url: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, database_url, str(KILLS), "2"], capture_output=True, check=False, timeout=100
    )
    assert ended.returncode == 0, ended.stderr.decode()
    told: Any = json.loads(ended.stdout)
    changes = told["test_changes"]
    assert len(changes) >= KILLS
    assert len(set(changes)) == len(changes)
    assert told["test_effects"] == [*(-n for n in reversed(changes)), *changes]
    assert told["left"] == 0
