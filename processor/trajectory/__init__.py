"""Runs of agents, put together from spans: the connector `trajectory`.

* `connector.py`: its life and what goes in; `assembly.py`: what follows, in short turns.
* `store.py`: which spans belong together and when nothing more is to come (the state machine is there), with
  `group.py` (the evidence), `joins.py` (what joins traces, as they come: `seams.py`, `indexes.py`), `records.py`,
  `packing.py` and `origins.py` (how they are kept).
* `reports.py`: from a closed group to its runs, a pure function around `conventions.trajectory.build`, with
  `edges.py` (what joins traces, as a function of the spans) and `emitted.py` (ids and revisions); of large groups in a
  thread (`resting.py`).
* `telling.py`: who learns of it. `events.py`, `outbox.py`: into the logs pipelines; `run_metrics.py`, `gauges.py`:
  into the metrics; `annotation.py`: onto the root spans.
* `loops.py`: what is found while a run is open. `carried_context.py`: trace contexts inside messages.
* `governance.py`: beside the assembly, `budgets.py`, `policies.py`, `slo.py`, and `attribution.py` (costs by team,
  tool and retry, findings of safety; `unsafe.py` those that cannot wait), with `matching.py` (how they are configured).
* `journal.py`: open runs on disk; `journal_file.py`: the file they are in, with `remembered.py` (what a former life
  left there) and `wire.py` (how it is written).
"""
