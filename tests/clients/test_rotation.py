"""Key pairs that rotate without a viewer noticing: the built binary, killed, stopped and cut off."""

import concurrent.futures
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

import boto3
import jwt
import pytest

from fleet import ACCOUNT, REGION, Fleet, Moto, Viewers, kill_at_random, seconds, wait_for

KILLS = int(os.environ.get("ROTATION_KILLS", "10"))
"""How often the service is killed in one run; `ROTATION_KILLS=200` for a long one."""


@pytest.fixture
def start(binary, tmp_path):
    fleets = []

    def start(settings=None, env=None):
        fleets.append(Fleet(binary, tmp_path, settings, env))
        return fleets[-1]

    yield start
    for fleet in fleets:
        fleet.close()


@pytest.fixture
def moto():
    server = Moto()
    yield server
    server.close()


def in_secrets_manager(moto, **keys):
    """What `start` takes for keys in AWS Secrets Manager."""
    settings = {"keys": {"store": "secrets-manager", **keys}}
    return settings, {"AWS_ENDPOINT_URL_SECRETS_MANAGER": moto.url}


def first_key(fleet):
    fleet.cli("keys", "rotate")
    assert len(fleet.pairs()) == 1


def signer(fleet, process):
    answer = fleet.mint(process)
    assert answer.status == 200, answer.text
    return answer.json["keyPairArn"]


def next_signer(fleet, process, old, what="the new signer"):
    """Waits for another key than `old`; an answer without a token is none."""

    def signs_anew():
        answer = fleet.mint(process)
        return answer.status == 200 and answer.json["keyPairArn"] != old and answer.json["keyPairArn"]

    return wait_for(signs_anew, what=what)


def mint_and_play(fleet, process):
    """A new token plays. One whose `exp` comes before the edge has answered proves nothing."""
    while True:
        answer = fleet.mint(process)
        assert answer.status == 200, answer.text
        played = fleet.play(answer.json["token"])
        if played.status == 200:
            return
        assert seconds(answer.json["expiresAt"]) <= time.time(), played.text


def play_before_its_end(fleet, token, expires):
    """A token plays; one whose `exp` has come by the time of the answer proves nothing."""
    played = fleet.play(token)
    assert played.status == 200 or expires <= time.time(), played.text


def open_rotations(fleet, process):
    over = ("done", "cancelled", "failed")
    return [it for it in fleet.rotations(process) if it["phase"] not in over]


def test_kill_9_at_random_moments_of_rotations(start):
    fleet = start()
    first_key(fleet)
    viewers = Viewers(fleet)
    rotating = True

    def rotate():
        while rotating:
            server = viewers.server
            try:
                if server is not None:
                    fleet.rotate(server)
            except Exception:
                pass  # killed meanwhile
            time.sleep(0.2)

    asking = threading.Thread(target=rotate)
    asking.start()
    try:
        kill_at_random(fleet, viewers, KILLS)
        # The last one was killed, and a slow machine has not done much by then.
        server = fleet.serve()
        viewers.server = server
        wait_for(lambda: viewers.minted > 50 and len(viewers.signers) > 1, what="a new signer")
        viewers.server = None
        server.kill()
        rotating = False
        asking.join()
        # What is left is finished by whoever runs; a claim of the dead holds for a minute.
        server = fleet.serve()
        viewers.server = server
        wait_for(lambda: not open_rotations(fleet, server), what="the end of all rotations")
    finally:
        rotating = False
        viewers.stop()
    assert viewers.failed == []
    assert viewers.refused == []
    assert len(fleet.pairs()) == 1
    # The file goes after the keyring that no longer names it was written.
    wait_for(lambda: len(fleet.private_keys()) == 1, what="the end of the old private keys")
    assert fleet.pairs()[0]["arn"] == signer(fleet, server)


