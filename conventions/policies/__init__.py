"""What agents may do: tools, models, providers, whom they may hand work to, and what needs an approval first.

* `policy.py`: a policy, as it is configured, and what it says of an act.
* `acts.py`: what a step does, read from a run, or from a span while the run is under way.
* `findings.py`: what a run did against its policies.
"""

from spanledger.conventions.policies.acts import Act, acts_of, approval_of
from spanledger.conventions.policies.findings import findings
from spanledger.conventions.policies.policy import (
    APPROVAL_TOOLS,
    Action,
    Approval,
    ApprovalRule,
    Names,
    Policy,
    PolicyRule,
    Ruling,
    rule,
    window_of,
)

__all__ = [
    "APPROVAL_TOOLS",
    "Act",
    "Action",
    "Approval",
    "ApprovalRule",
    "Names",
    "Policy",
    "PolicyRule",
    "Ruling",
    "acts_of",
    "approval_of",
    "findings",
    "rule",
    "window_of",
]
