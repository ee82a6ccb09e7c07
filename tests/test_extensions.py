"""health_check and zpages answer what they see of the service."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from yarl import URL

from spanledger.conventions.reading import Cost, Reading
from spanledger.conventions.step import Step, make_step
from spanledger.conventions.usage import Usage
from spanledger.extensions.bearer_token_auth import BearerTokenAuth, BearerTokenConfig
from spanledger.extensions.health_check import HealthCheck, HealthCheckConfig
from spanledger.extensions.pages import escape, table
from spanledger.extensions.zpages import ZPages, ZPagesConfig
from spanledger.processor.component import ComponentId, Status
from tests.fakes import Clock, host, span


@dataclass
class FakeService:
    """A service as its extensions see it."""

    started_ns: int = 1_700_000_000_000_000_000
    is_ready: bool = True
    components: dict[str, tuple[Status, str, int]] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)

    def ready(self) -> bool:
        """Say what the test wants."""
        return self.is_ready

    def statuses(self) -> Mapping[str, tuple[Status, str, int]]:
        """Say what the test wants."""
        return self.components

    def pipelines(self) -> Mapping[str, Mapping[str, Any]]:
        """Return one pipeline."""
        return {"traces": {"receivers": ["otlp"], "processors": ["memory_limiter"], "exporters": ["otlp/backend"]}}

    def statistics(self) -> Mapping[str, Mapping[str, Any]]:
        """Return one component's numbers."""
        queues = {"traces": {"size": 3, "in_flight": 1}, "logs": {"size": 0, "in_flight": 0}}
        return {"exporter:otlp/backend": {"queue_size": 3, "queue_capacity": 1000, "queues": queues}}

    def recent(self) -> Sequence[Step]:
        """Say what the test wants."""
        return self.steps


@pytest.fixture
def service() -> FakeService:
    """Return a healthy service."""
    since = 1_700_000_000_000_000_000
    return FakeService(components={"receiver:otlp": ("ok", "", since), "exporter:otlp/backend": ("ok", "", since)})


@pytest.fixture
def clock() -> Clock:
    """Return a clock that stands still."""
    return Clock()


@pytest.fixture
async def health(service: FakeService, clock: Clock) -> AsyncIterator[str]:
    """Yield the address of a running health check."""
    extension = HealthCheck(HealthCheckConfig(endpoint="127.0.0.1:0"), host("health_check", clock, view=service))
    await extension.start()
    yield "http://" + extension.statistics()["addresses"][0]
    await extension.shutdown(0)


@pytest.fixture
async def pages(service: FakeService) -> AsyncIterator[str]:
    """Yield the address of running zpages."""
    extension = ZPages(ZPagesConfig(endpoint="127.0.0.1:0"), host("zpages", view=service))
    await extension.start()
    yield "http://" + extension.statistics()["addresses"][0]
    await extension.shutdown(0)


async def get(url: str, **headers: str) -> tuple[int, str]:
    """Return status and body."""
    asked = URL(url, encoded=True)
    async with aiohttp.ClientSession() as session, session.get(asked, headers=headers) as answer:
        return answer.status, await answer.text()


async def test_available_while_requests_are_taken(health: str, clock: Clock) -> None:
    """The Collector's own answer, word for word."""
    clock.now_s += 12.5

    status, body = await get(health + "/")

    assert status == 200
    assert json.loads(body) == {
        "status": "Server available",
        "upSince": "2023-11-14T22:13:20.000Z",
        "uptime": "12.500s",
    }


async def test_every_path_and_method_has_the_plain_answer_as_from_a_collector(health: str) -> None:
    """Probes ask for /healthz or by HEAD and POST."""
    async with aiohttp.ClientSession() as session:
        for method, path in (("GET", "/healthz"), ("HEAD", "/"), ("POST", "/"), ("GET", "/health/status")):
            async with session.request(method, health + path) as answer:
                assert answer.status == 200
    assert "Server available" in (await get(health + "/healthz"))[1]
    assert "healthy" in (await get(health + "/status"))[1]


async def test_a_path_of_its_own_is_the_only_one(service: FakeService) -> None:
    """As from a Collector, where it has no / at its end."""
    config = HealthCheckConfig(endpoint="127.0.0.1:0", path="/live")
    extension = HealthCheck(config, host("health_check", view=service))
    await extension.start()
    url = "http://" + extension.statistics()["addresses"][0]
    assert [(await get(url + path))[0] for path in ("/live", "/", "/live/more")] == [200, 404, 404]
    await extension.shutdown(0)


async def test_status_is_for_known_readers_and_the_plain_answer_for_everybody(
    service: FakeService, clock: Clock
) -> None:
    """Probes have no password; what fails, and where it leads to, is not for all who reach the port."""
    known = BearerTokenAuth(BearerTokenConfig.model_validate({"token": "s3cret"}), host("bearertokenauth"))
    ours = host("health_check", clock, view=service, extensions={ComponentId("bearertokenauth"): known})
    config = {"endpoint": "127.0.0.1:0", "status_auth": {"authenticator": "bearertokenauth"}}
    extension = HealthCheck(HealthCheckConfig.model_validate(config), ours)
    await extension.start()
    url = "http://" + extension.statistics()["addresses"][0]
    assert (await get(url + "/"))[0] == 200
    for path, expected in (
        ("/status", 401), ("/status?verbose", 401), ("/%73tatus", 401), ("//status", 200), ("/other?verbose", 200),
    ):  # fmt: skip
        code, body = await get(url + path)
        assert code == expected, path
        assert "healthy" not in body
    assert (await get(url + "/status", Authorization="Bearer s3cret"))[0] == 200
    await extension.shutdown(0)


