"""Viewers are revoked, and kept out: the built binary against enforced rates, signals and kills."""

import itertools
import json
import pathlib
import re
import signal
import socket
import time

import pytest

from conftest import request
from fleet import REGION, Fleet, Metronome, wait_for

PATH = "/v1/viewer-sessions/revocations"
OTHER_REGION = "eu-west-1"
ABSENT = "arn:aws:ivs:us-west-2:123456789012:channel/AbCdEfGh1234"

# A token must outlive the revocation of 500, so that no refusal is one of its age.
TOKENS = {"default_ttl": "5m", "max_ttl": "10m"}


@pytest.fixture
def start(binary, tmp_path):
    """An emulator that enforces rates, and a region with a key."""
    fleets = []

    def start(settings=None, emulator=("--enforce-rates",)):
        settings = {"tokens": TOKENS, **(settings or {})}
        fleet = Fleet(binary, tmp_path, settings, emulator=emulator)
        fleets.append(fleet)
        fleet.cli("keys", "rotate", "--region", REGION)
        return fleet

    yield start
    for fleet in fleets:
        fleet.close()


def deny(folder):
    return {"local_deny": True, "deny_list": str(folder / "data/denied.jsonl")}


def mint_many(fleet, server, viewers, **members):
    """A playback URL for each."""
    requests = [
        {"channel": fleet.channel["arn"], "viewerId": viewer, **members} for viewer in viewers
    ]
    answer = fleet.call(server, "POST", "/v1/tokens/batch", {"requests": requests})
    assert answer.status == 200, answer.text
    return [item["playbackUrl"] for item in answer.json["results"]]


def revoke(fleet, server, *sessions):
    answer = fleet.call(server, "POST", PATH, {"viewerSessions": list(sessions)})
    assert answer.status == 200, answer.text
    return answer.json


def session(fleet, viewer, **members):
    return {"channel": fleet.channel["arn"], "viewerId": viewer, **members}


class Player:
    """A viewer who has begun to play."""

    def __init__(self, url):
        self.url = url
        answer = request("GET", url)
        assert answer.status == 200, answer.text
        lines = answer.text.splitlines()
        self.variant = next(line for line in lines if line and not line.startswith("#"))
        self.follows = request("GET", self.variant).status == 200

    def plays(self):
        answer = request("GET", self.url)
        if answer.status == 200:
            assert not self.follows or request("GET", self.variant).status == 200
            return True
        assert answer.status == 403 and "session_revoked" in answer.text, answer.text
        # Nor does the session that was begun before go on.
        assert not self.follows or request("GET", self.variant).status == 403
        return False


def call_log(fleet):
    return request("GET", fleet.emulator.url + "/_emulator/calls").json


def calls(fleet):
    """How often each operation was called, by status."""
    operations = call_log(fleet)["operations"]
    return {name: it["statuses"] for name, it in operations.items() if "Revocation" in name}


def came_late(fleet, server):
    """Calls took over a second to arrive or to be answered. IVS counts them by their arrival, and the
    budget of the service allows for a way of one second; a machine that stands still takes longer."""
    arrivals = [it["atMillis"] for it in call_log(fleet)["recent"] if "Revocation" in it["operation"]]
    gaps = (after - before for before, after in itertools.pairwise(arrivals))
    return max(gaps, default=0) > 1000 or calls_over_a_second(fleet.metrics(server)) > 0


def calls_over_a_second(metrics):
    """How many calls of revocations were answered after more than a second."""
    series = r'^ivs_playback_auth_ivs_call_duration_seconds_(count|bucket)\{(.*)\} (\d+)$'
    over = 0
    for kind, labels, number in re.findall(series, metrics, re.MULTILINE):
        if "Revocation" in labels and kind == "count":
            over += int(number)
        elif "Revocation" in labels and 'le="1.0"' in labels:
            over -= int(number)
    return over


def test_500_viewers_are_revoked_in_under_15_s_and_nobody_else(start):
    fleet = start()
    server = fleet.serve()
    viewers = [f"viewer-{number}" for number in range(500)]
    players = [Player(url) for url in mint_many(fleet, server, viewers)]
    later = mint_many(fleet, server, ["viewer-0"], viewerSessionVersion=2_000_000_000)
    bystanders = mint_many(fleet, server, ["bystander"]) + later
    other = fleet.ivs().create_channel(name="other", authorized=True)["channel"]["arn"]
    answer = fleet.mint(server, channel=other, viewerId="viewer-0")
    bystanders.append(answer.json["playbackUrl"])
    bystanders = [Player(url) for url in bystanders]

    with Metronome() as metronome:
        began = time.monotonic()
        answer = revoke(fleet, server, *(session(fleet, viewer) for viewer in viewers))
        took = time.monotonic() - began
    assert (answer["revoked"], answer["errors"]) == (500, [])
    # Time in which this machine stood still is not the service's.
    assert took - metronome.overslept < 15, (took, metronome.overslept)
    # The pace is IVS's: not one call was throttled.
    unthrottled = all(set(statuses) == {"200"} for statuses in calls(fleet).values())
    assert unthrottled or came_late(fleet, server), calls(fleet)
    assert sum(player.plays() for player in players) == 0
    assert all(player.plays() for player in bystanders)


