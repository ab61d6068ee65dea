"""The built binary as outsiders meet it: started as a process, spoken to over loopback."""

import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys
import urllib.error
import urllib.request

import boto3
import botocore.config
import pytest

from process import Process

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def binary():
    path = os.environ.get(
        "IVS_PLAYBACK_AUTH_BIN", str(REPOSITORY / "target/debug/ivs-playback-auth")
    )
    path = pathlib.Path(path).absolute()
    assert path.exists(), f"{path} is missing: run `cargo build`, or tests/run clients"
    return str(path)


@dataclasses.dataclass
class Answer:
    status: int
    headers: dict
    """By lower-case name."""
    content: bytes

    @property
    def text(self):
        return self.content.decode()

    @property
    def json(self):
        return json.loads(self.text)


def request(method, url, body=None, headers=None):
    """One HTTP exchange; an error status is an answer like any other."""
    headers = dict(headers or {})
    data = None
    if body is not None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers.setdefault("content-type", "application/json")
    call = urllib.request.Request(url, data=data, headers=headers, method=method)
    try:
        # Only so that a test ends: no answer is promised to come within it.
        with urllib.request.urlopen(call, timeout=300) as response:
            return Answer(response.status, lower(response.headers), response.read())
    except urllib.error.HTTPError as error:
        return Answer(error.code, lower(error.headers), error.read())


def lower(headers):
    return {name.lower(): value for name, value in headers.items()}


class Dev:
    """`ivs-playback-auth dev` on free ports, with a data folder of its own."""

    def __init__(self, binary, folder, arguments=(), env=None, listen="127.0.0.1:0"):
        self.binary = binary
        self.folder = pathlib.Path(folder)
        self.arguments = list(arguments)
        self.env = env
        self.listen = listen
        self.start()

    def start(self):
        self.server = Process(
            [
                self.binary,
                "dev",
                "--listen",
                self.listen,
                "--emulator-listen",
                "127.0.0.1:0",
                "--data-dir",
                str(self.data_dir),
                *self.arguments,
            ],
            self.folder / "log.txt",
            self.env,
        )
        self.url = self.server.url
        try:
            self.emulator_url = self.environment()["AWS_ENDPOINT_URL"]
        except BaseException:
            self.stop()
            raise

    @property
    def output(self):
        """The lines that it has printed since it was last started."""
        return self.server.output

    @property
    def data_dir(self):
        return self.folder / "dev"

    @property
    def credential(self):
        return (self.data_dir / "api-key").read_text().strip()

    def environment(self, before=None):
        """What `. <data-dir>/env` leaves in a shell that had variables before."""
        script = f'set -a; . "{self.data_dir}/env"; env -0'
        output = subprocess.run(
            ["sh", "-c", script], stdout=subprocess.PIPE, check=True,
            env={"PATH": os.environ["PATH"], **(before or {})},
        ).stdout
        return dict(item.split("=", 1) for item in output.decode().split("\0") if "=" in item)

    def call(self, method, path, body=None, headers=None, credential=None):
        headers = {"authorization": f"Bearer {credential or self.credential}", **(headers or {})}
        return request(method, self.url + path, body, headers)

    def mint(self, **members):
        answer = self.call("POST", "/v1/tokens", {"channel": "demo", **members})
        assert answer.status == 200, answer.text
        return answer.json

    def ivs(self, **arguments):
        environment = self.environment()
        return boto3.client(
            "ivs",
            endpoint_url=self.emulator_url,
            region_name=arguments.pop("region_name", environment["AWS_REGION"]),
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
            config=botocore.config.Config(retries={"total_max_attempts": 1}),
            **arguments,
        )

    def demo_channel(self):
        channels = self.ivs().list_channels(filterByName="demo")["channels"]
        assert len(channels) == 1, channels
        return self.ivs().get_channel(arn=channels[0]["arn"])["channel"]

    def cli(self, *arguments, check=True):
        """This project's own command line, in the environment that `dev` wrote."""
        return subprocess.run(
            [self.binary, *arguments],
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            check=check,
        )

    def kill(self):
        self.server.kill()

    def stop(self):
        return self.server.stop()


@pytest.fixture(scope="module")
def dev(binary, tmp_path_factory):
    server = Dev(binary, tmp_path_factory.mktemp("dev"))
    yield server
    server.stop()


@pytest.fixture
def start_dev(binary, tmp_path):
    """Starts `dev` with arguments or an environment of one's own."""
    started = []

    def start(arguments=(), env=None):
        server = Dev(binary, tmp_path, arguments, env)
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def aws():
    """The `aws` CLI of this environment."""
    program = pathlib.Path(sys.executable).parent / "aws"
    assert program.exists(), f"{program} is missing: run tests/run clients"

    def run(server, *arguments, check=True):
        environment = server.environment()
        environment["AWS_MAX_ATTEMPTS"] = "1"
        environment["AWS_PAGER"] = ""
        return subprocess.run(
            [str(program), *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            check=check,
        )

    return run


ERROR_CODE = re.compile(r"An error occurred \((\w+)\)")
