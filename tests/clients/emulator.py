"""The `emulator` command alone, verifying what clients sign."""

import os
import pathlib
import subprocess

import boto3
import botocore.config

ACCESS_KEY_ID = "EXAMPLEKEY"
SECRET_ACCESS_KEY = "an example secret, no real one"
ACCOUNT = "210987654321"


class Emulator:
    """`ivs-playback-auth emulator` on a free port, with a data folder and an access key of its own."""

    def __init__(self, binary, folder, *arguments):
        self.log = open(pathlib.Path(folder) / "log.txt", "ab")
        self.process = subprocess.Popen(
            [
                binary,
                "emulator",
                "--listen=127.0.0.1:0",
                f"--data-dir={folder}/emulator",
                f"--account-id={ACCOUNT}",
                f"--access-key-id={ACCESS_KEY_ID}",
                f"--secret-access-key={SECRET_ACCESS_KEY}",
                *arguments,
            ],
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        for line in self.process.stdout:
            if line.startswith("listening on "):
                self.url = line.split()[-1]
                break
        else:
            raise AssertionError("the emulator did not start")

    def environment(self, region="us-west-2"):
        """For a process that is an AWS client of it, and of nothing else."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "AWS_ENDPOINT_URL_IVS": self.url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
        }

    def ivs(self, region="us-west-2", secret=SECRET_ACCESS_KEY, key_id=ACCESS_KEY_ID, attempts=1):
        return boto3.client(
            "ivs",
            endpoint_url=self.url,
            region_name=region,
            aws_access_key_id=key_id,
            aws_secret_access_key=secret,
            config=botocore.config.Config(retries={"total_max_attempts": attempts}),
        )

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=30)
        self.process.stdout.close()
        self.log.close()
