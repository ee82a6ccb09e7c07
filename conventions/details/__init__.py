"""What joins a span to others, read off the span: ids, digests of what was said, evaluations.

`spans.py` makes a `Detail` (conventions/detail.py) of one span and its reading, `logs.py` of a log record
that holds content or an evaluation, and `merging.py` puts together what several records say of one span.
Below them: `prints.py` (keyed digests, canonical JSON, shingles), `history.py` (messages as a chain of
digests), `rendering.py` (content as bounded text), `evaluations.py` and `outcomes.py` (tables of what
applications write). Everything is pure and bounded, and no part of content leaves it but in mode `full`.
"""

from __future__ import annotations

from spanledger.conventions.details.evaluations import evaluation_of
from spanledger.conventions.details.history import extends
from spanledger.conventions.details.merging import merged
from spanledger.conventions.details.prints import similar
from spanledger.conventions.details.spans import Details

__all__ = ["Details", "evaluation_of", "extends", "merged", "similar"]
