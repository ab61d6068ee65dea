"""The demo page and private-playback.js in Debian's Chromium.

Everything is waited for by its condition. A picture of the page while it plays is kept under
`browser/` in the target folder.
"""

import base64
import json
import os
import pathlib
import re
import shutil
import socket
import time
import urllib.parse

import jwt
import pytest
from playwright.sync_api import sync_playwright

from conftest import REPOSITORY, Dev
from web_site import Site

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A name that leads here, as an attacker's would; and nothing leads away from this machine.
    "--host-resolver-rules=MAP evil.example 127.0.0.1, MAP demo.example 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
]
PLAYERS = ["native", "media-source"]

SECONDS = 120
"""How long anything may take on a busy machine, so that a test ends."""


@pytest.fixture(scope="module")
def dev(binary, tmp_path_factory):
    server = Dev(binary, tmp_path_factory.mktemp("dev"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def chromium():
    program = shutil.which("chromium")
    assert program, "chromium is missing: run tests/run clients"
    with sync_playwright() as playwright:
        # Each launch has an empty profile of its own.
        browser = playwright.chromium.launch(
            executable_path=program, args=FLAGS, timeout=SECONDS * 1000
        )
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium):
    """Opens a page; no script of it may have failed."""
    contexts, failures = [], []

    def opened(url, **options):
        contexts.append(chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options}))
        contexts[-1].set_default_timeout(SECONDS * 1000)
        contexts[-1].route("**/page.js", patient)
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert failures == []


def patient(route):
    """The page's script with a longer stall, which no browser has that only waits for a processor."""
    asked = urllib.parse.urlsplit(route.request.url)
    # Only Chromium knows the names of FLAGS.
    address = asked._replace(netloc=f"127.0.0.1:{asked.port}").geturl()
    response = route.fetch(url=address, headers={**route.request.headers, "host": asked.netloc})
    script = re.sub(r"(const STALL_TIMEOUT =) \d+;", r"\1 10_000;", response.text())
    assert "STALL_TIMEOUT = 10_000;" in script
    route.fulfill(response=response, body=script)


@pytest.fixture
def open_demo(open_page, dev):
    def opened(**options):
        page = open_page(here(dev) + "/", **options)
        page.wait_for_selector("#channel option", state="attached")
        page.wait_for_selector("#pairs tr")
        return page

    return opened


def here(dev):
    return dev.url.replace("127.0.0.1", "localhost")


def until(page, expression, seconds=SECONDS):
    """Waits until JavaScript is true. The page's policy forbids Playwright's own way, which is eval."""
    end = time.monotonic() + seconds
    while not (last := page.evaluate(expression)):
        assert time.monotonic() < end, f"{expression}: {last}; {page.inner_text('body')[-3000:]}"
        page.wait_for_timeout(20)
    return last