def test_throttling_is_never_told_to_the_caller(start):
    """Another caller of the account uses the quota at the same time."""
    fleet = start()
    server, replica = fleet.serve(), fleet.serve()
    sessions = [session(fleet, f"viewer-{number}") for number in range(100)]
    fleet.fault(
        kind="throttle", every=2,
        operations=["StartViewerSessionRevocation", "BatchStartViewerSessionRevocation"],
    )  # fmt: skip
    command = fleet.cli_started("viewers", "revoke", "--file", "-", "--output", "json")
    for line in sessions:
        command.stdin.write(f"{line['channel']},{line['viewerId']}\n")
    command.stdin.close()
    for process in (server, replica):
        answer = revoke(fleet, process, *sessions)
        assert (answer["revoked"], answer["errors"]) == (100, [])
    answer = json.loads(command.stdout.read())
    assert (answer["revoked"], answer["errors"]) == (100, [])
    assert command.wait(timeout=300) == 0
    command.stdout.close()
    command.stderr.close()
    assert any("429" in statuses for statuses in calls(fleet).values())


def test_each_region_is_asked_for_its_own(start):
    fleet = start({"ivs": {"regions": [REGION, OTHER_REGION], "account_id": "123456789012"}})
    server = fleet.serve()
    east = fleet.ivs(OTHER_REGION).create_channel(name="east", authorized=True)["channel"]["arn"]
    answer = revoke(
        fleet, server, session(fleet, "a"), {"channel": east, "viewerId": "b"},
        {"channel": ABSENT, "viewerId": "c"},
        {"channel": ABSENT.replace(REGION, "ap-south-1"), "viewerId": "d"},
    )  # fmt: skip
    assert [it["viewerId"] for it in answer["results"]] == ["a", "b"]
    errors = [(it["viewerId"], it["code"]) for it in answer["errors"]]
    assert errors == [("c", "channel_not_found"), ("d", "invalid_request")]


def test_a_denial_outlives_kill_9_right_after_its_answer(start, tmp_path):
    fleet = start({"viewers": deny(tmp_path)}, emulator=())
    server = fleet.serve()
    for number in range(10):
        viewer = f"viewer-{number}"
        player = Player(mint_many(fleet, server, [viewer])[0])
        answer = revoke(fleet, server, session(fleet, viewer, denyFor=3600))
        server.kill()
        assert answer["results"][0]["denied"] == "local"
        assert not player.plays()
        server = fleet.serve()
        refused = fleet.mint(server, viewerId=viewer)
        assert (refused.status, refused.json["code"]) == (403, "viewer_denied"), refused.text
        assert viewer not in refused.json["detail"]
    for number in range(10):
        assert fleet.mint(server, viewerId=f"viewer-{number}").status == 403
    # One without denyFor is back at once.
    revoke(fleet, server, session(fleet, "back"))
    back = fleet.mint(server, viewerId="back")
    assert back.status == 200 and Player(back.json["playbackUrl"]).plays()
    log = fleet.log()
    assert not re.search(r"viewer-\d", log), log


def test_the_command_line_denies_for_the_running_server(start, tmp_path):
    # However late the server looks, what it mints until then is revoked.
    viewers = {**deny(tmp_path), "clock_allowance": "60s"}
    fleet = start({"viewers": viewers}, emulator=())
    server = fleet.serve()
    player = Player(mint_many(fleet, server, ["alice"])[0])
    one = ("viewers", "revoke", "--channel", fleet.channel["arn"], "--viewer-id")
    done = fleet.cli(*one, "alice", "--deny-for", "1h")
    # When the command is done, the server knows; what it gave while it stood still does not play.
    while (refused := fleet.mint(server, viewerId="alice")).status == 200:
        edge = request("GET", refused.json["playbackUrl"])
        assert edge.status == 403 and "session_revoked" in edge.text, edge.text
    assert (refused.status, refused.json["code"]) == (403, "viewer_denied"), refused.text
    assert done.stdout == (
        "Revoked. The service on this machine gives the viewer no new token for 1 h.\n"
    )
    assert done.stderr == f"revoking 1 viewer session: account 123456789012, region {REGION}\n"
    assert not player.plays()
    assert fleet.cli("token", "mint", *one[2:], "alice", check=False).returncode == 1

    done = fleet.cli(*one, "bob")
    assert re.fullmatch(
        r"Revoked\. The viewer can get a new token, which plays if it is minted from "
        r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ on; add --deny-for 1h to keep them out\.\n",
        done.stdout,
    ), done.stdout
    assert fleet.mint(server, viewerId="bob").status == 200

    # A person lets alice in again.
    path = tmp_path / "data/denied.jsonl"
    assert path.stat().st_mode & 0o777 == 0o600
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if '"alice"' not in line))
    wait_for(lambda: fleet.mint(server, viewerId="alice").status == 200)

    off = {"IVS_PLAYBACK_AUTH__VIEWERS__LOCAL_DENY": "false"}
    done = fleet.cli(*one, "alice", "--deny-for", "1h", check=False, env=off)
    assert (done.returncode, "viewers.local_deny" in done.stderr) == (2, True), done.stderr