@pytest.mark.parametrize("duplicates", [False, True])
def test_two_replicas_that_rotate_at_once_make_one_pair(start, moto, duplicates):
    fleet = start(*in_secrets_manager(moto, refresh_every="300ms", max_staleness="5s"))
    first_key(fleet)
    one, two = fleet.serve(), fleet.serve()
    old = signer(fleet, one)
    if duplicates:
        fleet.fault(kind="accept_duplicates")
    viewers = Viewers(fleet)
    viewers.server = two
    try:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            answers = list(pool.map(fleet.rotate, [one, two]))
        assert sorted(it.status for it in answers) in ([202, 202], [202, 409]), answers
        ids = {it.json.get("rotationId") or it.json["id"] for it in answers}
        assert len(ids) == 1
        if not duplicates:
            # Either may die in the middle; what it had claimed is free after a minute.
            one.kill()
        new = next_signer(fleet, two, old, what="the activation")
        if not duplicates:
            one = fleet.serve()
        assert next_signer(fleet, one, old, what="the other replica's new signer") == new
        assert {pair["arn"] for pair in fleet.pairs()} <= {old, new}
        wait_for(lambda: not open_rotations(fleet, two), what="the end of the rotation")
    finally:
        viewers.stop()
    assert viewers.failed == []
    assert viewers.refused == []
    assert [pair["arn"] for pair in fleet.pairs()] == [new]


def keyring_age(fleet, process):
    """How many seconds ago the keyring was read that the process signs by."""
    pattern = r"^ivs_playback_auth_keyring_age_seconds\{.*\} ([0-9.e-]+)$"
    return float(re.search(pattern, fleet.metrics(process), re.MULTILINE)[1])


def test_both_replicas_sign_with_a_new_key_soon(start, moto):
    fleet = start(*in_secrets_manager(moto, refresh_every="400ms", max_staleness="5s"))
    first_key(fleet)
    one, two = fleet.serve(), fleet.serve()
    old = signer(fleet, one)
    assert fleet.rotate(one).status == 202
    activated = []

    def signs_anew(process):
        began, age = time.monotonic(), keyring_age(fleet, process)
        answer = fleet.mint(process)
        if answer.status == 200 and answer.json["keyPairArn"] != old:
            activated.append(time.monotonic())
            return True
        # Who has read the keyring since another signed with the new key must sign with it, too;
        # tests of the service in a time of their own prove how soon that is.
        assert not activated or began - activated[0] <= age, (began, activated, age)
        return False

    waiting = [one, two]

    def one_more():
        waiting[:] = [it for it in waiting if not signs_anew(it)]
        return not waiting

    wait_for(one_more, what="the new signer of both")