def wait_in(page, condition, what):
    """Waits for a condition out of events of the page, which arrive only while it is waited for."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen"
        page.wait_for_timeout(20)


def position(page):
    return page.evaluate("document.getElementById('video').currentTime")


def advances(page, by=1.0):
    """Pictures move: the position grows."""
    until(page, f"document.getElementById('video').currentTime > {position(page) + by}")


def stands_still(page):
    """The position does not grow any more, through more time than a segment lasts."""
    until(
        page,
        """(() => {
          const now = { at: performance.now(), position: document.getElementById('video').currentTime };
          const last = window.stood ??= now;
          if (now.position !== last.position) window.stood = now;
          return now.at - window.stood.at > 2000;
        })()""",
    )


def play(page, player, viewer="alice", **form):
    page.select_option("#player", player)
    page.fill("#viewer", viewer)
    for name, value in form.items():
        if value is True:
            page.check(f"[name={name}]")
        else:
            page.fill(f"[name={name}]", value)
    page.click("#play")


def playing(page, player, viewer="alice", **form):
    play(page, player, viewer, **form)
    until(page, "document.getElementById('playback').textContent === 'Playing.'")
    advances(page, 0.5)


def colours(page):
    """How many colours the picture has, read back through a canvas."""
    return page.evaluate(
        """(() => {
          const canvas = document.createElement('canvas');
          const context = canvas.getContext('2d');
          context.drawImage(document.getElementById('video'), 0, 0, canvas.width, canvas.height);
          const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
          const seen = new Set();
          for (let at = 0; at < data.length; at += 4) {
            seen.add((data[at] >> 5) * 64 + (data[at + 1] >> 5) * 8 + (data[at + 2] >> 5));
          }
          return seen.size;
        })()"""
    )


def is_read_of_metadata(response):
    """By the page's script, not by the browser's own player."""
    return response.request.resource_type == "fetch" and "/v1/playlist/" in response.url


def artefact(name):
    folder = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "browser"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name


@pytest.mark.parametrize("player", PLAYERS)
def test_it_plays_and_metadata_arrives(open_demo, player):
    page = open_demo()
    reads = []
    page.on("response", lambda it: reads.append(it) if is_read_of_metadata(it) else None)
    playing(page, player, viewer=f"watch-{player}")
    assert colours(page) > 20, "the picture is blank"
    # What is sent before the first read is of the past.
    wait_in(page, lambda: reads, "a read of the playlist by the page")
    text = json.dumps({"poll": f"{player}: 100% \"é\""}, ensure_ascii=False)
    page.fill("#metadata", text)
    page.click("#metadata-form button")
    until(page, f"document.getElementById('arrived').textContent.includes({json.dumps(text)})")
    advances(page)
    name = "playing.png" if player == "native" else f"playing-{player}.png"
    page.screenshot(path=artefact(name), full_page=True)
    page.click("#stop")
    until(page, "document.getElementById('playback').textContent === 'Stopped.'")
    assert page.evaluate("document.getElementById('video').paused")


@pytest.mark.parametrize("player", PLAYERS)
def test_a_revoked_viewer_stops_and_a_new_token_plays(open_demo, player):
    page = open_demo()
    playing(page, player, viewer=f"revoked-{player}")
    page.click("#revoke")
    until(page, "document.getElementById('revocation').textContent.startsWith('Revoked up to version')")
    until(page, "document.getElementById('playback').textContent === 'Not playing.'")
    stands_still(page)
    if player == "native":
        return
    # As the page says: at once.
    assert "A new token from this service plays at once." in page.inner_text("#revocation")
    playing(page, player, viewer=f"revoked-{player}")


@pytest.mark.parametrize("player", PLAYERS)
def test_a_wrong_origin_never_starts(open_demo, player):
    page = open_demo()
    play(page, player, origins="https://other.example")
    page.wait_for_selector("#playback-problem .problem")
    stands_still(page)
    assert position(page) == 0
    page.click("#playback-problem button")
    page.wait_for_selector("#findings li")
    assert "origin_not_allowed" in page.inner_text("#findings")


@pytest.mark.parametrize("player", PLAYERS)
def test_single_use_strict_origin_and_a_resolution_play(open_demo, player):
    page = open_demo()
    page.select_option("#resolution", "SD")
    playing(page, player, singleUse=True, strictOriginEnforcement=True, ttlSeconds="60")
    assert page.evaluate("document.getElementById('video').videoHeight") == 360
    claims = page.inner_text("#claims")
    for claim in ["aws:single-use-uuid", "aws:strict-origin-enforcement", "aws:maximum-resolution"]:
        assert claim in claims


def test_a_rotation_does_not_stop_what_plays(open_demo, dev):
    page = open_demo()
    playing(page, "media-source", viewer="rotation")
    signer = dev.mint()["keyPairArn"]
    page.click("#rotate")
    until(page, "document.querySelector('#phases [aria-current]')?.textContent === 'propagating'")
    until(page, "document.querySelector('#pairs .pending') !== null")
    page.screenshot(path=artefact("rotating.png"), full_page=True)
    until(page, "document.querySelector('#phases [aria-current]')?.textContent === 'draining'")
    until(page, "document.querySelector('#pairs .draining') !== null")
    advances(page)
    assert dev.mint()["keyPairArn"] != signer
    # Deleted by hand: what started with its tokens still plays.
    page.click("#pairs button")
    until(page, "document.querySelector('#pairs .draining') === null")
    advances(page, 2)
    assert page.inner_text("#playback") == "Playing."


def test_a_problem_is_shown_as_the_service_tells_it(open_demo):
    page = open_demo()
    play(page, "native", ttlSeconds="700")
    page.wait_for_selector("#playback-problem .problem")
    shown = page.inner_text("#playback-problem")
    assert "invalid_request" in shown and "/ttlSeconds: ttlSeconds 700 exceeds 600" in shown
    link = page.get_attribute("#playback-problem a", "href")
    assert link == "/docs/errors/invalid_request"
    assert page.is_enabled("#play")


def test_whatever_is_pasted_is_inspected(open_demo, dev):
    page = open_demo()
    minted = dev.mint(viewerId="alice")
    claims = jwt.decode(minted["token"], options={"verify_signature": False})
    payload = base64.urlsafe_b64encode(json.dumps({**claims, "exp": claims["exp"] * 1000}).encode())
    head, _, signature = minted["token"].split(".")
    milliseconds = f"{head}.{payload.rstrip(b'=').decode()}.{signature}"
    edge = minted["playbackUrl"].split("?")[0]
    for pasted, code in [
        (milliseconds, "exp_in_milliseconds"),
        (f"{edge}?token={milliseconds}", "exp_in_milliseconds"),
        (f"curl '{edge}?token={milliseconds}' -H 'accept: */*'", "exp_in_milliseconds"),
        (minted["token"][:40], "not_a_jwt"),
        ('[{"error_code":"playback_auth_error","type":"error"}]', "single_use_spent"),
        ("origin required", "origin_missing"),
    ]:
        page.fill("#pasted", pasted)
        page.click("#inspect-form [type=submit]")
        until(page, f"document.getElementById('findings').textContent.includes({json.dumps(code)})")


def test_everything_is_reached_by_keyboard(open_demo):
    page = open_demo()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.click("#mint-only")
    page.wait_for_selector("#claims tr")
    expected = page.evaluate(
        """[...document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex="0"], video')]
          .filter((it) => !it.disabled && it.checkVisibility()).map((it) => (window.order ??= []).push(it))"""
    )
    # Where it begins on a page that was just opened.
    page.focus(".skip")
    reached = [[0, True]]
    for _ in range(3 * len(expected)):
        page.keyboard.press("Tab")
        at = page.evaluate(
            """(() => {
              const it = document.activeElement;
              const style = getComputedStyle(it);
              return [window.order.indexOf(it), style.outlineStyle !== 'none' || it.tagName === 'VIDEO'];
            })()"""
        )
        if at[0] >= 0 and at[0] not in [it for it, _ in reached]:
            reached.append(at)
        if len(reached) == len(expected):
            break
    assert [it for it, _ in reached] == list(range(len(expected))), reached
    assert all(is_seen for _, is_seen in reached), "a focus cannot be seen"

    # Each field has a label, and Enter does what the button does.
    unlabelled = page.evaluate(
        "[...document.querySelectorAll('input, select, textarea')].filter((it) => it.labels.length === 0).length"
    )
    assert unlabelled == 0
    page.focus("#viewer")
    page.keyboard.press("Enter")
    until(page, "document.getElementById('playback').textContent === 'Playing.'")
    page.focus("#stop")
    page.keyboard.press("Space")
    until(page, "document.getElementById('playback').textContent === 'Stopped.'")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(open_demo, scheme):
    page = open_demo(
        viewport={"width": 360, "height": 740}, color_scheme=scheme, has_touch=True, is_mobile=True
    )
    playing(page, "native", origins="https://a-rather-long-name.of-a-site.example " * 4 + page.url[:-1])
    page.click("#inspect-token")
    page.wait_for_selector("#findings p")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    small = page.evaluate(
        """[...document.querySelectorAll('button, select, input:not([type=checkbox])')]
          .filter((it) => it.checkVisibility() && it.getBoundingClientRect().height < 44).map((it) => it.id)"""
    )
    assert small == []
    light, dark = page.evaluate(
        """['ground', 'ink'].map((name) => {
          const colour = getComputedStyle(document.body)[name === 'ground' ? 'backgroundColor' : 'color'];
          return colour.match(/\\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0);
        })"""
    )
    assert (light > dark) == (scheme == "light")
    page.screenshot(path=artefact(f"phone-{scheme}.png"), full_page=True)


def test_another_name_leads_nowhere(chromium, dev):
    context = chromium.new_context()
    page = context.new_page()
    port = dev.url.rsplit(":", 1)[1]
    response = page.goto(f"http://evil.example:{port}/")
    assert response.status == 421
    assert "set-cookie" not in response.headers and context.cookies() == []
    assert page.goto(f"http://evil.example:{port}/demo/v1/key-pairs").status == 421
    context.close()


def on_port(answers, dev):
    return [it for it in answers if it[0].startswith(here(dev))]


def test_a_page_on_another_port_cannot_act(open_demo, dev):
    """It is same-site, so that the browser sends the cookie along."""
    site = Site(dict)
    try:
        page = open_demo()
        cookies = page.context.cookies()
        assert [(it["httpOnly"], it["sameSite"], it["path"]) for it in cookies] == [(True, "Strict", "/demo")]
        page.goto(site.origin + "/?player=none")
        answers = []
        page.on("response", lambda it: answers.append((it.url, it.status, it.request.method)))
        outcome = page.evaluate(
            f"""Promise.all(['GET', 'POST'].map((method) => fetch('{here(dev)}/demo/v1/key-pairs/rotations',
              {{ method, credentials: 'include', mode: 'no-cors' }}).then((it) => it.type)))"""
        )
        assert outcome == ["opaque", "opaque"]
        wait_in(page, lambda: len(on_port(answers, dev)) == 2, "the end of both requests")
        refused = sorted(it[1:] for it in on_port(answers, dev))
        assert refused == [(403, "GET"), (403, "POST")]
        readable = page.evaluate(
            f"fetch('{here(dev)}/demo/channels', {{ credentials: 'include' }}).then(() => true, () => false)"
        )
        assert readable is False
    finally:
        site.close()


def test_the_page_goes_on_after_dev_was_started_again(open_page, binary, tmp_path):
    with socket.socket() as holder:
        # Bound without listening, it keeps the port from others while the server is away.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        server = Dev(binary, tmp_path, listen="127.0.0.1:{}".format(holder.getsockname()[1]))
        try:
            page = open_page(here(server) + "/")
            page.wait_for_selector("#pairs tr")
            server.stop()
            server.start()
            page.click("#mint-only")
            page.wait_for_selector("#claims tr")
        finally:
            server.stop()


@pytest.mark.parametrize("player", ["ivs", "hls", "video"])
def test_a_site_of_its_own_plays_and_tries_a_refusal_once_more(open_page, dev, player):
    """Each player itself, with tokens for that origin alone; the first one is damaged."""
    minted = []

    def mint():
        answer = dev.mint(viewerId=f"site-{player}", allowedOrigins=[site.origin], singleUse=player != "video")
        if not minted:
            token = answer["token"]
            damaged = token[:-1] + ("A" if token[-1] != "A" else "B")
            # The last character may hold unused bits only.
            damaged = damaged[:-8] + damaged[-8:].swapcase()
            answer["playbackUrl"] = answer["playbackUrl"].replace(token, damaged)
        minted.append(answer)
        return answer

    site = Site(mint)
    try:
        page = open_page(f"{site.origin}/?player={player}")
        until(page, "window.playback?.state === 'playing'")
        advances(page, 2)
        assert len(minted) == 2
        assert colours(page) > 20
        dev.ivs().start_viewer_session_revocation(
            channelArn=dev.demo_channel()["arn"],
            viewerId=f"site-{player}",
            viewerSessionVersionsLessThanOrEqualTo=minted[-1]["viewerSessionVersion"],
        )
        until(page, "window.playback.state === 'failed'")
        assert page.evaluate("window.playback.error.code") == "player_failed"
        assert len(minted) == 2, "what played was loaded again"
    finally:
        site.close()


def test_public_page_plays_and_its_key_actions_are_disabled(binary, tmp_path, open_page):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"demo.example:{probe.getsockname()[1]}"
    arguments = ["--public-url", f"http://{host}", "--public-demo"]
    dev = Dev(binary, tmp_path, arguments, listen=host.replace("demo.example", "127.0.0.1"))
    try:
        page = open_page(f"http://{host}/")
        page.wait_for_selector("#channel option", state="attached")
        assert page.is_visible("#keys-closed")
        assert page.is_disabled("#rotate") and page.is_disabled("#emergency")
        page.select_option("#player", "media-source")
        page.click("#play")
        until(page, "document.getElementById('playback').textContent === 'Playing.'")
        page.click("#revoke")
        until(page, "document.getElementById('revocation').textContent !== ''")
    finally:
        dev.stop()
