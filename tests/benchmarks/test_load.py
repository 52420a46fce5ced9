"""What wrk printed, as a load."""

import pytest

from benchmarks.load import NoWrk, parse_wrk

OUTPUT = """Running 8s test @ http://127.0.0.1:8000/predict
  1 threads and 64 connections
  1203 requests in 8.01s, 811.02KB read
  Non-2xx or 3xx responses: 3
Requests/sec:    150.19
{"requests": 1203, "microseconds": 8010000, "status_errors": 3, \
"socket_errors": 2, "p50_us": 412500, "p99_us": 620250}
"""


def test_refused_requests_and_broken_connections_are_errors_and_not_answers() -> None:
    load = parse_wrk(OUTPUT)

    assert load.answered == 1200
    assert load.errors == 5
    assert load.rate == pytest.approx(1200 / 8.01)
    assert (load.p50_ms, load.p99_ms) == (412.5, 620.25)


def test_a_wrk_that_gave_up_is_told_with_its_words() -> None:
    with pytest.raises(NoWrk, match="unable to connect"):
        parse_wrk("unable to connect to 127.0.0.1:1 Connection refused\n")
