"""What schemathesis cannot know about the service, and a check of its own."""

import uuid

import schemathesis

# No schema can say that a point is on the curve.
PUBLIC_KEY = """-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEFQEeRx/nmXbpUiB432X7eu8q45230HAz
JJOcnkuCYue3bzez9WISAbLvGXckAnkNb1dBEjWU/lQwBjRU8t/7kuvtfkXlajd2
4iTAuglEDM3I6w9VQXsvoeoj9Jp9V2fC
-----END PUBLIC KEY-----
"""


@schemathesis.hook
def before_call(ctx, case, kwargs):
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if isinstance(case.body, dict) and case.body.get("publicKeyMaterial"):
        case.body["publicKeyMaterial"] = PUBLIC_KEY
    # The same key with another body is refused, as it should be.
    if "Idempotency-Key" in (case.headers or {}):
        case.headers["Idempotency-Key"] = str(uuid.uuid4())


@schemathesis.check
def problem_code_is_documented(ctx, response, case):
    documented = case.operation.definition.raw["responses"].get(str(response.status_code), {})
    if "x-problem-codes" in documented:
        assert response.json()["code"] in documented["x-problem-codes"], response.text
