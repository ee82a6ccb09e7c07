"""When a run is complete, what makes it one, and what happens to what comes later."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from spanledger.conventions.detail import Detail, Evaluation, ToolRequest
from spanledger.conventions.reading import Cost
from spanledger.conventions.trajectory import Judgement
from spanledger.processor.trajectory.carried_context import carried_context
from spanledger.processor.trajectory.config import TrajectoryConfig
from tests.assembled_runs import Bench, agent, bridge, run, says, span_id, spans_of, step, tool, trace


def bench(**config: Any) -> Bench:
    """Return an assembly with this configuration."""
    return Bench(TrajectoryConfig.model_validate(config))


def asks(number: int, trace_number: int, *ids: str, **facts: Any) -> Any:
    """Return a model call of its own trace that asks for tools."""
    requests = tuple(ToolRequest(id_, "search", None) for id_ in ids)
    return says(step(number, 0, trace_number), requests=requests, **facts)


# -- completion --


def test_a_run_is_closed_when_its_root_has_ended_and_it_was_quiet() -> None:
    """Children, then the root, then `settle`."""
    runs = bench()
    runs.take(*run())
    runs.wait(4.9)
    assert runs.documents == []
    assert runs.count("spanledger_runs_open") == 1

    runs.wait(0.2)

    (document,) = runs.documents
    assert (document["completeness"], document["revision"]) == ("complete", 1)
    assert document["totals"]["llm_calls"] == 2
    assert runs.count("spanledger_runs_closed_total", "root") == 1
    assert runs.count("spanledger_runs_open") == 0


def test_a_span_puts_the_end_off() -> None:
    """Quiet means quiet."""
    runs = bench()
    runs.take(*run())
    runs.wait(4)
    runs.take(step(9, 1))
    runs.wait(4)
    assert runs.documents == []

    runs.wait(1)
    assert len(runs.documents) == 1


def test_a_parent_that_is_still_open_is_waited_for() -> None:
    """An inner agent that has ended is no root, and a grandchild names an open child."""
    runs = bench(idle_timeout="60s")
    runs.take(step(3, 2), agent(2, 1, spans=2, agent_name="helper"))
    runs.wait(30)
    runs.take(step(5, 4), agent(1))
    runs.wait(30)
    assert runs.documents == []

    runs.take(agent(4, 1, spans=2))
    runs.wait(5)
    (document,) = runs.documents
    assert document["completeness"] == "complete"
    assert document["totals"]["max_depth"] == 2


def test_a_run_whose_root_never_comes_is_closed_when_idle() -> None:
    """The application was killed."""
    runs = bench(idle_timeout="60s")
    runs.take(*run()[:-1])
    runs.wait(59)
    assert runs.documents == []

    runs.wait(1)
    (document,) = runs.documents
    assert document["completeness"] == "rootless"
    assert runs.count("spanledger_runs_closed_total", "idle") == 1


def test_a_remote_parent_that_nobody_reports_is_waited_for_but_not_for_long() -> None:
    """Only a part of the system sends its spans here."""
    runs = bench(settle_remote="30s")
    runs.take(step(3, 2), replace(agent(2, 77), remote_parent=True))
    runs.wait(29)
    assert runs.documents == []

    runs.wait(1)
    (document,) = runs.documents
    assert document["totals"]["llm_calls"] == 1


def test_two_processes_make_one_run() -> None:
    """The called process reports first."""
    runs = bench()
    runs.take(
        replace(step(5, 4), service_name="worker"),
        replace(agent(4, 3, spans=3), service_name="worker", agent_name="helper", remote_parent=True),
    )
    runs.wait(8)
    runs.take(tool(3, 1, end_ns=step(8).start_ns), agent(1))
    runs.wait(5)

    (document,) = runs.documents
    assert spans_of([document]) == [(trace(1).hex(), span_id(number).hex()) for number in (1, 3, 4, 5)]
    assert document["service_name"] == "shop"


def test_a_run_ends_at_the_latest_after_max_duration() -> None:
    """Even one that is never quiet."""
    runs = bench(max_duration="100s", idle_timeout="60s")
    for number in range(2, 7):
        runs.take(step(number, 1))
        runs.wait(20)

    (document,) = runs.documents
    assert document["completeness"] == "truncated"
    assert runs.count("spanledger_runs_closed_total", "max_duration") == 1


def test_a_run_that_is_revised_again_and_again_is_forgotten_all_the_same() -> None:
    """Spans that come for ever do not keep it for ever; those that come after that are counted."""
    runs = bench(settle="5s", max_duration="300s", late={"remember": "60s", "forget": "3600s"})
    runs.take(agent(1, 0))
    for number in range(2, 50):
        runs.wait(10)
        runs.take(step(number, 1))

    assert runs.assembly.store.group_of(trace(1)) is None
    assert runs.count("spanledger_late_spans_total") == 48
    assert len(runs.final) == 1


def test_ten_interleaved_runs_stay_apart() -> None:
    """Concurrency in one process."""
    runs = bench()
    records = [run(number) for number in range(1, 11)]
    for position in range(4):
        for one in records:
            runs.take(one[position])
    runs.wait(5)

    assert len(runs.documents) == 10
    assert {document["totals"]["steps"] for document in runs.documents} == {4}
    assert runs.count("spanledger_runs_total", "shop", "planner", "success", "complete") == 10


def test_a_trace_without_genai_work_is_no_run() -> None:
    """It vanishes, and is counted."""
    runs = bench()
    runs.take(bridge(2, 1), bridge(1))
    runs.wait(5)

    assert runs.documents == []
    assert runs.count("spanledger_trajectory_unrelated_spans_total") == 2
    assert runs.assembly.store.size_bytes == 0


def test_series_of_an_agent_are_there_at_0_before_its_first_run_ends() -> None:
    """Its first failure must be an increase."""
    runs = bench()
    runs.take(step(2, 1))

    (family,) = (one for one in runs.table.families() if one.metric.name == "spanledger_runs_total")
    assert family.get(("shop", "planner", "failure", "complete")) is not None
    assert runs.count("spanledger_runs_total") == 0


def test_the_worst_run_in_flight_is_shown() -> None:
    """And no longer when it has ended."""
    runs = bench()
    runs.take(step(2, 1, cost=Cost("priced", total=3 * 10**12)), step(3, 1), agent(1))
    runs.take(step(2, 1, 2))
    assert runs.count("spanledger_open_run_cost_usd_max", "shop", "planner") == pytest.approx(3.00025)
    assert runs.count("spanledger_open_run_steps_max", "shop", "planner") == 3

    runs.wait(5)
    runs.wait(1)
    assert runs.count("spanledger_open_run_cost_usd_max", "shop", "planner") == pytest.approx(0.00025)
    assert runs.count("spanledger_open_run_steps_max", "shop", "planner") == 1


def test_a_run_that_learns_its_agent_moves_to_its_series() -> None:
    """The first spans said nothing of an agent."""
    runs = bench()
    runs.take(step(2, 1, agent_name=""))
    assert runs.count("spanledger_open_run_steps_max", "shop", "") == 1

    runs.take(step(3, 1))
    runs.wait(1)
    assert runs.count("spanledger_open_run_steps_max", "shop", "") == 0
    assert runs.count("spanledger_open_run_steps_max", "shop", "planner") == 2


def test_an_agent_with_another_prompt_is_news_once() -> None:
    """Not when it was like that before."""
    runs = bench()
    for number, prompt in enumerate((1, 1, 2, 1, 2), 1):
        runs.take(says(step(2, 1, number), prompt=prompt), agent(1, 0, number))
        runs.wait(5)

    changed = [one for one in runs.told.records if one.event_name == "spanledger.agent.changed"]
    assert [one.trace_id for one in changed] == [trace(3)]


def test_the_fingerprint_of_an_agents_last_run_is_its_only_one() -> None:
    """The series of the one before goes when a run has another."""
    runs = bench()
    info = runs.table.gauge("spanledger_agent_info")
    seen = []
    for number, prompt in enumerate((1, 1, 2), 1):
        runs.take(says(step(2, 1, number), prompt=prompt), agent(1, 0, number))
        runs.wait(5)
        ((labels, cell),) = info._cells.items()
        assert (labels[:2], cell.value) == (("shop", "planner"), 1)
        assert labels[4] == runs.documents[-1]["fingerprints"]["planner"]
        seen.append(labels[4])
    assert seen[0] == seen[1] != seen[2]


# -- late --


def test_a_late_child_revises_the_run_and_corrects_the_metrics_by_the_difference() -> None:
    """Same id, revision 2, one run."""
    runs = bench()
    runs.take(*run())
    runs.wait(5)
    runs.take(step(9, 1, cost=Cost("priced", total=10**12)))
    runs.wait(5)

    first, second = runs.documents
    assert (first["run_id"], second["revision"]) == (second["run_id"], 2)
    assert second["totals"]["llm_calls"] == 3
    assert runs.count("spanledger_runs_total") == 1
    assert runs.count("spanledger_run_cost_usd_total") == pytest.approx(second["totals"]["cost_usd"])
    assert runs.count("spanledger_late_spans_total", "shop") == 1
    assert runs.count("spanledger_run_revisions_total") == 1


def test_a_late_root_keeps_the_id_that_was_told() -> None:
    """What was rootless is complete now; it is the same run."""
    runs = bench(idle_timeout="60s")
    runs.take(*run()[:-1])
    runs.wait(60)
    runs.take(agent(1))
    runs.wait(5)

    first, second = runs.documents
    assert first["run_id"] == second["run_id"]
    assert (first["completeness"], second["completeness"]) == ("rootless", "complete")
    assert second["root_span_id"] == span_id(1).hex()
    assert runs.count("spanledger_runs_total") == 1
    assert runs.count("spanledger_run_corrections_total", "completeness") == 1


def test_a_run_keeps_its_id_when_its_root_turns_out_to_be_a_second_report() -> None:
    """The same agent around it came late."""
    runs = bench(idle_timeout="60s")
    runs.take(step(3, 2), agent(2, 1, spans=3))
    runs.wait(60)
    runs.take(agent(1))
    runs.wait(5)

    first, second = runs.documents
    assert (first["run_id"], second["revision"]) == (second["run_id"], 2)
    assert second["steps"][0]["twins"] == [span_id(2).hex()]


def test_a_duplicate_after_the_end_makes_no_revision() -> None:
    """A sender that did not hear our answer sends again."""
    runs = bench()
    runs.take(*run())
    runs.wait(5)
    runs.take(*run())
    runs.wait(5)

    assert len(runs.documents) == 1
    assert runs.count("spanledger_trajectory_spans_total", "duplicate") == 4


def test_a_span_of_a_run_that_is_no_longer_held_is_counted_and_makes_no_second_run() -> None:
    """The trace id is still known."""
    runs = bench(late={"remember": "10s", "forget": "100s"})
    runs.take(*run())
    runs.wait(5)
    runs.wait(10)
    runs.take(step(9, 1))
    runs.wait(60)

    assert len(runs.documents) == 1
    assert runs.count("spanledger_trajectory_spans_total", "too_late") == 1
    assert runs.assembly.store.size_bytes == 0


def test_a_cost_that_falls_is_said_to_be_a_correction() -> None:
    """Counters only grow: a late parent turned out to be what a call was counted in."""
    runs = bench()
    runs.take(step(2, 1, end_ns=step(2).start_ns, cost=Cost("priced", total=10**12)), agent(1))
    runs.wait(5)
    runs.take(step(2, 1, cost=Cost("priced", total=10**11)))
    runs.wait(5)

    assert [document["totals"]["cost_usd"] for document in runs.documents] == [1.0, 0.1]
    assert runs.count("spanledger_run_cost_usd_total") == 1.0
    assert runs.count("spanledger_run_corrections_total", "cost") == 1


def test_a_late_evaluation_revises_the_run() -> None:
    """By the response that is judged, without a trace."""
    runs = bench()
    runs.take(*run()[1:], step(2, 1, response_id="resp_12345"))
    runs.wait(5)
    runs.assembly.judge(Judgement(Evaluation("helpful", 0.5, "ok", response_id="resp_12345")))
    runs.wait(5)

    _, second = runs.documents
    assert [one["name"] for one in second["evaluations"] if one["basis"] == "response_id"] == ["helpful"]
    assert runs.count("spanledger_evaluations_total", "shop", "planner", "helpful", "ok") == 1


def test_an_evaluation_that_comes_before_its_run_waits_for_it() -> None:
    """Logs and spans come in any order."""
    runs = bench(evaluators=[])
    runs.assembly.judge(Judgement(Evaluation("helpful", 1.0), trace(1), span_id(2)))
    runs.wait(1)
    runs.take(*run())
    runs.wait(5)
    runs.wait(5)

    assert runs.documents[-1]["evaluations"][0]["step"] == 1
    assert runs.count("spanledger_evaluations_total") == 1


def test_what_was_said_of_spans_that_have_not_come_is_known_after_a_reload() -> None:
    """An evaluation of a run, and the words of a log record: both come before their span, and a reload in between."""
    runs = bench(content="full")
    runs.assembly.judge(Judgement(Evaluation("helpful", 0.5, "ok", response_id="resp_12345")))
    runs.assembly.hear(trace(1), span_id(2), Detail(said="four"))
    runs.clock.now_s += 1
    runs.reload()
    runs.reload()
    runs.take(*run(), step(9, 1, response_id="resp_12345"))
    runs.wait(6)

    (document,) = runs.documents
    assert [one["name"] for one in document["evaluations"] if one["basis"] != "builtin"] == ["helpful"]
    assert [one["output"] for one in document["steps"] if one["span_id"] == span_id(2).hex()] == ["four"]


def test_an_evaluation_that_finds_no_run_is_lost_as_late_as_without_a_reload() -> None:
    """Its time goes on, and it counts once."""
    runs = bench(late={"remember": "60s"})
    runs.assembly.judge(Judgement(Evaluation("helpful", 0.5, response_id="nobody")))
    runs.wait(50)
    runs.reload()
    assert runs.count("spanledger_trajectory_log_records_dropped_total", "unknown") == 0
    runs.wait(11)
    assert runs.count("spanledger_trajectory_log_records_dropped_total", "unknown") == 1


def test_an_evaluation_of_nothing_known_is_given_up_and_counted() -> None:
    """After as long as a run could be revised."""
    runs = bench()
    runs.assembly.judge(Judgement(Evaluation("helpful", 1.0, response_id="nobody")))
    runs.wait(299)
    assert runs.count("spanledger_trajectory_log_records_dropped_total") == 0

    runs.wait(1)
    assert runs.count("spanledger_trajectory_log_records_dropped_total", "unknown") == 1


# -- limits --


def test_the_run_that_was_silent_longest_is_closed_for_a_new_one() -> None:
    """With a reason, and nothing of it is lost."""
    runs = bench(memory={"max_runs": 2})
    runs.take(step(2, 1, 1))
    runs.take(step(2, 1, 2))
    runs.take(step(3, 1, 1))
    runs.take(step(2, 1, 3))

    (document,) = runs.documents
    assert document["trace_ids"] == [trace(2).hex()]
    assert document["completeness"] == "evicted"
    assert runs.count("spanledger_runs_closed_total", "evicted_count") == 1


def test_a_run_with_too_many_spans_is_closed_and_the_rest_is_counted() -> None:
    """As `truncated`."""
    runs = bench(memory={"max_spans_per_run": 3})
    runs.take(*(step(number, 1) for number in range(2, 8)))
    runs.wait(5)

    (document,) = runs.documents
    assert (document["completeness"], document["totals"]["steps"]) == ("truncated", 3)
    assert runs.count("spanledger_trajectory_spans_total", "over_limit") == 3
    assert runs.count("spanledger_runs_closed_total", "span_limit") == 1


def test_memory_is_bounded_by_closing_the_largest_of_the_oldest() -> None:
    """Closed runs go first, then open ones; all are told of."""
    runs = bench(memory={"limit_mib": 1})
    for number in range(1, 70):
        runs.take(*(says(step(n, 1, number), input="x" * 10_000) for n in (2, 3)))

    assert runs.assembly.store.size_bytes <= 1024 * 1024
    evicted = runs.count("spanledger_runs_closed_total", "evicted_bytes")
    assert evicted == len(runs.documents) > 10
    assert {document["completeness"] for document in runs.documents} == {"evicted"}


def test_shutdown_closes_what_is_open() -> None:
    """One that had ended is complete, one that had not says why it was closed."""
    runs = bench()
    runs.take(*run(1), step(2, 1, 2))
    runs.end()

    assert [document["completeness"] for document in runs.documents] == ["complete", "shutdown"]
    assert runs.count("spanledger_runs_closed_total", "shutdown") == 2


def test_a_large_run_is_not_put_together_in_the_loop() -> None:
    """Its documents are made elsewhere, from a snapshot."""
    runs = bench()
    runs.assembly.take((*(step(number, 1) for number in range(2, 400)), agent(1, spans=400)))
    runs.clock.now_s += 5
    runs.assembly.turn()
    assert [reason for _, reason in runs.assembly.large] == ["root"]

    runs.settle()
    assert runs.documents[0]["totals"]["llm_calls"] == 398


# -- stitching --


def test_calls_without_an_agent_are_joined_by_tool_call_ids() -> None:
    """Client-only instrumentation: each call is a trace."""
    runs = bench()
    runs.take(asks(1, 1, "call_abcdef"))
    runs.take(tool(2, 0, 2, tool_call_id="call_abcdef"))
    runs.take(says(step(3, 0, 3), answered=("call_abcdef",)))
    runs.wait(5)

    (document,) = runs.documents
    assert len(document["trace_ids"]) == 3
    assert runs.count("spanledger_runs_total") == 1


def test_the_order_of_arrival_does_not_matter_to_joins() -> None:
    """The last call comes first."""
    runs = bench()
    runs.take(says(step(3, 0, 3), answered=("call_abcdef",)))
    runs.take(tool(2, 0, 2, tool_call_id="call_abcdef"))
    runs.take(asks(1, 1, "call_abcdef"))
    runs.wait(5)

    assert len(runs.documents[-1]["trace_ids"]) == 3


def test_a_tool_result_that_no_model_has_read_keeps_a_run_open() -> None:
    """The model will be called again."""
    runs = bench()
    runs.take(asks(1, 1, "call_abcdef", after=7))
    runs.wait(100)
    assert runs.documents == []

    runs.take(says(step(3, 0, 3), answered=("call_abcdef",), history=(7, 8), after=9))
    runs.wait(5)
    assert len(runs.documents) == 1


def test_calls_without_an_agent_are_joined_by_their_history() -> None:
    """The next call's history contains what the last one ended with."""
    runs = bench()
    runs.take(says(step(1, 0, 1), history=(1,), after=2))
    runs.take(says(step(2, 0, 2), history=(1, 2, 3), after=4))
    runs.wait(5)

    (document,) = runs.documents
    assert len(document["trace_ids"]) == 2


