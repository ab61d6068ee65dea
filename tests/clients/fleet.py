"""Several `serve` processes beside one emulator, as a deployment runs them: with short times."""

import calendar
import contextlib
import copy
import json
import pathlib
import random
import subprocess
import sys
import threading
import time

import boto3
import botocore.config

from conftest import REPOSITORY, request
from process import Process, aws_environment

REGION = "us-west-2"
ACCOUNT = "123456789012"

# Short enough for a test, in the proportions of the defaults.
TIMES = {
    "keys": {"refresh_every": "200ms", "max_staleness": "1s"},
    "rotation": {"propagation_wait": "500ms", "drain_margin": "3s", "reconcile_every": "400ms"},
    "tokens": {"default_ttl": "2s", "max_ttl": "2s"},
}


class Fleet:
    """An emulator, and as many `serve` as are started."""

    def __init__(self, binary, folder, settings=None, env=None, emulator=()):
        self.binary = binary
        self.folder = pathlib.Path(folder)
        self.env = {**aws_environment(REGION), **(env or {})}
        command = [
            binary, "emulator", "--listen", "127.0.0.1:0", "--auto-live",
            "--data-dir", str(self.folder / "emulator"), *emulator,
        ]  # fmt: skip
        self.emulator = Process(command, self.folder / "emulator.log", self.env)
        self.processes = [self.emulator]
        self.env["AWS_ENDPOINT_URL_IVS"] = self.emulator.url
        try:
            self.set_up(settings or {})
        except BaseException:
            self.close()
            raise

    def set_up(self, settings):
        """A configuration, a client, and a private channel."""
        self.write_config(settings)
        client = self.cli(
            "clients", "create", "test", "--output", "json",
            *(word for scope in SCOPES for word in ("--scope", scope)),
        )  # fmt: skip
        client = json.loads(client.stdout)
        self.credential = client["credential"]
        self.env["IVS_PLAYBACK_AUTH_CLIENTS"] = client["entry"]
        self.channel = self.ivs().create_channel(name="show", authorized=True)["channel"]

    def write_config(self, settings):
        sections = {
            # Limits that a machine which stands still for some seconds does not meet.
            "server": {"listen": "127.0.0.1:0", "request_timeout": "60s"},
            "channels": {"deadline": "30s"},
            "ivs": {"regions": [REGION], "account_id": ACCOUNT, "timeout": "10s"},
            **copy.deepcopy(TIMES),
        }
        for section, keys in settings.items():
            sections[section] = {**sections.get(section, {}), **keys}
        sections["keys"].setdefault("dir", str(self.keys_dir))
        lines = []
        for section, keys in sections.items():
            lines.append(f"[{section}]")
            lines.extend(f"{key} = {json.dumps(value)}" for key, value in keys.items())
        self.config.write_text("\n".join(lines) + "\n")

    @property
    def config(self):
        return self.folder / "config.toml"

    @property
    def keys_dir(self):
        return self.folder / "keys"

    def private_keys(self):
        return sorted(self.keys_dir.glob(f"{REGION}/*.pem"))

    def environment(self):
        """For a client of AWS beside it."""
        return dict(self.env)

    def serve(self, env=None):
        name = f"serve-{len(self.processes)}.log"
        command = [self.binary, "--config", str(self.config), "serve"]
        process = Process(command, self.folder / name, {**self.env, **(env or {})})
        self.processes.append(process)
        return process

    def cli(self, *arguments, check=True, env=None):
        """This project's own command line beside the servers."""
        done = subprocess.run(
            [self.binary, "--config", str(self.config), *arguments],
            env={**self.env, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    def cli_started(self, *arguments):
        """The same without waiting for its end."""
        return subprocess.Popen(
            [self.binary, "--config", str(self.config), *arguments],
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def call(self, process, method, path, body=None, headers=None):
        headers = {"authorization": f"Bearer {self.credential}", **(headers or {})}
        return request(method, process.url + path, body, headers)

    def metrics(self, process):
        return self.call(process, "GET", "/metrics").text

    def mint(self, process, **members):
        """An answer, whatever it is."""
        return self.call(process, "POST", "/v1/tokens", {"channel": self.channel["arn"], **members})

    def rotate(self, process, **members):
        return self.call(process, "POST", "/v1/key-pairs/rotations", members)

    def rotations(self, process):
        answer = self.call(process, "GET", "/v1/key-pairs/rotations")
        assert answer.status == 200, answer.text
        return answer.json["rotations"]

    def play(self, token):
        """What the edge answers to a viewer who begins with this token."""
        return request("GET", f"{self.channel['playbackUrl']}?token={token}")

    def ivs(self, region=REGION):
        return boto3.client(
            "ivs",
            endpoint_url=self.emulator.url,
            region_name=region,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=botocore.config.Config(retries={"total_max_attempts": 1}),
        )

    def pairs(self):
        return self.ivs().list_playback_key_pairs()["keyPairs"]

    def fault(self, **members):
        answer = request("POST", self.emulator.url + "/_emulator/faults", members)
        assert answer.status == 201, answer.text
        return answer.json

    def log(self):
        return "".join(process.log_path.read_text() for process in self.processes)

    def close(self):
        for process in self.processes:
            process.stop()


SCOPES = [
    "tokens:mint", "tokens:inspect", "channels:read", "keys:read", "keys:write", "viewers:revoke",
    "metrics:read",
]  # fmt: skip


class Viewers:
    """Threads that ask for tokens without pause, play each at once and again in its last moment."""

    def __init__(self, fleet, count=3):
        self.fleet = fleet
        self.server = None
        """Where to mint now; `None` while there is no server."""
        self.failed = []
        self.refused = []
        self.minted = 0
        self.signers = set()
        self.stopping = False
        self.lock = threading.Lock()
        self.late = []
        self.threads = [threading.Thread(target=self.ask) for _ in range(count)]
        self.threads.append(threading.Thread(target=self.play_late))
        for thread in self.threads:
            thread.start()

    def ask(self):
        while not self.stopping:
            server = self.server
            if server is None:
                time.sleep(0.005)
                continue
            try:
                answer = self.fleet.mint(server)
            except Exception as error:  # none, or one that was cut in its middle
                # Killed meanwhile: not up. A server that is up must answer.
                if self.server is server and server.process.poll() is None:
                    self.failed.append(repr(error))
                continue
            with self.noting():
                self.take(answer)

    def take(self, answer):
        assert answer.status == 200, answer.text
        token = answer.json["token"]
        expires = seconds(answer.json["expiresAt"])
        self.play(token, expires, "at once")
        with self.lock:
            self.minted += 1
            self.signers.add(answer.json["keyPairArn"])
            self.late.append((expires, token))

    def play_late(self):
        while True:
            with self.lock:
                soon = [it for it in self.late if it[0] - time.time() < 0.35]
                self.late = [it for it in self.late if it[0] - time.time() >= 0.35]
                rest = bool(self.late)
            for expires, token in soon:
                with self.noting():
                    self.play(token, expires, "in its last moment")
            if self.stopping and not rest:
                return
            time.sleep(0.01)

    @contextlib.contextmanager
    def noting(self):
        """What goes wrong in a thread would end it unseen."""
        try:
            yield
        except Exception as error:
            self.failed.append(repr(error))

    def play(self, token, expires, when):
        answer = self.fleet.play(token)
        # One that expired on the way here says nothing.
        if answer.status != 200 and time.time() < expires:
            self.refused.append(f"{when}: {answer.text}")

    def stop(self):
        self.stopping = True
        for thread in self.threads:
            thread.join()


class Moto:
    """AWS Secrets Manager, as moto plays it."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, str(REPOSITORY / "tests/moto/server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.port = int(self.process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}"

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=120)
        self.process.stdout.close()


class Metronome:
    """A thread that adds up how long this machine let it sleep beyond what it asked for."""

    BEAT = 0.05

    def __enter__(self):
        self.overslept = 0.0
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.beat)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()

    def beat(self):
        began = time.monotonic()
        while not self.stopping.wait(self.BEAT):
            now = time.monotonic()
            self.overslept += now - began - self.BEAT
            began = now


def seconds(instant):
    """RFC 3339 as Unix seconds."""
    return calendar.timegm(time.strptime(instant, "%Y-%m-%dT%H:%M:%SZ"))


def wait_for(condition, seconds=300, what="it"):
    """The first true value of `condition`; the limit is only there so that a test ends."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} did not happen in {seconds} s"
        time.sleep(0.05)


def kill_at_random(fleet, viewers, kills, rng=random.Random(1)):
    """Kills the one server again and again, and starts it again at once."""
    for _ in range(kills):
        server = fleet.serve()
        viewers.server = server
        time.sleep(rng.uniform(0.05, 2.0))
        viewers.server = None
        server.kill()
