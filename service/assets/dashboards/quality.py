"""Quality: how good the work is, as far as anybody judged it."""

from __future__ import annotations

from typing import Final

from spanledger.service.assets.dashboards.panel import Board, Column, Limits, Panel, Query, Row
from spanledger.service.assets.dashboards.series import (
    BY_AGENT,
    added,
    ranked,
    select,
    share,
    speed,
    table,
    top,
)
from spanledger.service.assets.dashboards.shared import (
    AGENT,
    AGENT_COLUMNS,
    COUNT,
    OUTCOMES,
    PER_MINUTE,
    RATIO,
    RETRIES,
    RUNS,
    TIMES,
    graph,
    runs_of_agents,
    sheet,
    stat,
)

NO_SCORES: Final = "No evaluations in this time range"
EVALUATION: Final = "evaluation_name"
SUM: Final = select("spanledger_evaluation_score", suffix="_sum")
NUMBER: Final = select("spanledger_evaluation_score", suffix="_count")
SUCCESSES: Final = select("spanledger_runs_total", 'outcome="success"')
JUDGED: Final = select("spanledger_runs_evaluated_total")
CALLS: Final = select("spanledger_llm_calls_total")
FAILED_CALLS: Final = select("spanledger_llm_calls_total", 'status="error"')
OBJECTIVE: Final = select("spanledger_slo_evaluation_score")
SCORE_NOW: Final = select("agent_evaluation:spanledger_evaluation_score:avg6h")
SCORE_WEEK: Final = select("agent_evaluation:spanledger_evaluation_score:avg7d")


def _built_in(name: str, says: str, title: str) -> Panel:
    matcher = f'{EVALUATION}="spanledger.{name}"'
    total, count = (select("spanledger_evaluation_score", matcher, suffix) for suffix in ("_sum", "_count"))
    return stat(
        title,
        f"{says} Mean of the built-in evaluation `spanledger.{name}`, 0 to 1; docs/evaluations.md says how it is made.",
        share(added(total), added(count)),
        RATIO,
        empty="Nothing to judge",
        width=3,
    )


FIRST_PASS: Final = f"1 - ({speed(FAILED_CALLS, BY_AGENT)}\n/ ({speed(CALLS, BY_AGENT)} > 0))"

NOW: Final = Row(
    "In this time range",
    (
        stat(
            "Succeeded",
            "Share of the runs whose outcome is success. What tells the outcome is in docs/runs.md; `unknown` does "
            "not count as one.",
            share(added(SUCCESSES), added(RUNS), absent_is_zero=True),
            RATIO,
            leads_to="trajectories",
        ),
        stat(
            "Judged",
            "Share of the runs that others than the built-in evaluators judged: how much the scores rest on.",
            share(added(JUDGED), added(RUNS), absent_is_zero=True),
            RATIO,
        ),
        stat(
            "Right the first time",
            "Share of the model calls that neither failed nor repeat one that did.",
            f"1 - ({added(FAILED_CALLS)} + {added(select('spanledger_llm_retries_total'))})\n/ ({added(CALLS)} > 0)",
            RATIO,
            empty="No model calls in this time range",
        ),
        _built_in("goal_signal", "Whether runs ended as those that reached their goal.", "Goal reached"),
        _built_in("tool_success", "How many tool calls succeeded.", "Tools succeeded"),
        _built_in("recovery_after_errors", "How many failures were overcome.", "Recovered"),
        _built_in("redundant_calls", "How many tool calls told something new.", "Not redundant"),
        _built_in("step_efficiency", "How many steps it took, beside what the agent usually needs.", "Efficient"),
    ),
)

_BY: Final = f"{BY_AGENT}, {EVALUATION}"
_RANK: Final = added(NUMBER, _BY)

