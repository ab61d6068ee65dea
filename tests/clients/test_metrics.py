"""What a scraper reads at /metrics."""

import subprocess

from prometheus_client.openmetrics.parser import text_string_to_metric_families


def test_an_openmetrics_parser_reads_what_was_counted(dev):
    dev.mint(viewerId="alice")
    assert dev.call("POST", "/v1/tokens", {"channel": "demo", "ttlSeconds": 0}).status == 422
    answer = dev.call("GET", "/metrics")
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")

    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    outcomes = {
        sample.labels["outcome"]: sample.value
        for sample in families["ivs_playback_auth_mints"].samples
        if sample.name.endswith("_total")
    }
    assert outcomes["minted"] >= 1 and outcomes["invalid_request"] >= 1
    states = {
        sample.labels["state"]: sample.value
        for sample in families["ivs_playback_auth_key_state"].samples
    }
    assert states == {
        "pending": 0, "active": 1, "draining": 0, "retiring": 0, "foreign": 0, "missing": 0
    }
    assert families["ivs_playback_auth_http_request_duration_seconds"].type == "histogram"
    assert "alice" not in answer.text and "demo" not in answer.text


def test_promtool_accepts_the_classic_format(dev):
    dev.mint(viewerId="alice")
    answer = dev.call("GET", "/metrics", headers={"Accept": "text/plain"})
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    checked = subprocess.run(
        ["promtool", "check", "metrics"],
        input=answer.text, capture_output=True, text=True, timeout=60, check=False,
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")

    samples = {line.split("{")[0].split(" ")[0] for line in answer.text.splitlines()}
    assert {
        "ivs_playback_auth_mints_total",
        "ivs_playback_auth_build_info",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_max_fds",
        "process_start_time_seconds",
    } <= samples
