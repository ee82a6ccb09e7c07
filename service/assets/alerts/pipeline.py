"""Alerts about spanledger itself: what it cannot see, nobody is told."""

from __future__ import annotations

from typing import Final

from spanledger.service.assets.alerts.wording import INSTANCE, PERCENT
from spanledger.service.assets.first_event import happened
from spanledger.service.assets.rule import Alert

_UP: Final = 'up{job="<scrape.job>"}'
_BY: Final = "job, instance"
_OF: Final = "{{ $labels.service_name }}"
_TIMES: Final = "{{ $value | humanize }}"


def _without(series: str, component: str) -> str:
    return f'label_replace({_UP} == 1 unless on ({_BY}) {series}, "component", "{component}", "", "")'


ALERTS: Final = (
    Alert(
        "SidecarDown",
        "pipeline",
        "page",
        "pipeline",
        f"{_UP} == 0",
        f"{INSTANCE} does not answer",
        "Prometheus cannot scrape {{ $labels.instance }}. Until it is back nothing of its agents is seen, neither what "
        "they cost nor what they do, and applications keep or drop their spans.",
        "2m",
    ),
    Alert(
        "SidecarAbsent",
        "pipeline",
        "page",
        "pipeline",
        f"absent({_UP})",
        "Prometheus knows no sidecar at all",
        "There is no target of the job <scrape.job>: the scrape configuration or the discovery lost it, and "
        "with it every other alert of spanledger is silent.",
        "5m",
    ),
    Alert(
        "SidecarPartMissing",
        "pipeline",
        "ticket",
        "pipeline",
        "\nor\n".join(
            (
                _without("spanledger_runs_open", "trajectory"),
                _without("spanledger_uncounted_steps_total", "genai_metrics"),
                _without("spanledger_price_data_info", "genai_pricing"),
            )
        ),
        f"{INSTANCE} runs without {{{{ $labels.component }}}}",
        "It answers, but shows no series of {{ $labels.component }}: rules that need them have nothing to look at and "
        "stay silent.",
        "15m",
    ),
    Alert(
        "SidecarReceivesNothing",
        "pipeline",
        "ticket",
        "pipeline",
        f"sum by ({_BY}) (increase(otelcol_receiver_accepted_spans_total[1h] offset 1d)) > <pipeline.min_spans>\n"
        f"unless sum by ({_BY}) (increase(otelcol_receiver_accepted_spans_total[1h])) > 0\n"
        # A pod that is no more has nothing to receive.
        f"and on ({_BY}) {_UP} == 1",
        f"{INSTANCE} has received no spans for an hour",
        f"At this time yesterday it was {_TIMES} in an hour. It runs, so the way to it is broken, or the agents are.",
        "15m",
    ),
    Alert(
        "SidecarDropping",
        "pipeline",
        "page",
        "pipeline",
        happened("spanledger_dropped_items_total", f"{_BY}, exporter, signal, reason"),
        f"{INSTANCE} lost {_TIMES} {{{{ $labels.signal }}}} items for {{{{ $labels.exporter }}}}",
        f"{_TIMES} items were accepted and then lost in the last ten minutes ({{{{ $labels.reason }}}}): their senders "
        f"will not send them again. Metrics and runs have them; the backend has not.",
    ),
    Alert(
        "SidecarRefusing",
        "pipeline",
        "ticket",
        "pipeline",
        f"sum by ({_BY}) (increase(spanledger_refused_requests_total[10m]))\n"
        f"  / (sum by ({_BY}) (increase(spanledger_request_duration_seconds_count[10m])) > 0) > "
        "<pipeline.refused_ratio>",
        f"{INSTANCE} refuses {PERCENT} of the requests",
        f"{PERCENT} of the requests of ten minutes were refused. Senders keep them for a while and try again; "
        f"then they drop them.",
        "10m",
    ),
    Alert(
        "SidecarQueueFilling",
        "pipeline",
        "ticket",
        "pipeline",
        "otelcol_exporter_queue_size / (otelcol_exporter_queue_capacity > 0) > <pipeline.queue_ratio>",
        f"{INSTANCE} has a queue that is {PERCENT} full, {{{{ $labels.exporter }}}}",
        f"The queue of {{{{ $labels.exporter }}}} ({{{{ $labels.data_type }}}}) is {PERCENT} full. When it is "
        f"full, requests are refused, for all backends.",
        "10m",
    ),
    Alert(
        "SidecarLagging",
        "pipeline",
        "ticket",
        "pipeline",
        "min_over_time(spanledger_loop_lag_seconds[5m]) > <pipeline.lag_s>",
        f"{INSTANCE} is {{{{ $value | humanizeDuration }}}} behind",
        "Its event loop was never less than {{ $value | humanizeDuration }} late in five minutes: it has more "
        "to do than one core can.",
        "5m",
    ),
    Alert(
        "SpansMissing",
        "pipeline",
        "ticket",
        "pipeline",
        "sum by (service_name) (increase(spanledger_orphan_spans_total[1h]))\n"
        "  / (sum by (service_name) (increase(spanledger_run_steps_sum[1h])) > 0) > <pipeline.orphan_ratio>\n"
        "and sum by (service_name) (increase(spanledger_orphan_spans_total[1h])) >= <pipeline.min_orphans>",
        f"{_OF} loses spans, {PERCENT} of its steps have no parent",
        f"The parents of {PERCENT} of the steps of the last hour never came. Somebody between the application and the "
        f"sidecar drops or samples spans; runs fall apart.",
        "15m",
    ),
    Alert(
        "RunsCutShort",
        "pipeline",
        "ticket",
        "pipeline",
        'sum by (service_name) (increase(spanledger_runs_total{completeness=~"evicted|rootless|truncated"}[1h]))\n'
        "  / (sum by (service_name) (increase(spanledger_runs_total[1h])) > 0) > <pipeline.cut_short_ratio>\n"
        'and sum by (service_name) (increase(spanledger_runs_total{completeness=~"evicted|rootless|truncated"}[1h]))\n'
        "  >= <pipeline.min_cut_short>",
        f"{_OF} has {PERCENT} of its runs cut short",
        f"{PERCENT} of the runs of the last hour were closed before all of them was seen: evicted for want of room, "
        f"truncated at a limit, or without a root.",
        "15m",
    ),
    Alert(
        "SidecarStorageFailing",
        "pipeline",
        "page",
        "pipeline",
        "\nor\n".join(
            f'label_replace({happened(series, _BY)}, "what", "{what}", "", "")'
            for series, what in (
                ("spanledger_queue_storage_errors_total", "queue on disk"),
                ("spanledger_queue_storage_aside_total", "queue put aside"),
                ("spanledger_trajectory_storage_errors_total", "open runs"),
                ("spanledger_run_store_aside_total", "run store put aside"),
            )
        ),
        f"{INSTANCE} fails to write to its disk, {{{{ $labels.what }}}}",
        f"{_TIMES} failures in ten minutes ({{{{ $labels.what }}}}). What is acknowledged no longer survives a "
        f"crash, and requests may be refused.",
    ),
    Alert(
        "DeadLettersWaiting",
        "pipeline",
        "ticket",
        "pipeline",
        "spanledger_dead_letters > 0",
        f"{INSTANCE} keeps {_TIMES} requests that {{{{ $labels.exporter }}}} refused for good",
        f"{_TIMES} requests wait for somebody to look at them, send them again or discard them.",
        "15m",
    ),
    Alert(
        "PriceListOld",
        "pipeline",
        "ticket",
        "cost",
        "min by (job, instance) (spanledger_price_data_age_seconds) > <pipeline.price_age_days> * 86400",
        f"{INSTANCE} prices with a list that is {{{{ $value | humanizeDuration }}}} old",
        "The newest list of prices in use is {{ $value | humanizeDuration }} old: new models have no price, "
        "and prices that changed are wrong.",
        "1h",
    ),
    Alert(
        "PriceFileRefused",
        "pipeline",
        "ticket",
        "cost",
        "spanledger_price_refresh_ok == 0",
        f"{INSTANCE} refused the file with prices {{{{ $labels.source }}}}",
        "The file changed and could not be used, so the prices that were read before stay in use. The log "
        "says what is wrong with it.",
        "5m",
    ),
    Alert(
        "SeriesOverflow",
        "pipeline",
        "ticket",
        "pipeline",
        happened("spanledger_series_overflow_total", f"{_BY}, metric", "1h", 3600),
        f"{INSTANCE} has no room for more series of {{{{ $labels.metric }}}}",
        f"{_TIMES} values of {{{{ $labels.metric }}}} were counted as `__other__` in the last hour: sums are "
        f"right, but agents, models or tools are told apart no longer. A label has more values than it should.",
    ),
    Alert(
        "SpansUnread",
        "pipeline",
        "ticket",
        "cost",
        happened('spanledger_unread_spans_total{reason!="error"}', f"{_BY}, reason", "1h", 3600),
        f"{INSTANCE} handed spans on without reading them, {{{{ $labels.reason }}}}",
        f"{_TIMES} spans in the last hour were too much to read. They passed unchanged: if they are model calls, they "
        f"have no price, count nowhere and are in no run.",
    ),
    Alert(
        "SidecarFaults",
        "pipeline",
        "ticket",
        "pipeline",
        "\nor\n".join(
            f'label_replace({happened(series, _BY, "1h", 3600)}, "what", "{what}", "", "")'
            for series, what in (
                ("spanledger_normalizer_errors_total", "spans not normalised"),
                ("spanledger_uncounted_steps_total", "steps not counted"),
                ("spanledger_trajectory_faults_total", "runs not told"),
            )
        ),
        f"{INSTANCE} failed on data by a fault of its own, {{{{ $labels.what }}}}",
        f"{_TIMES} in the last hour. The spans passed unchanged, but numbers miss them. This is a bug: the log has a "
        f"traceback.",
    ),
    Alert(
        "ConfigReloadFailed",
        "pipeline",
        "ticket",
        "pipeline",
        happened('spanledger_config_reloads_total{result="failed"}', _BY, "1h", 3600),
        f"{INSTANCE} runs on an old configuration",
        "Its configuration was changed and could not be used in the last hour; it goes on with the one before.",
    ),
)