def test_identical_chains_are_each_continued_once() -> None:
    """Ten runs of the same words at the same time."""
    runs = bench()
    for number in range(1, 11):
        runs.take(says(step(1, 0, number), history=(1,), after=2))
    for number in range(1, 11):
        runs.take(says(step(2, 0, 100 + number), history=(1, 2, 3), after=4))
    runs.wait(5)

    assert sorted(len(document["trace_ids"]) for document in runs.documents) == [2] * 10


def test_a_new_turn_of_a_user_is_a_run_of_its_own() -> None:
    """In the same session."""
    runs = bench()
    runs.take(says(step(1, 0, 1, conversation_id="c1"), history=(1,), after=2))
    runs.take(says(step(2, 0, 2, conversation_id="c1"), history=(1, 2, 3), after=4, asks_user=True))
    runs.wait(5)

    assert [document["session_id"] for document in runs.documents] == ["c1", "c1"]


def test_calls_without_content_are_joined_by_conversation_within_a_window() -> None:
    """And a run of them is closed when no more may join."""
    runs = bench(stitch_window="20s")
    runs.take(step(1, 0, 1, conversation_id="c1"))
    runs.wait(15)
    runs.take(step(2, 0, 2, conversation_id="c1"))
    runs.take(step(3, 0, 3, conversation_id="c2"))
    runs.wait(19)
    assert runs.documents == []

    runs.wait(1)
    assert sorted(len(document["trace_ids"]) for document in runs.documents) == [1, 2]


