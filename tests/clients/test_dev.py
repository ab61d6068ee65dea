"""`dev` as a newcomer runs it: state that survives, an environment that works, nothing leaked."""

import base64
import json
import os
import pathlib
import pty
import random
import stat
import subprocess
import sys
import time

import pytest

from conftest import Dev, request


def test_sigterm_ends_it_well(start_dev):
    assert start_dev().stop() == 0


def test_the_written_environment_works_for_the_cli_and_for_aws(dev, aws):
    arn = dev.demo_channel()["arn"]
    assert aws(dev, "ivs", "list-channels", "--query", "channels[0].arn", "--output", "text") \
        .stdout.strip() == arn  # fmt: skip
    assert arn in dev.cli("channels", "get", "demo").stdout
    assert arn in dev.cli("channels", "list").stdout
    listed = dev.cli("keys", "list", "--output", "json").stdout
    assert '"state": "active"' in listed
    minted = dev.cli("token", "mint", "--channel", "demo", "--output", "json").stdout
    assert '"playbackUrl"' in minted
    assert "ready" in dev.cli("healthcheck", "--ready", "--url", dev.url).stdout


def test_the_written_environment_stands_above_whatever_the_shell_had(dev, tmp_path):
    config = tmp_path / "aws-config"
    config.write_text("[default]\nignore_configured_endpoint_urls = true\nregion = eu-west-1\n")
    environment = dev.environment(
        {
            "AWS_CONFIG_FILE": str(config),
            "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
            "IVS_PLAYBACK_AUTH__KEYS__STORE": "secrets-manager",
            "IVS_PLAYBACK_AUTH__KEYS__MANAGE": "false",
            "IVS_PLAYBACK_AUTH__IVS__REGIONS_FILE": "/nonexistent",
            "IVS_PLAYBACK_AUTH_CLIENTS": "nonsense",
        }
    )
    for command in (
        [dev.binary, "keys", "list"],
        [str(pathlib.Path(sys.executable).parent / "aws"), "ivs", "list-channels"],
    ):
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "123456789012" in done.stdout


def test_private_files_are_private(dev):
    for name in ["api-key"]:
        assert stat.S_IMODE((dev.data_dir / name).stat().st_mode) == 0o600
    pems = list(dev.data_dir.rglob("*.pem"))
    assert pems
    for pem in pems:
        assert stat.S_IMODE(pem.stat().st_mode) == 0o600, pem
        assert stat.S_IMODE(pem.parent.stat().st_mode) == 0o700, pem.parent


def test_a_real_account_in_the_environment_is_ignored(start_dev, tmp_path):
    config = tmp_path / "aws-config"
    config.write_text(
        "[default]\nregion = eu-west-1\nendpoint_url = http://127.0.0.1:9\n"
        "[profile real]\nregion = eu-west-1\n"
    )
    env = {
        "PATH": os.environ["PATH"],
        "AWS_ACCESS_KEY_ID": "AKIAREALREALREALREAL",
        "AWS_SECRET_ACCESS_KEY": "real-secret-real-secret-real-secret-real",
        "AWS_SESSION_TOKEN": "real-session-token",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_PROFILE": "real",
        "AWS_CONFIG_FILE": str(config),
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ENDPOINT_URL_IVS": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
        "IVS_PLAYBACK_AUTH__KEYS__DIR": "/nonexistent",
    }
    dev = start_dev(env=env)
    minted = dev.mint(viewerId="alice")
    assert minted["channelArn"].startswith("arn:aws:ivs:us-west-2:123456789012:channel/")
    assert request("GET", minted["playbackUrl"]).status == 200


