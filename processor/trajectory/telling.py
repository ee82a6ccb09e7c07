"""Tells of runs and of what was found in them: metrics, log records, and what is kept on disk of both."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from spanledger.conventions.loops.found import KINDS as LOOP_KINDS
from spanledger.processor.trajectory import events
from spanledger.processor.trajectory.emitted import safety_of
from spanledger.processor.trajectory.run_metrics import RunMetrics

if TYPE_CHECKING:
    from spanledger.conventions.evaluator import Evaluator
    from spanledger.conventions.loops import Loop
    from spanledger.conventions.run import Run
    from spanledger.processor.component import Host
    from spanledger.processor.trajectory.emitted import Change
    from spanledger.processor.trajectory.group import Group, Label
    from spanledger.processor.trajectory.journal import Journal
    from spanledger.processor.trajectory.loops import Found
    from spanledger.processor.trajectory.outbox import Outbox
    from spanledger.processor.trajectory.reports import Snapshot
    from spanledger.processor.trajectory.store import Reason

_MAX_AGENTS: Final = 1_000
_FINGERPRINTS: Final = 8
"""Of one agent that are known: one that changes to and fro is no news each time."""


class Telling:
    """Whoever wants to know of a run learns it here, once for each revision."""

    def __init__(
        self, host: Host, outbox: Outbox, journal: Journal | None, evaluators: Mapping[str, Evaluator]
    ) -> None:
        self._host = host
        self._outbox = outbox
        self._journal = journal
        self._metrics = RunMetrics(host.metrics, evaluators)
        self._orphans = host.metrics.counter("spanledger_orphan_spans_total")
        self._closings = host.metrics.counter("spanledger_runs_closed_total")
        self._revisions = host.metrics.counter("spanledger_run_revisions_total")
        self._fingerprints: OrderedDict[Label, deque[str]] = OrderedDict()
        self._known = host.metrics.gauge("spanledger_agent_info")

    def see(self, label: Label) -> None:
        """Create the series of an agent before its first run ends."""
        self._metrics.see(label)

    def runs(self, group: Group, reason: Reason, snapshot: Snapshot, changes: list[Change]) -> None:
        """Tell of the runs of a closed group that are new or different."""
        # It may have become part of another one while the documents were made.
        keeper = group.living() or group
        keeper.completeness = snapshot.completeness
        # A run that goes on after a restart is counted then.
        unfinished = snapshot.completeness == "shutdown" and self._journal is not None
        emitted = dict(keeper.emitted or {})
        for change in changes:
            if not unfinished:
                self._count(change, reason)
            self._tell(change, keeper.told or {})
            for run_id in change.replaced:
                emitted.pop(run_id, None)
            emitted[change.run.run_id] = change.now
        keeper.emitted = emitted
        self._keep(group, keeper, changes, unfinished=unfinished)

    def loop(self, group: Group, found: Found) -> None:
        """Tell of a loop in a run that is still open."""
        loop, before = found.loop, found.before
        label = (group.label[0], loop.agent_name or group.label[1])
        wasted_usd = (loop.wasted_usd or 0.0) - ((before.wasted_usd or 0.0) if before is not None else 0.0)
        self._metrics.count_loop(label, loop.rule, new=before is None, wasted_usd=wasted_usd)
        place = loop.spans[-1] if loop.spans else (b"", b"")
        record = events.looped(loop.finding({}), label[1], found.run_id, self._host.clock_ns(), place)
        self._outbox.put(label[0], record)

    def _count(self, change: Change, reason: Reason) -> None:
        run = change.run
        self._metrics.count(change)
        if reason != "late":
            self._closings.add((reason,))
        if change.before:
            self._revisions.add(())
        elif orphans := sum(step.basis == "inferred_parent" for step in run.steps):
            self._orphans.add((run.service_name,), orphans)

    def _tell(self, change: Change, told: Mapping[str, Loop]) -> None:
        run, now_ns = change.run, self._host.clock_ns()
        self._loops(change, told)
        self._safety(change, now_ns)
        if not change.before:
            self._agents(run, now_ns)
        self._outbox.put(run.service_name, events.closed(run, change.document, now_ns))
        told_scores = {said for known in change.before for said in known.scores}
        for judged in run.evaluations:
            one = judged.evaluation
            if judged.basis == "builtin" and (one.name, one.score, one.label) not in told_scores:
                self._outbox.put(run.service_name, events.evaluated(run, judged, now_ns))
        for run_id in change.replaced:
            self._outbox.put(run.service_name, events.replaced(run_id, run, now_ns))

    def _loops(self, change: Change, told: Mapping[str, Loop]) -> None:
        """Tell of loops that were found only when the whole run was known, and what those told before came to."""
        run = change.run
        label = (run.service_name, run.agent_name)
        before = {name: wasted for known in change.before for name, wasted in known.loops}
        for finding in run.findings:
            if finding.kind not in LOOP_KINDS:
                continue
            name, wasted_usd = finding.detail.get("fingerprint", ""), finding.detail.get("wasted_usd") or 0.0
            known = told.get(name)
            if known is not None:
                label = (run.service_name, known.agent_name or run.agent_name)
            known_usd = before.get(name, known.wasted_usd if known is not None else None)
            new = known is None and name not in before
            self._metrics.count_loop(label, finding.rule, new=new, wasted_usd=wasted_usd - (known_usd or 0.0))
            if new:
                place = events.place_of(run, finding.steps[-1] if finding.steps else None)
                record = events.looped(finding, label[1], run.run_id, self._host.clock_ns(), place)
                self._outbox.put(label[0], record)

    def _safety(self, change: Change, now_ns: int) -> None:
        """Tell of findings that were not told before, under whichever of its names a step was known."""
        found = safety_of(change.run)
        known = {found[name] for before in change.before for name in before.safety if name in found}
        for one in dict.fromkeys(found.values()):
            if one not in known:
                self._outbox.put(change.run.service_name, events.unsafe(change.run, one, now_ns))

    def _agents(self, run: Run, now_ns: int) -> None:
        """Tell of agents whose prompt, tools or model are not what they were."""
        for agent_name, fingerprint in run.fingerprints.items():
            label = (run.service_name, agent_name)
            known = self._fingerprints.setdefault(label, deque(maxlen=_FINGERPRINTS))
            self._fingerprints.move_to_end(label)
            if known and fingerprint not in known:
                self._outbox.put(
                    run.service_name, events.agent_changed(run, agent_name, fingerprint, known[-1], now_ns)
                )
            if fingerprint not in known:
                known.append(fingerprint)
            self._known.tell((*label, "", "", fingerprint))
        while len(self._fingerprints) > _MAX_AGENTS:
            self._fingerprints.popitem(last=False)

    def _keep(self, group: Group, keeper: Group, changes: list[Change], *, unfinished: bool) -> None:
        if self._journal is None:
            return
        held = keeper.state != "gone"
        for change in changes:
            for run_id in change.replaced:
                self._journal.withdraw(run_id)
            if held:
                self._journal.report(group.traces[0], change.run.run_id, change.now)
        if not unfinished and keeper.state != "open":
            self._journal.closed(group.traces, self._host.clock_ns(), held=held)
