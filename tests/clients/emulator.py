"""The `emulator` command alone, verifying what clients sign."""

import pathlib

import boto3
import botocore.config

from process import Process, aws_environment

ACCESS_KEY_ID = "EXAMPLEKEY"
SECRET_ACCESS_KEY = "an example secret, no real one"
ACCOUNT = "210987654321"


class Emulator(Process):
    """`ivs-playback-auth emulator` on a free port, with a data folder and an access key of its own."""

    def __init__(self, binary, folder, *arguments):
        super().__init__(
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
            pathlib.Path(folder) / "log.txt",
        )

    def environment(self, region="us-west-2"):
        environment = aws_environment(region, ACCESS_KEY_ID, SECRET_ACCESS_KEY)
        return {**environment, "AWS_ENDPOINT_URL_IVS": self.url}

    def ivs(self, region="us-west-2", secret=SECRET_ACCESS_KEY, key_id=ACCESS_KEY_ID, attempts=1):
        return boto3.client(
            "ivs",
            endpoint_url=self.url,
            region_name=region,
            aws_access_key_id=key_id,
            aws_secret_access_key=secret,
            config=botocore.config.Config(retries={"total_max_attempts": attempts}),
        )
