"""Fills Feast's online store with features of so many accounts, and serves them by Feast's own Python server.

usage: serve.py DIRECTORY ACCOUNTS, with FEAST_ONLINE_STORE=sqlite (the default) or redis. Prints `URL PID VERSIONS` once it answers.
"""

import os
import pathlib
import random
import socket
import subprocess
import sys
import time
import urllib.request

import feast
import pandas as pd
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Float64

SIZES = {"v20": 20, "v50": 50}
BATCH = 2000


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_redis(directory):
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(directory)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    version = subprocess.run(["redis-server", "--version"], capture_output=True, text=True).stdout.split()[2].removeprefix("v=")
    return server, {"type": "redis", "connection_string": f"127.0.0.1:{port}"}, f"redis-{version}"


def settings(directory, online_store):
    lines = "".join(f"  {key}: {value}\n" for key, value in online_store.items())
    text = f"project: peer\nregistry: {directory}/registry.db\nprovider: local\nentity_key_serialization_version: 3\nonline_store:\n{lines}"
    (directory / "feature_store.yaml").write_text(text)


def fill(store, directory, accounts):
    account = Entity(name="account", join_keys=["account"], value_type=ValueType.INT64)
    views = {}
    for name, size in SIZES.items():
        # Nothing is read from it: features are written to the online store below.
        source = FileSource(name=f"{name}_source", path=f"{directory}/{name}.parquet", timestamp_field="at")
        schema = [Field(name=f"f{at}", dtype=Float64) for at in range(size)]
        views[name] = FeatureView(name=f"{name}_view", entities=[account], ttl=None, schema=schema, source=source, online=True)
        draw(range(1), size).to_parquet(f"{directory}/{name}.parquet")
    services = [FeatureService(name=name, features=[view]) for name, view in views.items()]
    store.apply([account, *views.values(), *services])
    for name, size in SIZES.items():
        for first in range(0, accounts, BATCH):
            store.write_to_online_store(f"{name}_view", draw(range(first, min(first + BATCH, accounts)), size))


def draw(accounts, size):
    numbers = random.Random(accounts[0])
    at = pd.Timestamp("2024-02-20", tz="UTC")
    columns = {f"f{feature}": [numbers.random() * 1000 for _ in accounts] for feature in range(size)}
    return pd.DataFrame({"account": list(accounts), "at": at, **columns})


def main():
    directory, accounts = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    directory.mkdir(parents=True, exist_ok=True)
    kind = os.environ.get("FEAST_ONLINE_STORE", "sqlite")
    redis = None
    if kind == "redis":
        redis, online_store, version = start_redis(directory)
    else:
        import sqlite3

        online_store, version = {"type": "sqlite", "path": f"{directory}/online.db"}, f"sqlite-{sqlite3.sqlite_version}"
    settings(directory, online_store)
    fill(FeatureStore(repo_path=str(directory)), directory, accounts)
    port = free_port()
    workers = os.environ.get("FEAST_WORKERS", "2")
    command = [str(pathlib.Path(sys.executable).parent / "feast"), "--chdir", str(directory), "serve", "--port", str(port), "--no-access-log"]
    # Workers are not to be replaced in the midst, and the registry is read once.
    command += ["--workers", workers, "--max-requests", "100000000", "--registry_ttl_sec", "3600"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=open(directory / "server.log", "w"))
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{url}/health", timeout=1).read()
                break
            except OSError:
                time.sleep(0.1)
        else:
            sys.exit(f"feast does not answer: see {directory}/server.log")
        # Of Redis's processor time too: it is where the values are.
        print(url, os.getpid(), f"feast-{feast.__version__}", version, f"python-{sys.version.split()[0]}", f"{workers}-workers", flush=True)
        sys.stdin.read()
    finally:
        server.terminate()
        server.wait()
        if redis:
            redis.terminate()


main()
