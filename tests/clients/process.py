"""Servers of the built binary, and the environment of what speaks to them."""

import os
import pathlib
import signal
import subprocess
import threading


class Process:
    """The built binary as a server, until it is stopped or killed."""

    def __init__(self, command, log, env=None):
        self.log_path = pathlib.Path(log)
        self.log = open(self.log_path, "ab")
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.log, env=env, text=True
        )
        self.output = []
        """The lines that it has printed."""
        # Whatever it prints later (the audit log) must not fill the pipe.
        self.reader = threading.Thread(target=self.read)
        for line in self.process.stdout:
            self.output.append(line.rstrip("\n"))
            if line.startswith("listening on "):
                self.url = line.split()[-1]
                self.reader.start()
                return
        self.reader.start()
        self.ended()
        raise AssertionError("it did not start:\n" + self.log_path.read_text())

    def read(self):
        self.output.extend(line.rstrip("\n") for line in self.process.stdout)

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.ended()

    def stop(self):
        """Its exit code. Nothing happens to one that has ended."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        return self.ended()

    def ended(self):
        code = self.process.wait(timeout=120)
        self.reader.join()
        self.process.stdout.close()
        self.log.close()
        return code


def aws_environment(region, access_key_id="test", secret_access_key="test"):
    """For a process that is an AWS client of what a test starts, and of nothing else."""
    return {
        "PATH": os.environ["PATH"],
        "AWS_ACCESS_KEY_ID": access_key_id,
        "AWS_SECRET_ACCESS_KEY": secret_access_key,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        # The machine's own configuration is nobody's business here.
        "HOME": "/nonexistent",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