SCORES: Final = Row(
    "Scores",
    (
        graph(
            "By evaluation",
            "Mean score of the chosen agents: the ten evaluations with most scores, each in its own scale.",
            Query(
                top(share(speed(SUM, EVALUATION), speed(NUMBER, EVALUATION)), EVALUATION, ranked(NUMBER, EVALUATION)),
                "{{evaluation_name}}",
            ),
            empty=NO_SCORES,
        ),
        graph(
            "By agent, against its objective",
            "Mean score by what it should be at least: below 1 is below the objective of the configuration (`slo`). "
            "The ten with most scores.",
            Query(
                top(
                    f"{share(speed(SUM, _BY), speed(NUMBER, _BY))}\n/ on ({_BY}) max by ({_BY}) ({OBJECTIVE})",
                    _BY,
                    ranked(NUMBER, _BY),
                ),
                f"{AGENT} {{{{evaluation_name}}}}",
            ),
            unit=TIMES,
            empty="No objectives: see `slo` in docs/configuration.md",
            leads_to="trajectories",
            limits=Limits(
                "health.quality_amber",
                "1",
                "below the objective the alert fires; amber is a little above it",
                low_is_bad=True,
            ),
        ),
        sheet(
            "Agents and evaluations",
            "The fifty with most scores in the time range. Lost is how much lower the mean of six hours is than that "
            "of the week before.",
            {**AGENT_COLUMNS, "evaluation_name": "Evaluation"},
            {
                "Scores": f"topk(50, {_RANK})",
                "Mean": top(share(added(SUM, _BY), _RANK), _BY, _RANK, 50),
                "Objective": top(f"max by ({_BY}) ({OBJECTIVE})", _BY, _RANK, 50),
                "Lost": top(f"max by ({_BY}) (1 - {SCORE_NOW} / ({SCORE_WEEK} > 0))", _BY, _RANK, 50),
            },
            columns={
                "Scores": Column(COUNT, decimals=0),
                "Mean": Column(decimals=2),
                "Objective": Column(decimals=2),
                "Lost": Column(
                    RATIO,
                    Limits(
                        "panels.drop_amber",
                        "evaluation.drop",
                        "the alert for falling scores fires at <evaluation.drop>; amber is the warning before",
                    ),
                ),
            },
            width=16,
            height=9,
            empty=NO_SCORES,
            leads_to="trajectories",
        ),
        sheet(
            "Verdicts",
            "Evaluations of the time range by their verdict in a word: the fifty most frequent.",
            {"evaluation_name": "Evaluation", "label": "Verdict"},
            {"Times": table(select("spanledger_evaluations_total"), f"{EVALUATION}, label")},
            columns={"Times": Column(COUNT, decimals=0)},
            width=8,
            height=9,
            empty=NO_SCORES,
        ),
    ),
)

WORK: Final = Row(
    "The work itself",
    (
        graph(
            "Runs a minute by outcome",
            "Runs that ended, by how.",
            Query(speed(RUNS, "outcome", 60), "{{outcome}}"),
            unit=PER_MINUTE,
            stacked=True,
            colors=OUTCOMES,
            width=8,
            leads_to="trajectories",
        ),
        graph(
            "Succeeded by agent",
            "Share of the runs whose outcome is success: the ten agents with most runs.",
            Query(top(share(speed(SUCCESSES, BY_AGENT), speed(RUNS, BY_AGENT)), BY_AGENT, runs_of_agents()), AGENT),
            unit=RATIO,
            width=8,
            most=1,
            leads_to="trajectories",
        ),
        graph(
            "Judged by agent",
            "Share of the runs that others than the built-in evaluators judged: the ten agents with most runs.",
            Query(top(share(speed(JUDGED, BY_AGENT), speed(RUNS, BY_AGENT)), BY_AGENT, runs_of_agents()), AGENT),
            unit=RATIO,
            width=8,
            most=1,
            empty="No run was judged by others",
        ),
        graph(
            "Model calls without failure",
            "Share of the model calls that do not fail: the ten agents with most calls.",
            Query(top(FIRST_PASS, BY_AGENT, ranked(CALLS, BY_AGENT)), AGENT),
            unit=RATIO,
            width=8,
            most=1,
            empty="No model calls in this time range",
        ),
        graph(
            "Model calls retried",
            "Share of the model calls that repeat one: the ten agents with most.",
            Query(
                top(
                    share(speed(select("spanledger_llm_retries_total"), BY_AGENT), speed(CALLS, BY_AGENT)),
                    BY_AGENT,
                    ranked(select("spanledger_llm_retries_total"), BY_AGENT),
                ),
                AGENT,
            ),
            unit=RATIO,
            width=8,
            limits=RETRIES,
            empty="No retries",
        ),
        sheet(
            "Who judges",
            "Runs of the time range that were judged, by evaluation: the fifty most frequent.",
            {**AGENT_COLUMNS, "evaluation_name": "Evaluation"},
            {"Runs": table(select("spanledger_runs_evaluated_by_name_total"), _BY)},
            columns={"Runs": Column(COUNT, decimals=0)},
            width=8,
            empty=NO_SCORES,
        ),
    ),
)

BOARD: Final = Board(
    "quality",
    "Quality",
    "How good the work is as far as anybody judged it: scores against objectives, coverage, outcomes, and what went "
    "right the first time.",
    (NOW, SCORES, WORK),
    since="now-24h",
)
