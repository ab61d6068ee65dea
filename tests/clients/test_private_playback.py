"""clients/web/private-playback.js: its rules with fakes of the players, and its types with the real ones."""

import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from conftest import REPOSITORY

HERE = pathlib.Path(__file__).parent / "node"
ASSETS = REPOSITORY / "src/http/demo/assets"


@pytest.fixture(scope="module")
def node_modules():
    assert os.environ.get("NODE_PATH") and shutil.which("node"), "run tests/run clients"
    return pathlib.Path(os.environ["NODE_PATH"])


def run(*arguments):
    return subprocess.run(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600
    )


def test_the_rules_hold_for_each_kind_of_player(node_modules):
    done = run("node", "--test", str(HERE / "private_playback.test.mjs"))
    assert done.returncode == 0, done.stdout
    assert int(re.search(r"^. pass (\d+)", done.stdout, re.MULTILINE)[1]) > 50, done.stdout


def test_the_types_fit_those_of_the_players(node_modules, tmp_path):
    """JSDoc of the module and of the demo page, strictly, and the players' own declarations."""
    player = "amazon-ivs-player/dist/index.d.ts"
    settings = {
        "compilerOptions": {
            "strict": True,
            "noEmit": True,
            "allowJs": True,
            "checkJs": True,
            "skipLibCheck": True,
            "target": "es2022",
            "module": "es2022",
            "moduleResolution": "bundler",
            "lib": ["es2023", "dom", "dom.iterable"],
            "types": [],
            # The page gets the module from beside its own scripts.
            "rootDirs": [str(ASSETS), str(REPOSITORY / "clients/web")],
            "paths": {
                "hls.js": [str(node_modules / "hls.js/dist/hls.d.ts")],
                "amazon-ivs-player": [str(node_modules / player)],
            },
        },
        "files": [str(HERE / "players.ts"), *map(str, sorted(ASSETS.glob("*.js")))],
    }
    (tmp_path / "tsconfig.json").write_text(json.dumps(settings))
    done = run("node", str(node_modules / "typescript/bin/tsc"), "-p", str(tmp_path))
    assert done.returncode == 0, done.stdout


def test_the_module_has_no_dependencies_and_the_page_takes_it_as_it_is(dev):
    text = (REPOSITORY / "clients/web/private-playback.js").read_text()
    assert not re.search(r"^\s*import\b|\bimport\(|\brequire\(", re.sub(r"/\*.*?\*/", "", text, flags=re.S), re.M)
    served = dev.call("GET", "/demo/private-playback.js")
    assert (served.status, served.text) == (200, text)
