"""Ratios to the bare model at the nearest time, and through it to the best peer."""

from benchmarks.bare_model import Bare
from benchmarks.load import Load, OpenLoad
from benchmarks.servers import Sample, ServerCost
from benchmarks.serving import SERVER_HEADER, SHAPE_HEADER, server_rows, shape_rows
from benchmarks.serving_goals import (
    GOAL_HEADER,
    NotMeasured,
    Outcome,
    Yardstick,
    goal_rows,
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


def cost(name: str, rate: float, *, at: float) -> ServerCost:
    return ServerCost(
        name=name,
        singles={connections: sample(rate, at=at) for connections in (1, 16, 64)},
        many={"JSON": sample(rate / 32, at=at)},
        open_loop=OpenLoad(sample(rate, at=at).load, generator_cpu=0.04),
        ready_seconds=1.5,
        idle_memory_bytes=200_000_000,
        memory_bytes=300_000_000,
    )


def test_a_share_is_of_the_bare_model_at_the_nearest_time() -> None:
    assert YARDSTICK.share(sample(400, at=40.0)) == 0.4
    assert YARDSTICK.share(sample(400, at=60.0)) == 0.8
    assert YARDSTICK.share(sample(10, at=60.0), images=32) == 0.64
    assert YARDSTICK.added_ms(sample(100, at=10.0, p50_ms=5.0)) == 1.0


def test_the_ratio_to_the_best_peer_is_one_of_shares_of_the_bare_model() -> None:
    ours = cost("flipside", 800, at=10.0)
    peers: list[Outcome] = [
        cost("fast", 250, at=90.0),
        cost("slow", 400, at=10.0),
        NotMeasured("away", "no network"),
    ]

    rows = goal_rows(ours, None, peers, starts=[2.0, 1.0, 3.0], yardstick=YARDSTICK)

    assert all(len(row) == len(GOAL_HEADER) for row in rows)
    assert rows[0][1:4] == ("800", "0.80", "1.60 (fast)")
    assert rows[1][1].startswith("not measured")
    cells = {row[0]: row[1:4] for row in rows}
    assert cells["one connection, p50, ms"] == ("5.00", "+1.00 ms", "")
    assert cells["start to ready, two versions, s"][0] == "2.0 (1.0 to 3.0)"


def test_a_peer_that_was_not_measured_is_a_row_with_its_reason() -> None:
    outcomes: list[Outcome] = [
        cost("flipside", 800, at=0.0),
        NotMeasured("away", "no network"),
    ]

    servers, shapes = (
        server_rows(outcomes, YARDSTICK),
        shape_rows(outcomes, YARDSTICK),
    )

    assert servers[-1][:2] == ("away", "not measured: no network")
    assert [row[1] for row in servers[:3]] == ["1", "16", "64"]
    assert servers[2][7] == "2.00"
    assert all(len(row) == len(SERVER_HEADER) for row in servers)
    assert all(len(row) == len(SHAPE_HEADER) for row in shapes)