async def test_not_available_from_the_first_moment_of_a_shutdown(health: str, service: FakeService) -> None:
    """Load balancers look here."""
    service.is_ready = False

    assert await get(health + "/") == (503, '{"status": "Server not available"}')
    service.components["receiver:otlp"] = ("stopping", "", 0)
    status, body = await get(health + "/status")
    assert (status, json.loads(body)["status"]) == (503, "StatusStopping")


@pytest.mark.parametrize(
    ("status", "age_s", "code", "word"),
    [
        ("ok", 0, 200, "StatusOK"),
        ("recoverable_error", 10, 200, "StatusRecoverableError"),
        ("recoverable_error", 301, 500, "StatusRecoverableError"),
        ("permanent_error", 0, 500, "StatusPermanentError"),
        ("fatal_error", 0, 500, "StatusFatalError"),
    ],
)
async def test_trouble_counts_when_it_lasts(
    health: str, service: FakeService, clock: Clock, status: Status, age_s: float, code: int, word: str
) -> None:
    """A recoverable error has `recovery_duration` to go away."""
    service.components["exporter:otlp/backend"] = (status, "connection refused", clock.time_ns())
    clock.now_s += age_s

    answered, body = await get(health + "/status?verbose")

    assert (answered, json.loads(body)["status"]) == (code, word)
    assert json.loads(body)["components"]["exporter:otlp/backend"]["error"] == "connection refused"


async def test_status_of_one_pipeline(health: str, service: FakeService) -> None:
    """Components of no pipeline do not show; an unknown pipeline is 404."""
    service.components["extension:zpages"] = ("permanent_error", "", 0)

    status, body = await get(health + "/status?pipeline=traces&verbose")

    assert status == 200
    assert sorted(json.loads(body)["components"]) == ["exporter:otlp/backend", "receiver:otlp"]
    assert (await get(health + "/status?pipeline=nope"))[0] == 404


async def test_pages_show_pipelines_and_their_numbers(pages: str) -> None:
    """Every page links to the others."""
    status, body = await get(pages + "/debug/pipelinez")

    assert status == 200
    for expected in ("memory_limiter", "otlp/backend", "queue size", "1000", "queues logs", "/debug/tracez"):
        assert expected in body
    assert "size 3, in flight 1" in body


async def test_recent_traces_show_steps_with_their_money(pages: str, service: FakeService) -> None:
    """The newest trace first; what is unpriced says why."""
    priced = Reading("otel", "llm", "chat", "openai", "gpt-4o", usage=Usage(1200, 80), cost=Cost("priced", total=10**9))
    unpriced = Reading("otel", "llm", "chat", "x", "house", usage=Usage(5, 1), cost=Cost("unpriced", "unknown_model"))
    service.steps = [make_step(span(1, trace=1), "s", priced), make_step(span(2, trace=2), "s", unpriced)]

    _, body = await get(pages + "/debug/tracez")

    assert "$0.001000" in body
    assert "unpriced (unknown model)" in body
    assert body.index(f"{2:032x}") < body.index(f"{1:032x}")


async def test_steps_are_indented_below_their_parents(pages: str, service: FakeService) -> None:
    """By markup: text of spans that does not print is escaped, and em spaces do not."""
    agent, call = Reading("otel", "agent"), Reading("otel", "llm", "chat", "openai", "gpt-4o")
    above, below = span(1, name="above"), span(2, parent=1, name="<below\u2003>")
    service.steps = [make_step(above, "s", agent), make_step(below, "s", call)]

    _, body = await get(pages + "/debug/tracez")

    assert "<td>above</td>" in body
    assert "<td>&emsp;&lt;below\\u2003&gt;</td>" in body


async def test_hostile_names_are_text_on_the_page(pages: str, service: FakeService) -> None:
    """Nothing of a span becomes markup."""
    evil = Reading("otel", "agent", agent_name="<script>alert(1)</script>", error_type="</td><img src=x>")
    service.steps = [make_step(span(1, name="<b>x"), "s", evil)]

    _, body = await get(pages + "/debug/tracez")

    assert "<script>" not in body
    assert "<img" not in body
    assert "&lt;script&gt;" in body


async def test_a_page_that_is_not_there_names_those_that_are(pages: str) -> None:
    """Nobody knows them by heart."""
    status, body = await get(pages + "/debug")

    assert status == 404
    assert "/debug/servicez, /debug/pipelinez, /debug/tracez, /debug/tasks" in body


async def test_tasks_show_where_each_task_stands(pages: str) -> None:
    """Among them the one of this test."""
    _, body = await get(pages + "/debug/tasks")

    assert "test_tasks_show_where_each_task_stands" in body


@pytest.mark.parametrize("path", ["/", "/debug/servicez", "/debug/tracez"])
async def test_pages_work_before_anything_came(pages: str, path: str) -> None:
    """And name the version."""
    assert (await get(pages + path))[0] == 200


def test_escape_cuts_what_is_long_and_keeps_markup_only_of_our_own() -> None:
    """Cells hold 300 characters, and nothing that a terminal would obey."""
    assert len(escape("x" * 1000)) == 301
    assert escape("a\x1b[31m\u202eb\n<i>") == "a\\x1b[31m\\u202eb\\n&lt;i&gt;"
    assert "&quot;" in table(('"',), [])