def test_the_same_state_after_kill_9_at_any_moment(binary, tmp_path):
    """Killed while it starts, again and again, then while it mints."""
    chance = random.Random(1)
    for _ in range(8):
        process = subprocess.Popen(
            [binary, "dev", "--listen", "127.0.0.1:0", "--emulator-listen", "127.0.0.1:0",
             "--data-dir", str(tmp_path / "dev")],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        # Not a wait for a condition: the random moment is the test.
        time.sleep(chance.uniform(0.0, 0.4))
        process.kill()
        process.wait()

    dev = Dev(binary, tmp_path)
    try:
        credential = dev.credential
        channel = dev.demo_channel()
        keys = dev.ivs().list_playback_key_pairs()["keyPairs"]
        assert len(keys) == 1
        minted = [dev.mint(viewerId=f"v{n}") for n in range(5)]
        for _ in range(3):
            dev.kill()
            dev.start()
            assert dev.credential == credential
            assert dev.demo_channel()["arn"] == channel["arn"]
            assert dev.ivs().list_playback_key_pairs()["keyPairs"] == keys
            for token in minted:
                path = token["playbackUrl"].split("/", 3)[3]
                answer = request("GET", f"{dev.emulator_url}/{path}")
                assert answer.status == 200, answer.text
            minted.append(dev.mint())
    finally:
        dev.kill()


@pytest.mark.parametrize("level", ["trace"])
def test_no_log_holds_a_secret(start_dev, level):
    env = {
        "PATH": os.environ["PATH"],
        "RUST_LOG": "trace",
        "LOG_SENSITIVE_BODIES": "true",
        "RUST_BACKTRACE": "full",
    }
    dev = start_dev(["--log-level", level], env)
    tokens = [dev.mint(viewerId="alice", singleUse=True) for _ in range(3)]
    tokens += [dev.call("POST", "/v1/tokens/batch", {"requests": [{"channel": "demo"}] * 3}).json[
        "results"][0]]  # fmt: skip
    for minted in tokens:
        request("GET", minted["playbackUrl"])
        dev.call("POST", "/v1/tokens/inspect", {"playbackUrl": minted["playbackUrl"]})
    dev.call("POST", "/v1/key-pairs", {"name": "second"})
    dev.call("GET", "/v1/channels/demo", credential=dev.credential + "x")
    dev.call("POST", "/v1/tokens", {"channel": "demo", "viewerId": "x" * 50})
    cookie = request("GET", dev.url + "/").headers["set-cookie"].split(";")[0]
    as_page = {"cookie": cookie, "sec-fetch-site": "same-origin"}
    assert request("GET", dev.url + "/demo/v1/key-pairs", headers=as_page).status == 200
    pems = [path.read_text() for path in dev.data_dir.rglob("*.pem")]
    credential = dev.credential
    dev.stop()

    written = (pathlib.Path(dev.folder) / "log.txt").read_text() + "\n".join(dev.output)
    secrets = [credential, credential.rsplit("_", 1)[1], cookie.split("=")[1]]
    secrets += [token["token"].rsplit(".", 1)[1] for token in tokens]
    secrets += [line for pem in pems for line in pem.splitlines() if len(line) >= 40]
    assert len(secrets) > 10
    for secret in secrets:
        assert secret not in written
    assert "eyJhbGciOiJFUzM4NCI" not in written
    assert "PRIVATE KEY" not in written


@pytest.mark.parametrize("reply, code", [("no", 1), ("yes", 0)])
def test_irreversible_commands_ask_on_a_terminal(start_dev, reply, code):
    dev = start_dev()
    arn = dev.call("POST", "/v1/key-pairs", {"name": "second"}).json["arn"]
    master, terminal = pty.openpty()
    try:
        command = subprocess.Popen(
            [dev.binary, "keys", "delete", arn], env=dev.environment(),
            stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        os.write(master, f"{reply}\n".encode())
        _, errors = command.communicate()
    finally:
        os.close(master)
        os.close(terminal)
    assert command.returncode == code, errors
    assert "[y/N]" in errors
    listed = {pair["arn"] for pair in dev.ivs().list_playback_key_pairs()["keyPairs"]}
    assert (arn in listed) == (reply == "no")


PUBLIC_HOST = "demo.example"


def test_config_of_one_s_own_applies_and_what_does_not_is_named_once(start_dev, tmp_path):
    config = tmp_path / "my.toml"
    config.write_text(
        """
        [server]
        listen = "192.0.2.1:80"
        tls_cert = "absent.pem"
        tls_key = "absent-key.pem"
        [ivs]
        regions = ["eu-west-1"]
        account_id = "999999999999"
        [keys]
        store = "secrets-manager"
        [tokens]
        default_ttl = "2m"
        [channels.aliases]
        stage = "arn:aws:ivs:eu-west-1:999999999999:channel/AbCdEfGh1234"
        [access]
        clients = "absent.toml"
        [audit]
        sink = "file"
        path = "my-audit.jsonl"
        [log]
        format = "json"
        """
    )
    dev = start_dev(["--config", str(config)])
    payload = dev.mint(viewerId="alice")["token"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert claims["exp"] <= time.time() + 121
    shown = json.loads(dev.cli("config", "show", "--output", "json").stdout)
    assert shown["tokens"]["default_ttl"] == "2m"
    assert shown["audit"]["path"] == str(tmp_path / "my-audit.jsonl")
    assert json.loads(dev.cli("config", "check", "--output", "json").stdout)["valid"] is True
    dev.stop()
    assert (tmp_path / "my-audit.jsonl").read_text().count('"minted"') == 1
    lines = (dev.folder / "log.txt").read_text().splitlines()
    warnings = [line for line in lines if "settings_not_applied" in line]
    assert len(warnings) == 1, lines
    for key in (
        "server.listen", "server.tls_cert", "server.tls_key", "ivs.regions", "ivs.account_id",
        "keys.store", "access.clients", "channels.aliases.stage",
    ):  # fmt: skip
        assert key in warnings[0], key


def test_config_with_a_problem_is_refused_with_its_line(binary, tmp_path):
    config = tmp_path / "my.toml"
    config.write_text("[tokens]\nmax_tll = '1h'\n")
    done = subprocess.run(
        [binary, "dev", "--config", str(config), "--data-dir", str(tmp_path / "dev")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2, done
    assert "my.toml:2" in done.stderr and "tokens.max_ttl" in done.stderr


def test_public_demo_needs_a_public_url(binary, tmp_path):
    done = subprocess.run(
        [binary, "dev", "--public-demo", "--data-dir", str(tmp_path / "dev")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and "--public-url" in done.stderr, done


def test_public_visitor_mints_and_plays_but_cannot_touch_keys(start_dev):
    dev = start_dev(["--public-url", f"http://{PUBLIC_HOST}", "--public-demo"])

    def call(method, path, body=None, host=PUBLIC_HOST, **headers):
        headers = {"host": host, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return request(method, dev.url + path, body, headers)

    index = call("GET", "/", x_forwarded_for="192.0.2.7")
    assert index.status == 200, index.text
    page = {"cookie": index.headers["set-cookie"].split(";")[0], "origin": f"http://{PUBLIC_HOST}"}
    minted = call("POST", "/demo/v1/tokens", {"channel": "demo", "viewerId": "alice"}, **page)
    assert minted.status == 200, minted.text
    # What it plays is at the same host, behind the same proxy.
    path = minted.json["playbackUrl"].removeprefix(f"http://{PUBLIC_HOST}")
    assert path.startswith("/api/video/v1/")
    playlist = call("GET", path)
    assert playlist.status == 200, playlist.text
    variants = [line for line in playlist.text.splitlines() if line.startswith("http")]
    assert variants and all(line.startswith(f"http://{PUBLIC_HOST}/v1/") for line in variants)
    assert call("GET", variants[0].removeprefix(f"http://{PUBLIC_HOST}")).status == 200
    # Nothing else of the emulator is there.
    for path in ("/ListChannels", "/_emulator/faults"):
        assert call("POST", path, {}).status == 404, path

    for method, path in (
        ("GET", "/key-pairs"), ("POST", "/key-pairs"), ("POST", "/key-pairs/rotations"),
        ("DELETE", "/key-pairs/x"),
    ):  # fmt: skip
        refused = call(method, "/demo/v1" + path, {} if method == "POST" else None, **page)
        assert (refused.status, refused.json["code"]) == (403, "forbidden"), path
    assert call("GET", "/", host="evil.example").status == 421
    dev.stop()
    assert (dev.folder / "log.txt").read_text().count("revoke viewers") == 1
