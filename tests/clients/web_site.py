"""A web site that plays a private channel, on an origin of its own: the players and private-playback.js
from their files, and a backend that mints."""

import functools
import http.server
import json
import os
import pathlib
import subprocess
import threading

from conftest import REPOSITORY

PAGE = """<!doctype html><meta charset="utf-8"><title>A site</title>
<video id="video" muted playsinline crossorigin="anonymous"></video>
<script src="/hls.js"></script>
<script src="/ivs.js"></script>
<script type="module">
import { playPrivate } from '/private-playback.js';
const kind = new URL(location).searchParams.get('player');
const video = document.getElementById('video');
let player = video;
if (kind === 'hls') {
  player = new Hls();
  player.attachMedia(video);
} else if (kind === 'ivs') {
  const [wasmWorker, wasmBinary] = ['/worker.js', '/worker.wasm'].map((path) => location.origin + path);
  player = IVSPlayer.create({ wasmWorker, wasmBinary });
  player.attachHTMLVideoElement(video);
}
window.playback = playPrivate(player, async ({ signal }) =>
  (await fetch('/playback-url', { method: 'POST', signal })).json(), { stallTimeout: 10000 });
</script>
"""


@functools.cache
def files():
    modules = pathlib.Path(os.environ["NODE_PATH"])
    ivs = modules / "amazon-ivs-player/dist/assets"
    module = REPOSITORY / "clients/web/private-playback.js"
    # It comes as CommonJS, for bundlers.
    bundled = subprocess.run(
        [modules / ".bin/esbuild", "--bundle", "--format=iife", "--global-name=IVSPlayer"],
        input=b"export * from 'amazon-ivs-player';",
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    return {
        "/": ("text/html", PAGE.encode()),
        "/hls.js": ("text/javascript", (modules / "hls.js/dist/hls.min.js").read_bytes()),
        "/ivs.js": ("text/javascript", bundled),
        "/worker.js": ("text/javascript", (ivs / "amazon-ivs-wasmworker.min.js").read_bytes()),
        "/worker.wasm": ("application/wasm", (ivs / "amazon-ivs-wasmworker.min.wasm").read_bytes()),
        "/private-playback.js": ("text/javascript", module.read_bytes()),
    }


class Site:
    """`mint` gives the answer to each `POST /playback-url`."""

    def __init__(self, mint):
        # Made by one thread, before those that answer ask for it.
        known = files()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                kind, body = known.get(self.path.split("?")[0], ("text/plain", b""))
                self.answer(kind, body)

            def do_POST(self):
                self.answer("application/json", json.dumps(mint()).encode())

            def answer(self, kind, body):
                self.send_response(200 if body else 404)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.origin = f"http://localhost:{self.server.server_port}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()