def test_a_rotation_by_five_replicas_leaves_few_versions_and_labels(start, moto):
    # moto answers one call at a time: with shorter times five replicas would keep it busy without
    # pause, each write would take seconds, and others would begin theirs meanwhile.
    settings, env = in_secrets_manager(moto, refresh_every="2s", max_staleness="10s")
    fleet = start({**settings, "rotation": {"reconcile_every": "5s"}}, env)
    first_key(fleet)
    secrets = boto3.client(
        "secretsmanager",
        endpoint_url=moto.url,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    name = secrets.list_secrets()["SecretList"][0]["Name"]

    def versions():
        listed = secrets.list_secret_version_ids(SecretId=name, IncludeDeprecated=True)
        return listed["Versions"]

    replicas = [fleet.serve() for _ in range(5)]
    before = len(versions())
    assert fleet.rotate(replicas[0]).status == 202
    wait_for(lambda: not open_rotations(fleet, replicas[1]), what="the end of the rotation")
    assert len(versions()) - before <= 8
    labels = [label for version in versions() for label in version.get("VersionStages", [])]
    assert len(labels) <= 3, labels
    # What AWS keeps readable under a label holds the key that signs, and no retired one.
    for label in ("AWSCURRENT", "AWSPREVIOUS"):
        secret = secrets.get_secret_value(SecretId=name, VersionStage=label)["SecretString"]
        keys = json.loads(secret)["keys"]
        assert [it["state"] for it in keys if it.get("privateKey")] == ["active"], label


class Gate:
    """A way to a port that can be closed."""

    def __init__(self, port):
        self.port = port
        self.is_open = True
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.connections = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            if not self.is_open:
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self.port))
            except OSError:
                near.close()
                continue
            self.connections += [near, far]
            if not self.is_open:
                # Shut meanwhile, perhaps before it was among the connections.
                self.shut()
            for source, target in [(near, far), (far, near)]:
                threading.Thread(target=self.carry, args=(source, target), daemon=True).start()

    def carry(self, source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def shut(self):
        self.is_open = False
        for end in self.connections:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def open(self):
        self.is_open = True

    def close(self):
        self.listener.close()
        self.shut()


def rotate_whole(fleet, process):
    """A rotation from its beginning until the old pair is gone."""
    old = signer(fleet, process)
    answer = fleet.rotate(process)
    assert answer.status == 202, answer.text
    wait_for(lambda: not open_rotations(fleet, process), what="the end of the rotation")
    assert old not in {pair["arn"] for pair in fleet.pairs()}


def test_a_replica_that_is_cut_off_from_the_store_hands_out_nothing_useless(start, moto):
    fleet = start(*in_secrets_manager(moto))
    first_key(fleet)
    gate = Gate(moto.port)
    one = fleet.serve()
    cut = fleet.serve({"AWS_ENDPOINT_URL_SECRETS_MANAGER": gate.url})
    viewers = Viewers(fleet)
    viewers.server = one
    try:
        assert fleet.mint(cut).status == 200
        gate.shut()
        statuses = set()
        with concurrent.futures.ThreadPoolExecutor() as pool:
            rotation = pool.submit(rotate_whole, fleet, one)
            while not rotation.done():
                answer = fleet.mint(cut)
                statuses.add(answer.status)
                if answer.status == 200:
                    expires = seconds(answer.json["expiresAt"])
                    play_before_its_end(fleet, answer.json["token"], expires)
                else:
                    assert (answer.status, answer.json["code"]) == (503, "no_active_key")
                time.sleep(0.05)
        rotation.result()
        assert 503 in statuses
        gate.open()
        wait_for(lambda: fleet.mint(cut).status == 200, what="its recovery")
        assert signer(fleet, cut) == signer(fleet, one)
    finally:
        viewers.stop()
        gate.close()
    assert viewers.failed == [] and viewers.refused == []


def test_a_replica_that_was_stopped_across_a_rotation_hands_out_nothing_useless(start):
    fleet = start()
    first_key(fleet)
    one, stopped = fleet.serve(), fleet.serve()
    assert signer(fleet, one) == signer(fleet, stopped)
    stopped.signal(signal.SIGSTOP)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        # These wait in its socket, and are answered when it wakes up.
        asked = [pool.submit(fleet.mint, stopped) for _ in range(8)]
        rotate_whole(fleet, one)
        stopped.signal(signal.SIGCONT)
        for answer in asked:
            answer = answer.result()
            if answer.status == 200:
                # One that was signed before the stop has expired since, and says so.
                play_before_its_end(fleet, answer.json["token"], seconds(answer.json["expiresAt"]))
            else:
                assert answer.status in (503, 504), answer.text
    wait_for(lambda: fleet.mint(stopped).status == 200, what="its recovery")
    assert signer(fleet, stopped) == signer(fleet, one)


class Lambda:
    """What everyone has today: PyJWT, and a SEC1 key that OpenSSL made."""

    def __init__(self, fleet, lifetime):
        self.fleet = fleet
        self.lifetime = lifetime
        pem = subprocess.run(
            ["openssl", "ecparam", "-name", "secp384r1", "-genkey", "-noout"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True,
        ).stdout  # fmt: skip
        assert b"BEGIN EC PRIVATE KEY" in pem
        self.key = fleet.folder / "lambda.pem"
        self.key.write_bytes(pem)
        public = subprocess.run(
            ["openssl", "ec", "-in", str(self.key), "-pubout"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True,
        ).stdout  # fmt: skip
        self.arn = fleet.ivs().import_playback_key_pair(publicKeyMaterial=public, name="lambda")[
            "keyPair"
        ]["arn"]
        self.tokens = []

    def mint(self):
        expires = int(time.time()) + self.lifetime
        claims = {
            "aws:channel-arn": self.fleet.channel["arn"],
            "aws:access-control-allow-origin": "*",
            "exp": expires,
        }
        token = jwt.encode(claims, self.key.read_text(), algorithm="ES384")
        self.tokens.append((expires, token))
        return token

    def mint_and_play(self):
        token = self.mint()
        play_before_its_end(self.fleet, token, self.tokens[-1][0])


@pytest.mark.parametrize("lifetime", ["6s", "6h"])
def test_from_a_lambda_to_this_without_a_refused_token(start, lifetime):
    fleet = start()
    old = Lambda(fleet, {"6s": 6, "6h": 6 * 3600}[lifetime])
    old.mint_and_play()

    # Adopt: the pair that IVS has is found by its fingerprint, and nothing is imported.
    adopted = fleet.cli(
        "keys", "import", "--private-key", str(old.key), "--longest-ttl", lifetime,
        "--output", "json",
    )  # fmt: skip
    adopted = json.loads(adopted.stdout)
    assert (adopted["arn"], adopted["state"], adopted["adopted"]) == (old.arn, "active", True)
    assert [pair["arn"] for pair in fleet.pairs()] == [old.arn]

    # Both sign; callers move; the old signer goes.
    server = fleet.serve()
    viewers = Viewers(fleet)
    viewers.server = server
    try:
        for _ in range(10):
            old.mint_and_play()
            time.sleep(0.02)
        assert signer(fleet, server) == old.arn

        # Rotate: the adopted pair drains, and waits for somebody to release it.
        fleet.cli("keys", "rotate")
        new = next_signer(fleet, server, old.arn)
        # A caller that was forgotten is no harm.
        old.mint_and_play()
        last = old.tokens[-1][0]
        fleet.cli("keys", "release", old.arn)
        pair = fleet.call(server, "GET", "/v1/key-pairs").json["keyPairs"]
        pair = next(it for it in pair if it["arn"] == old.arn)
        assert pair["state"] == "draining"
        assert seconds(pair["retiresAt"]) >= last

        if lifetime == "6s":
            while (left := last - time.time()) > 0:
                for expires, token in old.tokens:
                    if time.time() < expires:
                        play_before_its_end(fleet, token, expires)
                time.sleep(min(0.2, left))
            gone = lambda: old.arn not in {it["arn"] for it in fleet.pairs()}  # noqa: E731
            wait_for(gone, what="the end of the adopted pair")
        else:
            assert all(fleet.play(token).status == 200 for _, token in old.tokens)
    finally:
        viewers.stop()
    assert viewers.failed == [] and viewers.refused == []
    assert new in {pair["arn"] for pair in fleet.pairs()}


def test_a_pair_deleted_in_the_console_is_put_back_and_then_replaced(start, aws):
    fleet = start({"rotation": {"heal_wait": "60s"}})
    first_key(fleet)
    server = fleet.serve()
    first = signer(fleet, server)
    fingerprint = fleet.ivs().get_playback_key_pair(arn=first)["keyPair"]["fingerprint"]

    aws(fleet, "ivs", "delete-playback-key-pair", "--arn", first)
    second = next_signer(fleet, server, first, what="the repair")
    assert fleet.ivs().get_playback_key_pair(arn=second)["keyPair"]["fingerprint"] == fingerprint
    mint_and_play(fleet, server)
    healed(fleet, server, "reimported")

    aws(fleet, "ivs", "delete-playback-key-pair", "--arn", second)
    third = next_signer(fleet, server, second, what="the new key")
    assert fleet.ivs().get_playback_key_pair(arn=third)["keyPair"]["fingerprint"] != fingerprint
    wait_for(lambda: not open_rotations(fleet, server))
    assert [pair["arn"] for pair in fleet.pairs()] == [third]
    wait_for(lambda: len(fleet.private_keys()) == 1, what="the end of the old private key")
    mint_and_play(fleet, server)
    healed(fleet, server, "replaced")


def healed(fleet, process, outcome):
    """Metrics and log tell it, somewhat after the new signer is seen."""
    line = f'key_heals_total{{region="us-west-2",outcome="{outcome}"}} 1'
    wait_for(lambda: line in fleet.metrics(process), what=line)
    wait_for(lambda: f"key_pair_{outcome}" in process.log_path.read_text(), what="its log line")


def foreign_pairs(fleet, count):
    """Pairs that somebody else made."""
    arns = []
    for number in range(count):
        key = Lambda(fleet, 60)
        arns.append(key.arn)
    return arns


def test_a_quota_full_of_foreign_pairs_refuses_at_once_and_names_them(start):
    fleet = start()
    first_key(fleet)
    theirs = foreign_pairs(fleet, 2)
    server = fleet.serve()
    old = signer(fleet, server)
    answer = fleet.rotate(server)
    assert (answer.status, answer.json["code"]) == (409, "key_pair_quota")
    refused = fleet.cli("keys", "rotate", check=False)
    assert refused.returncode == 1
    for arn in theirs:
        assert arn in answer.json["detail"], answer.text
        assert arn in refused.stderr, refused.stderr
    assert signer(fleet, server) == old
    assert {pair["arn"] for pair in fleet.pairs()} == {old, *theirs}

    # An emergency makes room by the leaked pair, and touches none of theirs.
    leaked = fleet.mint(server).json["token"]
    fleet.cli("keys", "rotate", "--emergency", "--yes")
    new = wait_for(lambda: (it := fleet.mint(server)).status == 200 and it.json["keyPairArn"])
    assert {pair["arn"] for pair in fleet.pairs()} == {new, *theirs}
    assert fleet.play(leaked).status == 403
    mint_and_play(fleet, server)


@pytest.mark.parametrize("killed", [False, True])
def test_an_emergency_in_the_middle_of_a_drain_ends_both_old_keys(start, killed):
    # Tokens and drains that outlast the test, so that what ends them is the emergency.
    fleet = start(
        {
            "tokens": {"default_ttl": "10m", "max_ttl": "10m"},
            "rotation": {"drain_margin": "1h"},
        }
    )
    first_key(fleet)
    server = fleet.serve()
    first = fleet.mint(server).json
    assert fleet.rotate(server).status == 202
    second = wait_for(
        lambda: (it := fleet.mint(server)).status == 200
        and it.json["keyPairArn"] != first["keyPairArn"]
        and it.json
    )
    assert open_rotations(fleet, server)[0]["phase"] == "draining"
    assert fleet.play(first["token"]).status == 200

    if killed:
        # The answer to the first deletion is late, and the service dies while it waits.
        fleet.fault(
            kind="late_answer", operations="DeletePlaybackKeyPair", delayMs=60_000, count=1
        )
        answer = fleet.rotate(server, mode="emergency")
        assert answer.status == 202, answer.text
        wait_for(lambda: first["keyPairArn"] not in {it["arn"] for it in fleet.pairs()}
                 or second["keyPairArn"] not in {it["arn"] for it in fleet.pairs()})  # fmt: skip
        server.kill()
        server = fleet.serve()
    else:
        done = fleet.cli("keys", "rotate", "--emergency", "--yes")
        assert "tokens" in done.stderr + done.stdout
    third = wait_for(
        lambda: (it := fleet.mint(server)).status == 200
        and it.json["keyPairArn"] not in (first["keyPairArn"], second["keyPairArn"])
        and it.json
    )
    wait_for(lambda: len(fleet.pairs()) == 1, what="the end of the old pairs")
    assert fleet.pairs()[0]["arn"] == third["keyPairArn"]
    for token in (first["token"], second["token"]):
        # By an edge that has no such key, a signature is merely wrong.
        refused = fleet.play(token)
        assert (refused.status, refused.json[0]["emulator_reason"]) == (403, "bad_signature")
    assert fleet.play(third["token"]).status == 200
    wait_for(lambda: len(fleet.private_keys()) == 1)
    wait_for(lambda: not open_rotations(fleet, server), what="the end of the rotations")


def test_a_process_that_may_not_manage_keys_only_reports(start, aws):
    fleet = start()
    first_key(fleet)
    server = fleet.serve({"IVS_PLAYBACK_AUTH__KEYS__MANAGE": "false"})
    arn = signer(fleet, server)
    assert fleet.rotate(server).status == 403
    aws(fleet, "ivs", "delete-playback-key-pair", "--arn", arn)

    def reported():
        ready = fleet.call(server, "GET", "/readyz").json["regions"][REGION]
        return "active_key_pair_missing" in {it["code"] for it in ready["findings"]}

    wait_for(reported, what="the report")
    assert fleet.pairs() == []


def test_credentials_of_another_account_change_nothing(start):
    fleet = start()
    first_key(fleet)
    arns = {pair["arn"] for pair in fleet.pairs()}
    assert all(ACCOUNT in arn for arn in arns)
    refused = fleet.cli(
        "keys", "rotate", check=False, env={"IVS_PLAYBACK_AUTH__IVS__ACCOUNT_ID": "999999999999"}
    )
    assert refused.returncode != 0
    assert "999999999999" in refused.stderr and ACCOUNT in refused.stderr
    assert {pair["arn"] for pair in fleet.pairs()} == arns


def test_command_with_shorter_times_does_not_retire_a_pair_early(start):
    fleet = start({"keys": {"max_staleness": "1h"}, "rotation": {"drain_margin": "2h"}})
    server = fleet.serve()
    first_key(fleet)
    wait_for(lambda: fleet.mint(server).status == 200, what="a signer")
    shorter = {
        "IVS_PLAYBACK_AUTH__KEYS__MAX_STALENESS": "1s",
        "IVS_PLAYBACK_AUTH__ROTATION__DRAIN_MARGIN": "1s",
    }
    fleet.cli("keys", "rotate", env=shorter)
    keyring = json.loads((fleet.keys_dir / REGION / "keyring.json").read_text())
    (old,) = [key for key in keyring["keys"] if key["state"] == "draining"]
    (new,) = [key for key in keyring["keys"] if key["state"] == "active"]
    drains = seconds(old["retiresAt"]) - seconds(new["activatedAt"])
    assert drains >= 3 * 3600, keyring

    def recorded_again():
        keyring = json.loads((fleet.keys_dir / REGION / "keyring.json").read_text())
        return (keyring.get("maxStaleness"), keyring.get("drainMargin")) == (3600, 7200)

    wait_for(recorded_again, what="the limits of the server in the keyring")


def test_process_without_write_access_refuses_limits_that_the_keyring_lacks(start):
    fleet = start()
    first_key(fleet)
    server = fleet.serve(
        {"IVS_PLAYBACK_AUTH__KEYS__MANAGE": "false", "IVS_PLAYBACK_AUTH__KEYS__MAX_STALENESS": "9h"}
    )
    answer = fleet.call(server, "GET", "/readyz")
    assert answer.status == 503, answer.text
    (finding,) = [
        it
        for it in answer.json["regions"][REGION]["findings"]
        if it["code"] == "max_staleness_not_recorded"
    ]
    assert "keys.max_staleness is 32400 s in this process and 1 s in the keyring" in finding["detail"]
    assert "keys.manage = true" in finding["detail"]
    assert fleet.mint(server).status == 503
    assert "keys.max_staleness is 32400 s" in server.log_path.read_text()