def test_a_list_is_judged_whole_before_anybody_is_revoked(start, tmp_path):
    fleet = start()
    server = fleet.serve()
    arn = fleet.channel["arn"]
    players = [Player(url) for url in mint_many(fleet, server, ["a", "b,\"c", "d"])]
    path = tmp_path / "list.csv"
    good = f"channel,viewerId,version\n{arn},a\n" + json.dumps(session(fleet, "b,\"c")) + "\n"
    path.write_text(good + f"{arn}\nnobody,x\n{arn},{'x' * 41}\n\n# no line\n{arn},d,-1\n")
    done = fleet.cli("viewers", "revoke", "--file", str(path), check=False)
    assert done.returncode == 2
    assert re.findall(r"list\.csv:(\d+): ", done.stderr) == ["4", "5", "6", "9"], done.stderr
    assert "revoking" not in done.stderr and calls(fleet) == {}

    path.write_text(good + f"{ABSENT}\tx\n")
    done = fleet.cli("viewers", "revoke", "--file", str(path), check=False)
    assert done.returncode == 1
    assert done.stdout.startswith("Revoked 2 of 3.\n"), done.stdout
    assert f"{ABSENT} x: Amazon IVS has no such channel" in done.stderr
    assert [player.plays() for player in players] == [False, False, True]


def test_a_long_list_comes_in_requests_of_500(start, tmp_path):
    fleet = start()
    path = tmp_path / "list.tsv"
    lines = [f"{fleet.channel['arn']}\tviewer-{number}\t7\n" for number in range(520)]
    path.write_text("".join(lines))
    with Metronome() as metronome:
        began = time.monotonic()
        done = fleet.cli("viewers", "revoke", "--file", str(path), "--output", "json")
        took = time.monotonic() - began
    assert took - metronome.overslept < 20, (took, metronome.overslept)
    answer = json.loads(done.stdout)
    assert (answer["revoked"], answer["errors"]) == (520, [])
    viewers = [(it["viewerId"], it["version"]) for it in answer["results"]]
    assert viewers == [(f"viewer-{number}", 7) for number in range(520)]
    assert done.stderr.splitlines()[1:] == ["500 of 520", "520 of 520"]


def post_and_hang_up(fleet, server, count):
    """Sends a request, and closes the connection once IVS has answered a call for it."""
    sessions = [session(fleet, f"viewer-{number}") for number in range(count)]
    body = json.dumps({"viewerSessions": sessions})
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        head = [
            f"POST {PATH} HTTP/1.1", f"host: {host}", f"authorization: Bearer {fleet.credential}",
            "content-type: application/json", f"content-length: {len(body)}", "", "",
        ]  # fmt: skip
        connection.sendall("\r\n".join(head).encode() + body.encode())
        answered = lambda: any("200" in statuses for statuses in calls(fleet).values())  # noqa: E731
        wait_for(answered, what="an answer of IVS")


def audited(server):
    lines = [json.loads(line) for line in server.output if line.startswith("{")]
    return [line for line in lines if line["event"] == "revocation"]


def test_what_was_begun_is_finished_on_sigterm_though_its_caller_is_gone(start):
    fleet = start({"server": {"listen": "127.0.0.1:0", "shutdown_grace": "60s"}})
    server = fleet.serve()
    players = [Player(url) for url in mint_many(fleet, server, ["viewer-0", "viewer-199"])]
    post_and_hang_up(fleet, server, 200)
    server.signal(signal.SIGTERM)
    server.ended()
    assert server.process.returncode == 0
    assert not any(player.plays() for player in players)
    assert [line["outcome"] for line in audited(server)] == ["revoked"] * 200


def test_what_is_left_after_the_grace_is_in_log_and_audit(start):
    fleet = start({"server": {"listen": "127.0.0.1:0", "shutdown_grace": "5s"}})
    # All but the first few are refused for as long as the test lasts.
    fleet.fault(
        kind="throttle", skip=3,
        operations=["StartViewerSessionRevocation", "BatchStartViewerSessionRevocation"],
    )  # fmt: skip
    server = fleet.serve()
    post_and_hang_up(fleet, server, 500)
    server.signal(signal.SIGTERM)
    began = time.monotonic()
    server.ended()
    assert time.monotonic() - began < 30
    outcomes = [(line["outcome"], line.get("code")) for line in audited(server)]
    assert len(outcomes) == 500 and set(outcomes) == {("revoked", None), ("refused", "timeout")}
    log = pathlib.Path(server.log_path).read_text()
    assert "revocations_cut_off" in log and "viewer-1" not in log
