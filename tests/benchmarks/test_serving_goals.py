"""Ratios to the bare model at the nearest time, and through it to the best peer."""

from dataclasses import replace

from benchmarks.bare_model import Bare
from benchmarks.load import Load
from benchmarks.servers import Sample, ServerCost
from benchmarks.serving import SERVER_HEADER, server_rows
from benchmarks.serving_goals import (
    HEADER,
    Outcome,
    Yardstick,
    fastest_rows,
    fp32_rows,
    null_rows,
    spread,
)

# The machine was half as fast when the second server was measured.
YARDSTICK = Yardstick(
    (
        Bare(at=0.0, rate=1000.0, single_p50_ms=4.0),
        Bare(at=100.0, rate=500.0, single_p50_ms=8.0),
    )
)


def sample(rate: float, *, at: float, p50_ms: float = 5.0) -> Sample:
    load = Load(
        answered=round(10 * rate), seconds=10, errors=0, p50_ms=p50_ms, p99_ms=9.0
    )
    return Sample(load=load, at=at, cpu_seconds=20 * rate / 1000)


def outcome(name: str, *rates: float, at: float) -> Outcome:
    """A server that has these rates, one a round, at every number of connections."""
    costs = [
        ServerCost(
            name=name,
            singles={connections: sample(rate, at=at) for connections in (1, 16, 64)},
            many={"decoded, as .npy": sample(rate / 32, at=at)},
            ready_seconds=1.5,
            memory_bytes=300_000_000,
            agreement=0.995,
        )
        for rate in rates
    ]
    return Outcome(name, costs)


AWAY = Outcome("away", [], "no network")


def test_a_share_is_of_the_bare_model_at_the_nearest_time() -> None:
    assert YARDSTICK.share(sample(400, at=40.0)) == 0.4
    assert YARDSTICK.share(sample(400, at=60.0)) == 0.8
    assert YARDSTICK.share(sample(10, at=60.0), images=32) == 0.64
    assert YARDSTICK.added_ms(sample(100, at=10.0, p50_ms=5.0)) == 1.0


def test_the_ratio_to_the_best_peer_is_the_median_of_pairs_of_one_round() -> None:
    ours = outcome("flipside", 800, 600, 900, at=10.0)
    peers = [
        outcome("fast", 250, 250, 250, at=90.0),
        outcome("slow", 400, 200, 400, at=10.0),
    ]

    rows = fp32_rows(ours, peers, YARDSTICK)

    assert all(len(row) == len(HEADER) for row in rows)
    assert rows[0][1] == "800 (600 to 900)"
    assert rows[0][2] == "0.80 (0.60 to 0.90)"
    assert rows[0][3] == "1.60 (1.20 to 1.80), fast"
    cells = {row[0]: row[1:4] for row in rows}
    assert cells["fp32, 1 connection, p50, ms"][1] == "+1.00 (+1.00 to +1.00) ms"
    assert cells["32 images a request, decoded, as .npy, images/s"][1].startswith(
        "0.80"
    )


def test_a_faster_form_is_beside_the_peers_fp32_with_what_it_is_served_as() -> None:
    one = outcome("flipside", 800, at=10.0)
    fast = Outcome("fast", [replace(one.costs[0], form="openvino;int8")])

    (row,) = fastest_rows(fast, [outcome("peer", 200, at=10.0)], YARDSTICK)

    assert row[1] == "800 as openvino;int8, 99.5% of first answers equal"
    assert row[3] == "4.00, peer"


def test_what_a_request_costs_beside_the_network_is_the_servers_cpu_time() -> None:
    rows = null_rows(outcome("null", 1600, at=0.0), "Python")

    assert [row[1] for row in rows] == ["1,600, Python parser", "9", "2.00"]


def test_a_peer_that_was_not_measured_is_a_row_with_its_reason() -> None:
    rows = server_rows([outcome("flipside", 800, 900, 1000, at=0.0), AWAY], YARDSTICK)

    assert rows[-1][:2] == ("away", "not measured: no network")
    assert [row[1] for row in rows[:3]] == ["1", "16", "64"]
    assert rows[0][2:4] == ("900", "0.90")
    assert all(len(row) == len(SERVER_HEADER) for row in rows)


def test_one_value_has_no_spread() -> None:
    assert spread([1.234]) == "1.23"
