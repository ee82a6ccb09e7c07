"""Alerts about what agents must not do. One event is enough, so none of them waits."""

from __future__ import annotations

from typing import Final

from spanledger.service.assets.alerts.wording import AGENT
from spanledger.service.assets.first_event import happened
from spanledger.service.assets.rule import BY, Alert

_VIOLATIONS: Final = "spanledger_policy_violations_total"
_TOOL: Final = "{{ $labels.tool_name }} ({{ $labels.action }}, policy {{ $labels.policy }})"

ALERTS: Final = (
    Alert(
        "AgentToolOutsideAllowlist",
        "safety",
        "page",
        "safety",
        happened(f'{_VIOLATIONS}{{rule="tools"}}', f"{BY}, policy, tool_name, action"),
        f"{AGENT} used a tool outside its allowlist, {_TOOL}",
        f"{{{{ $value | humanize }}}} calls of {_TOOL} in the last ten minutes. `executed` has happened; "
        "`attempted` was "
        "asked for by the model; `blocked` was refused by something in the application. Stop it first, then "
        "investigate.",
    ),
    Alert(
        "AgentPolicyViolation",
        "safety",
        "page",
        "safety",
        happened(f'{_VIOLATIONS}{{rule=~"models|providers|delegation"}}', f"{BY}, policy, rule, action"),
        f"{AGENT} broke the rule on {{{{ $labels.rule }}}} of policy {{{{ $labels.policy }}}}",
        "{{ $value | humanize }} times in the last ten minutes ({{ $labels.action }}). `models` and "
        "`providers` say that "
        "data may have gone where it must not; `delegation` that work went to an agent that may not have it.",
    ),
    Alert(
        "AgentApprovalMissing",
        "safety",
        "page",
        "safety",
        happened(f'{_VIOLATIONS}{{rule="approval"}}', f"{BY}, policy, tool_name, action"),
        f"{AGENT} acted without the approval of a person, {_TOOL}",
        f"{{{{ $value | humanize }}}} calls of {_TOOL} in the last ten minutes that policy demands an approval "
        f"for, and none was found before them.",
    ),
)
