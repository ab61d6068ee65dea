"""A newcomer can follow the README in order: its commands run as they are written."""

import os
import pathlib
import re
import subprocess
import sys
import threading
import time

import pytest

from conftest import REPOSITORY

README = (REPOSITORY / "README.md").read_text()

# The sections whose commands run here, in order. The others need AWS, or repeat.
TRIED = ["Try it", "Run the service against the emulator"]


def blocks(title=None):
    """The shell commands of a section, or of all sections with their titles."""
    found = []
    for section in README.split("\n## ")[1:]:
        name, text = section.split("\n", 1)
        found += [(name, block) for block in re.findall(r"```sh\n(.*?)```", text, re.S)]
    return found if title is None else [block for name, block in found if name == title]


def commands(block):
    """Its `ivs-playback-auth` commands, without comments and what the shell makes of them."""
    joined = block.replace("\\\n", " ")
    for line in joined.splitlines():
        line = re.sub(r"\s+#.*", "", line)
        for command in re.findall(r"(?:^|\$\()(ivs-playback-auth [^|&)]*)", line):
            yield command.replace('"$URL"', "URL").replace('"${URL}x"', "URL").split()


class Terminal:
    """A shell in which blocks run one after the other, with the programs on its PATH."""

    def __init__(self, folder, binary):
        self.folder = folder
        programs = folder / "programs"
        programs.mkdir(exist_ok=True)
        # The same commands, on free ports.
        wrapper = programs / "ivs-playback-auth"
        wrapper.write_text(
            "#!/bin/sh\n"
            'case "$1" in\n'
            'dev) shift; set -- dev --listen 127.0.0.1:0 --emulator-listen 127.0.0.1:0 "$@" ;;\n'
            'emulator | serve) name=$1; shift; set -- "$name" --listen 127.0.0.1:0 "$@" ;;\n'
            "esac\n"
            f'exec "{binary}" "$@"\n'
        )
        wrapper.chmod(0o755)
        path = os.pathsep.join([str(programs), str(pathlib.Path(sys.executable).parent), os.environ["PATH"]])
        self.shell = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            cwd=folder,
            # AWS's own configuration of this machine is not the newcomer's.
            env={"PATH": path, "HOME": str(folder), "AWS_EC2_METADATA_DISABLED": "true"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.lines = []
        self.has_ended = False
        self.changed = threading.Condition()
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        for line in self.shell.stdout:
            with self.changed:
                self.lines.append(line.rstrip("\n"))
                self.changed.notify_all()
        with self.changed:
            self.has_ended = True
            self.changed.notify_all()

    def wait_for(self, pattern, start):
        """The first match in a line from `start` on."""
        deadline = time.monotonic() + 120
        with self.changed:
            while True:
                for line in self.lines[start:]:
                    if match := re.search(pattern, line):
                        return match
                waited = not self.has_ended and self.changed.wait(deadline - time.monotonic())
                assert waited, "\n".join(self.lines[start:])

    def run(self, block):
        """What the commands print. All of them must succeed."""
        start = len(self.lines)
        self.shell.stdin.write(f"set -e\n{block}\nset +e\necho; echo the block has ended\n")
        self.shell.stdin.flush()
        self.wait_for("^the block has ended$", start)
        return "\n".join(self.lines[start:])

    def serve(self, command):
        """Starts a server in the background; where it listens."""
        *before, server = command.strip().splitlines()
        start = len(self.lines)
        self.shell.stdin.write("\n".join([*before, server.removesuffix("&") + " &\n"]))
        self.shell.stdin.flush()
        return self.wait_for(r"^listening on http://(\S+)", start)[1]

    def close(self):
        if self.shell.poll() is None:
            # An end of input would leave the servers.
            self.shell.stdin.write("kill $(jobs -p) 2> /dev/null; wait; exit\n")
            self.shell.stdin.flush()
        self.shell.wait(timeout=120)
        self.reader.join()
        self.shell.stdin.close()
        self.shell.stdout.close()


@pytest.fixture
def terminal(binary, tmp_path):
    opened = []

    def open_terminal():
        opened.append(Terminal(tmp_path, binary))
        return opened[-1]

    yield open_terminal
    for each in reversed(opened):
        each.close()


def test_dev_section_works_as_written(terminal):
    dev, mint, play, inspect, manage = blocks("Try it")
    address = terminal().serve(dev)
    second = terminal()
    assert '"playbackUrl":"http' in second.run(mint.replace("127.0.0.1:8080", address))
    assert "#EXTM3U" in second.run(play)
    refused = second.run(inspect)
    assert "invalid_playback_auth_token" in refused or "playback_auth_error" in refused, refused
    assert re.search("^error +not_a_jwt", refused, re.M), refused
    assert "active" in second.run(manage)


def test_emulator_section_works_as_written(terminal):
    emulator, prepare, serve, mint, stop = blocks("Run the service against the emulator")
    first, second = terminal(), terminal()
    emulated = first.serve(emulator)
    second.run(prepare.replace("127.0.0.1:8090", emulated))
    address = second.serve(serve)
    assert '"token":"eyJ' in second.run(mint.replace("127.0.0.1:8080", address))
    first.close()
    second.run(stop)
    assert not (second.folder / "trial").exists()


@pytest.mark.parametrize("block", [block for name, block in blocks() if name not in TRIED])
def test_other_commands_exist(binary, block):
    subprocess.run(["bash", "-n"], input=block, text=True, check=True)
    for _, *arguments in commands(block):
        shown = subprocess.run([binary, *arguments, "--help"], capture_output=True, text=True)
        assert shown.returncode == 0, shown.stderr


def test_files_that_the_readme_links_to_exist():
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README):
        assert (REPOSITORY / target).exists(), target