def test_a_link_joins_two_traces_whichever_comes_first() -> None:
    """A queue between two agents."""
    for order in (1, -1):
        runs = bench()
        sender = [bridge(2, 1, 1, kind=4), agent(1, 0, 1)]
        receiver = [
            step(6, 5, 2),
            agent(5, 0, 2),
        ]
        receiver[1] = says(receiver[1], links=((trace(1), span_id(2)),))
        for records in (sender, receiver)[::order]:
            runs.take(*records)
        runs.wait(5)

        assert [len(document["trace_ids"]) for document in runs.documents] == [2]


def test_a_context_inside_a_message_joins_two_traces() -> None:
    """A server that writes it down and does not make it the parent of its span."""
    runs = bench()
    runs.take(tool(2, 1, 1), agent(1, 0, 1))
    runs.take(says(agent(5, 0, 2, spans=1, agent_name="helper"), context=(trace(1), span_id(2))))
    runs.wait(5)

    (document,) = runs.documents
    assert [one["basis"] for one in document["steps"]] == ["root", "parent", "mcp"]


@pytest.mark.parametrize(
    ("said", "context"),
    [
        ("00-" + "0a" * 16 + "-" + "0b" * 8 + "-01", (b"\n" * 16, b"\v" * 8)),
        ("00-" + "00" * 16 + "-" + "0b" * 8 + "-01", None),
        ("00-xyz", None),
        (7, None),
    ],
)
def test_a_context_is_read_as_w3c_has_it(said: Any, context: Any) -> None:
    """And anything else is none."""
    assert carried_context({"x": 1, "mcp.request.meta.traceparent": said}) == context


def test_stitching_can_be_switched_off() -> None:
    """Each trace by itself."""
    runs = bench(stitch=["parent"])
    runs.take(asks(1, 1, "call_abcdef"), tool(2, 0, 2, tool_call_id="call_abcdef"))
    runs.wait(2000)

    assert len(runs.documents) == 2
