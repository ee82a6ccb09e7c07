"""Alerts about what agents must not do. One event is enough, so none of them waits."""

from __future__ import annotations

from typing import Final

from spanledger.service.assets.alerts.wording import AGENT
from spanledger.service.assets.first_event import happened
from spanledger.service.assets.rule import BY, Alert

_VIOLATIONS: Final = "spanledger_policy_violations_total"
_TOOL: Final = "{{ $labels.tool_name }} ({{ $labels.action }}, policy {{ $labels.policy }})"

_FINDINGS: Final = "spanledger_safety_findings_total"

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
    Alert(
        "AgentSafetyFinding",
        "safety",
        "page",
        "safety",
        "label_replace(\n"
        + happened(f'{_FINDINGS}{{severity="critical"}}', f"{BY}, category")
        + ',\n  "became", "went through", "", "")\nor\nlabel_replace((\n'
        + happened(f'{_FINDINGS}{{severity="warning"}}', f"{BY}, category")
        + '\n) >= <safety.held_back>,\n  "became", "was held back", "", "")',
        f"{AGENT} handled unsafe content, {{{{ $labels.category }}}}, and it {{{{ $labels.became }}}}",
        "{{ $value | humanize }} steps in the last ten minutes ({{ $labels.category }}). What went through was noticed "
        "by a guardrail, a filter or a judge that stopped nothing; so much that was held back is somebody trying.",
    ),
)
