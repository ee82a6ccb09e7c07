"""Safety and autonomy: what agents did that they may not, and how much of their work nobody approved."""

from __future__ import annotations

from typing import Final

from spanledger.service.assets.dashboards.panel import Board, Color, Column, Limits, Query, Row
from spanledger.service.assets.dashboards.series import (
    BY_AGENT,
    added,
    happened,
    largest,
    mean,
    ranked,
    rare_table,
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
    PER_MINUTE,
    RATIO,
    RUNS,
    bars,
    graph,
    runs_of_agents,
    sheet,
    stat,
)

NO_POLICY: Final = "No policy looked at anything: see docs/policies.md"
EVALUATIONS: Final = select("spanledger_policy_evaluations_total")
VIOLATIONS: Final = select("spanledger_policy_violations_total")
APPROVALS: Final = select("spanledger_approvals_total")
MISSING: Final = select("spanledger_approvals_total", 'outcome="missing"')
ASKED: Final = select("spanledger_approvals_total", 'outcome=~"granted|denied"')
FINDINGS: Final = select("spanledger_safety_findings_total")
UNSAFE: Final = select("spanledger_safety_findings_total", 'severity="critical"')
NO_FINDINGS: Final = "No guardrail, filter or judge found anything"
BECAME: Final[dict[str, Color]] = {"critical": "red", "warning": "yellow", "info": "blue"}
HANDOFFS: Final = select("spanledger_handoffs_total")
NEVER: Final = Limits("1", "1", "a policy says what must not happen at all")
ACTIONS: Final[dict[str, Color]] = {"attempted": "yellow", "executed": "red", "blocked": "blue"}
APPROVED: Final[dict[str, Color]] = {"granted": "green", "denied": "blue", "missing": "red"}


def _violations(action: str) -> str:
    selector = select("spanledger_policy_violations_total", f'action="{action}"')
    return f"{happened(selector)}\nor 0 * {added(EVALUATIONS)}"


NOW: Final = Row(
    "In this time range",
    (
        stat(
            "Violations done",
            "Steps that a policy does not allow and that were done.",
            _violations("executed"),
            limits=NEVER,
            empty=NO_POLICY,
            decimals=0,
            width=4,
        ),
        stat(
            "Violations asked for",
            "Steps that a policy does not allow and that a model asked for.",
            _violations("attempted"),
            limits=NEVER,
            empty=NO_POLICY,
            decimals=0,
            width=4,
        ),
        stat(
            "Refused",
            "Steps that a policy does not allow and that the application refused.",
            _violations("blocked"),
            empty=NO_POLICY,
            decimals=0,
            width=4,
        ),
        stat(
            "Approvals missing",
            "Calls that need an approval by a policy, and had none.",
            f"{added(MISSING)}\nor 0 * {added(EVALUATIONS)}",
            limits=NEVER,
            empty=NO_POLICY,
            decimals=0,
            width=4,
        ),
        stat(
            "Unsafe and not stopped",
            "Steps that a guardrail, a filter or a judge found unsafe, and that went through.",
            f"{happened(UNSAFE)}\nor 0 * {added(select('spanledger_runs_total'))}",
            limits=Limits("1", "1", "it was noticed, and nothing held it back"),
            decimals=0,
            width=4,
        ),
        stat(
            "Tool calls without a person",
            "Tool calls by the approvals and refusals of people: how far agents go alone.",
            f"{added(select('spanledger_tool_calls_total'))}\n/ ({added(ASKED)} > 0)",
            empty="No approvals were seen",
            decimals=1,
            width=4,
            leads_to="tools",
        ),
    ),
)

VIOLATED: Final = Row(
    "Violations",
    (
        graph(
            "Violations a minute by policy",
            "The ten policies with most, and how far it came: asked for, done, refused.",
            Query(largest(VIOLATIONS, "policy, action"), "{{policy}} {{action}}"),
            unit=PER_MINUTE,
            stacked=True,
            empty="No policy was violated",
        ),
        graph(
            "Violations a minute by agent",
            "The ten agents with most. The dots in graphs of runs lead to traces.",
            Query(largest(VIOLATIONS, BY_AGENT), AGENT),
            unit=PER_MINUTE,
            stacked=True,
            empty="No policy was violated",
            leads_to="trajectories",
        ),
        sheet(
            "What was violated",
            "In the time range: the fifty most frequent. Tools outside an allow-list have the rule `tools`.",
            {**AGENT_COLUMNS, "policy": "Policy", "rule": "Rule", "tool_name": "Tool", "action": "How far"},
            {"Times": rare_table(VIOLATIONS, f"{BY_AGENT}, policy, rule, tool_name, action")},
            columns={"Times": Column(COUNT, decimals=0)},
            width=16,
            empty="No policy was violated",
            leads_to="trajectories",
        ),
        bars(
            "Looked at, by rule",
            "Steps that policies were asked about.",
            added(EVALUATIONS, "rule"),
            "{{rule}}",
            width=8,
            decimals=0,
            empty=NO_POLICY,
        ),
    ),
)

NOTICED: Final = Row(
    "Unsafe content",
    (
        graph(
            "Findings a minute",
            "Steps that guardrails, filters of providers and judges found unsafe: what is critical went through, a "
            "warning was held back, and for an info it was changed or the model declined.",
            Query(speed(FINDINGS, "severity", 60), "{{severity}}"),
            unit=PER_MINUTE,
            stacked=True,
            colors=BECAME,
            width=8,
            empty=NO_FINDINGS,
        ),
        bars(
            "What it was about",
            "Steps in the time range by category, as far as the spans say it.",
            f"{happened(FINDINGS, 'category')} > 0",
            "{{category}}",
            width=8,
            decimals=0,
            empty=NO_FINDINGS,
        ),
        sheet(
            "Whose it was",
            "In the time range: the fifty most frequent. The findings of its runs name the steps.",
            {**AGENT_COLUMNS, "category": "Category", "severity": "Severity"},
            {"Times": rare_table(FINDINGS, f"{BY_AGENT}, category, severity")},
            columns={"Times": Column(COUNT, decimals=0)},
            width=8,
            empty=NO_FINDINGS,
            leads_to="trajectories",
        ),
    ),
)

TOKENS: Final = select("spanledger_llm_tokens_total")
UNATTRIBUTED: Final = select("spanledger_llm_unattributed_tokens_total")
_UNSEEN: Final = speed(UNATTRIBUTED, BY_AGENT)

AUTONOMY: Final = Row(
    "Autonomy",
    (
        graph(
            "Approvals a minute",
            "Granted, refused by people or approval tools, or missing where a policy demands one.",
            Query(speed(APPROVALS, "outcome", 60), "{{outcome}}"),
            unit=PER_MINUTE,
            stacked=True,
            colors=APPROVED,
            width=8,
            empty="No approvals were seen",
        ),
        sheet(
            "Approvals by agent",
            "In the time range, the fifty most frequent.",
            {**AGENT_COLUMNS, "outcome": "Outcome"},
            {"Times": table(APPROVALS, f"{BY_AGENT}, outcome")},
            columns={"Times": Column(COUNT, decimals=0)},
            width=8,
            empty="No approvals were seen",
            leads_to="trajectories",
        ),
        sheet(
            "Hand-overs",
            "Work that one agent gave to another in the time range: the fifty most frequent pairs.",
            {**AGENT_COLUMNS, "to_agent": "To", "kind": "Kind"},
            {"Times": table(HANDOFFS, f"{BY_AGENT}, to_agent, kind")},
            columns={"Times": Column(COUNT, decimals=0)},
            width=8,
            empty="No hand-overs",
            leads_to="trajectories",
        ),
        graph(
            "Steps of a run",
            "Mean: how long agents go on without end. The ten agents with most runs.",
            Query(top(mean("spanledger_run_steps", BY_AGENT), BY_AGENT, runs_of_agents()), AGENT),
            width=8,
            leads_to="trajectories",
        ),
        graph(
            "Loops a run",
            "Loops that were found, by the runs that ended: the ten agents with most loops.",
            Query(
                top(
                    share(speed(select("spanledger_loops_total"), BY_AGENT), speed(RUNS, BY_AGENT)),
                    BY_AGENT,
                    ranked(select("spanledger_loops_total"), BY_AGENT),
                ),
                AGENT,
            ),
            width=8,
            empty="No loops",
            leads_to="trajectories",
            limits=Limits(
                "panels.loops_amber", "loops.ratio", "the alert fires at <loops.ratio>; amber is the warning before"
            ),
        ),
        graph(
            "Unseen work",
            "Share of an agent's tokens that it reports and no seen call explains: calls past the instrumentation. "
            "The ten agents with most.",
            Query(
                top(
                    share(_UNSEEN, f"({_UNSEEN} + {speed(TOKENS, BY_AGENT)} or {_UNSEEN})"),
                    BY_AGENT,
                    ranked(UNATTRIBUTED, BY_AGENT),
                ),
                AGENT,
            ),
            unit=RATIO,
            width=8,
            most=1,
            empty="No work was unseen",
        ),
    ),
)

REDACTIONS: Final = "spanledger_redactions_total"
NOT_REDACTED: Final = "Nothing was taken out, or nothing looks: see docs/redaction.md"

DATA: Final = Row(
    "Secrets and personal data",
    (
        graph(
            "Redactions a minute",
            "What the processor `redaction` took out of spans and log records, by what it was; of all agents.",
            Query(largest(REDACTIONS, "entity"), "{{entity}}"),
            unit=PER_MINUTE,
            stacked=True,
            empty=NOT_REDACTED,
        ),
        sheet(
            "Where it was",
            "What was taken out in the time range, where it was, and what became of it; of all agents.",
            {"entity": "Entity", "field": "Where", "action": "Became"},
            {"Times": table(REDACTIONS, "entity, field, action")},
            columns={"Times": Column(COUNT, decimals=0)},
            empty=NOT_REDACTED,
        ),
    ),
)

LIMITS: Final = Row(
    "Limits",
    (
        sheet(
            "Budgets passed",
            "Limits that were passed in the time range, once for each period or run.",
            {"budget": "Budget", "level": "Limit"},
            {"Times": rare_table("spanledger_budget_breaches_total", "budget, level")},
            columns={"Times": Column(COUNT, decimals=0)},
            empty="No limit was passed",
            leads_to="cost",
        ),
        graph(
            "Longest run under way",
            "Steps so far, of the chosen agents: a runaway shows here while it runs.",
            Query(f"max({select('spanledger_open_run_steps_max')})", "steps"),
            empty="No run was under way",
            limits=Limits("runaway.steps", "runaway.steps", "the alert for runaways fires at this, whatever is usual"),
            leads_to="trajectories",
        ),
    ),
)

BOARD: Final = Board(
    "safety",
    "Safety and autonomy",
    "What agents did that no policy allows, who approved what, and how far agents go without a person.",
    (NOW, VIOLATED, NOTICED, AUTONOMY, DATA, LIMITS),
    since="now-24h",
)
