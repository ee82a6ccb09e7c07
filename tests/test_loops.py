"""Each loop rule: when it finds, when it does not, and what it says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spanledger.conventions.detail import Detail, ToolRequest
from spanledger.conventions.loops import History, Loop, LoopRules, Progress, ceilings, find, progress_of
from spanledger.conventions.loops.rules import WINDOW
from spanledger.conventions.trajectory import build
from spanledger.conventions.usage import Usage
from tests.loops import CENT, PRINTER, Story
from tests.steps import call

RULES = LoopRules()
PARIS = {"city": "Paris"}
SUN = {"forecast": "sun, 24 degrees"}
LONG = "The quick brown fox jumps over the lazy dog and runs far into the deep dark forest to sleep. " * 3


def only(story: Story, rules: LoopRules = RULES) -> Loop:
    """Return the one finding of a run."""
    loops = find(story.steps, rules)
    assert len(loops) == 1, loops
    return loops[0]


def test_same_call_again_is_found_at_the_third() -> None:
    """Two are chance, three are a loop."""
    story = Story().tool("weather", PARIS, SUN).tool("weather", PARIS, SUN)
    assert find(story.steps, RULES) == ()
    loop = only(story.tool("weather", PARIS, SUN))
    assert (loop.rule, loop.kind, loop.subject, loop.count) == ("exact_repeat", "loop", "weather", 3)
    assert (loop.basis, loop.severity) == ("content", "warning")
    assert loop.spans == tuple((step.trace_id, step.span_id) for step in story.steps if step.kind == "tool")


def test_waste_is_what_the_repeats_made_the_model_cost() -> None:
    """Three model calls asked for the same; the two after the first were for nothing."""
    loop = only(Story().tool("weather", PARIS, SUN).tool("weather", PARIS, SUN).tool("weather", PARIS, SUN))
    assert (loop.wasted_tokens, loop.wasted_pico_usd, loop.wasted_usd) == (240, 2 * CENT, 0.02)


def test_nine_repeats_are_critical() -> None:
    """Three times the threshold."""
    story = Story()
    for _ in range(9):
        story.tool("weather", PARIS, SUN)
    assert only(story).severity == "critical"


def test_finding_of_a_document_names_steps_by_index() -> None:
    """And says the rest in its detail, without content."""
    story = Story()
    for _ in range(3):
        story.tool("weather", {"city": "Sekretville"}, SUN)
    indexes = {(step.trace_id, step.span_id): index for index, step in enumerate(story.steps)}
    finding = only(story).finding(indexes)
    assert (finding.kind, finding.rule, finding.steps) == ("loop", "exact_repeat", (1, 3, 5))
    assert finding.detail["wasted_usd"] == 0.02
    assert finding.detail["first_span_id"] == story.steps[1].span_id.hex()
    assert "Sekretville" not in repr(finding)


def test_polling_that_moves_on_is_no_loop() -> None:
    """Each result differs from those before."""
    story = Story()
    for percent in range(20):
        story.tool("job", {"id": 7}, f"{percent}%")
    assert find(story.steps, RULES) == ()


def test_polling_tools_are_allowed_by_name() -> None:
    """Globs, in any case."""
    story = Story()
    for _ in range(8):
        story.tool("mcp__jobs__Wait_for_job", {"id": 7}, "pending")
    assert find(story.steps, RULES) == ()
    assert only(story, replace(RULES, polling_tools=())).count == 8


def test_backoff_is_waiting_on_purpose() -> None:
    """Pauses of 2, 4, 8, 16 and 32 seconds are no loop; such of 2 are."""
    story, hasty = Story(), Story()
    for exponent in range(6):
        story.tool("job", {"id": 7}, "pending").wait(2.0**exponent * 2)
        hasty.tool("job", {"id": 7}, "pending").wait(2.0)
    assert find(story.steps, RULES) == ()
    assert only(hasty).count == 6


def test_looking_once_in_five_minutes_is_waiting_on_purpose() -> None:
    """As somebody asked for who lets an agent watch a job."""
    story = Story()
    for _ in range(6):
        story.tool("job", {"id": 7}, "pending").wait(300)
    assert find(story.steps, RULES) == ()


def test_slower_and_slower_models_are_no_backoff() -> None:
    """How long a model takes is chance; nobody waits."""
    story = Story(ask=False)
    for seconds in (1, 2, 4):
        story.model()
        story.steps[-1] = replace(story.steps[-1], end_ns=story.wait(seconds).now_ns)
        story.tool("job", {"id": 7}, "pending")
    assert only(story).count == 3


def test_something_new_in_between_is_progress() -> None:
    """The same tests, run after each of three different edits, say different things only by chance."""
    story = Story()
    for edit in range(4):
        story.tool("edit", {"line": edit}, "ok").tool("test", {}, "1 failed")
    assert find(story.steps, RULES) == ()


def test_what_is_not_seen_in_between_may_be_progress() -> None:
    """Some tools say their arguments, others do not."""
    story = Story()
    for _ in range(4):
        story.tool("edit").tool("test", {}, "1 failed")
    assert find(story.steps, RULES) == ()


def test_failures_in_between_are_no_progress() -> None:
    """A call that fails changes nothing."""
    story = Story()
    for number in range(3):
        story.tool("weather", PARIS, SUN).tool("book", {"n": number}, error="Full")
    assert [(loop.rule, loop.subject) for loop in find(story.steps, RULES)] == [
        ("exact_repeat", "weather"),
        ("same_error", "book"),
    ]


def test_calls_of_one_answer_are_not_repeats_of_each_other() -> None:
    """A model may ask for the same thing three times at once; that is one round."""
    story = Story(ask=False)
    for _ in range(2):
        story.model().tool("weather", PARIS, SUN).tool("weather", PARIS, SUN).tool("weather", PARIS, SUN)
    assert find(story.steps, RULES) == ()
    assert only(story.model().tool("weather", PARIS, SUN)).count == 3


def test_tools_at_the_same_time_are_one_round_where_no_model_call_is_seen() -> None:
    """Some stacks have no spans of model calls."""
    story = Story(ask=False)
    for _ in range(3):
        story.tool("weather", PARIS, SUN)
    assert only(story).wasted_tokens is None
    together = [replace(step, start_ns=1, end_ns=9) for step in story.steps]
    assert find(together, RULES) == ()


def test_agents_side_by_side_do_not_repeat_each_other() -> None:
    """Each reads the same instructions, and what one finds out is no progress of another."""
    story = Story(ask=False)
    for agent in ("one", "two", "three", "four"):
        story.model(agent_name=agent).tool("read_rules", {}, LONG, agent_name=agent)
    assert find(story.steps, RULES) == ()
    for number in range(2):
        story.model(agent_name="one").model(agent_name="two")
        story.tool("read_rules", {}, LONG, agent_name="one").tool("search", {"n": number}, number, agent_name="two")
    loop = only(story)
    assert (loop.agent_name, loop.count) == ("one", 3)


def test_tool_without_an_agent_is_whose_model_asked_for_it() -> None:
    """By the id of the call; where there is one agent, it is that one's."""
    story = Story(ask=False)
    for number in range(3):
        asked = Detail(requests=(ToolRequest(f"id{number}", "weather", None),))
        story.model(agent_name="one", detail=asked).model(agent_name="two")
        story.tool("weather", PARIS, SUN, agent_name="", tool_call_id=f"id{number}")
    assert only(story).wasted_pico_usd == 2 * CENT


def test_model_call_that_lasts_over_its_tools_is_not_one_answer() -> None:
    """Some stacks report a whole conversation with a model as one call."""
    story = Story(ask=False)
    story.model()
    for _ in range(3):
        story.tool("weather", PARIS, SUN)
    story.steps[0] = replace(story.steps[0], end_ns=story.now_ns)
    loop = only(story)
    assert (loop.rule, loop.count, loop.wasted_tokens) == ("exact_repeat", 3, None)


def test_tool_reported_twice_is_one_call() -> None:
    """By the framework and by the library below it."""
    story = Story()
    for _ in range(2):
        story.tool("weather", PARIS, SUN)
        outer = story.steps[-1]
        inner = replace(
            outer, span_id=outer.span_id[::-1], parent_span_id=outer.span_id, start_ns=outer.start_ns + 1,
            end_ns=outer.end_ns - 1, tool_name="mcp__weather",
        )  # fmt: skip
        story.steps.append(inner)
    assert find(story.steps, RULES) == ()


def test_requests_stand_for_tools_without_spans() -> None:
    """What came back is not seen, so two more are needed; and the steps are the model calls."""
    story = Story()
    for _ in range(4):
        story.asks("weather", PARIS)
    assert find(story.steps, RULES) == ()
    loop = only(story.asks("weather", PARIS))
    assert (loop.rule, loop.count, loop.basis) == ("exact_repeat", 5, "arguments")
    assert loop.spans == tuple((step.trace_id, step.span_id) for step in story.steps)
    assert loop.wasted_tokens == 4 * 120


def test_request_of_a_call_reported_twice_counts_once() -> None:
    """The framework's span and the client's have the same response."""
    story = Story()
    for number in range(4):
        story.asks("weather", PARIS, response_id=f"r{number}")
        outer = story.steps[-1]
        story.steps.append(replace(outer, span_id=outer.span_id[::-1], parent_span_id=outer.span_id))
    assert find(story.steps, RULES) == ()


def test_names_alone_need_many_more() -> None:
    """Without content ten calls of one tool in a row are found, and the finding says so."""
    story = Story()
    for _ in range(9):
        story.tool("weather")
    assert find(story.steps, RULES) == ()
    loop = only(story.tool("weather"))
    assert (loop.count, loop.basis) == (10, "names")


def test_other_tools_end_a_row_of_names() -> None:
    """Nothing says that they were the same."""
    story = Story()
    for _ in range(4):
        story.tool("weather").tool("weather").tool("weather").tool("flights")
    assert find(story.steps, replace(RULES, names_cycle_rounds=0)) == ()


def test_requests_of_different_lengths_are_not_the_same() -> None:
    """A shell that is called again and again, of which no content is seen, is asked for different things."""
    story = Story(ask=False)
    for number in range(20):
        story.model(usage=Usage(100, 20 + 7 * (number % 3))).tool("bash")
    assert find(story.steps, RULES) == ()


def test_nearly_the_same_arguments() -> None:
    """Four long queries with another last word, and the same answer."""
    story = Story()
    for word in ("north", "south", "east"):
        story.tool("search", {"query": f"{LONG} {word}"}, "nothing found")
    assert find(story.steps, RULES) == ()
    loop = only(story.tool("search", {"query": f"{LONG} west"}, "nothing found"))
    assert (loop.rule, loop.count) == ("near_repeat", 4)


def test_nearly_the_same_arguments_with_other_results_are_progress() -> None:
    """An author revises a text, and each time something else comes of it."""
    story = Story()
    for number in range(6):
        story.tool("check", {"text": f"{LONG} {number}"}, f"score {number * 7}")
    assert find(story.steps, RULES) == ()


def test_cycle_of_two() -> None:
    """A B A B A B: one finding, not one for each tool as well."""
    story = Story()
    for _ in range(3):
        story.tool("check", PARIS, "no").tool("fix", PARIS, "done")
    loop = only(story)
    assert (loop.rule, loop.subject, loop.count, len(loop.spans)) == ("cycle", "check, fix", 3, 6)
    assert loop.wasted_pico_usd == 4 * CENT  # two rounds of two calls


@pytest.mark.parametrize("period", [2, 3, 4])
def test_cycles_are_found_after_three_rounds(period: int) -> None:
    """Of up to four calls, and not before."""
    story = Story()
    for number in range(3 * period - 1):
        story.tool(f"tool_{number % period}", PARIS, "no")
    assert [loop for loop in find(story.steps, RULES) if loop.rule == "cycle"] == []
    assert only(story.tool(f"tool_{period - 1}", PARIS, "no")).rule == "cycle"


def test_cycle_with_new_results_is_progress() -> None:
    """The same edit-and-test round, but the tests say something else each time."""
    story = Story()
    for number in range(5):
        story.tool("edit", PARIS, "ok").tool("test", PARIS, f"{10 - number} failed")
    assert find(story.steps, RULES) == ()


def test_same_error_again() -> None:
    """Whatever the arguments."""
    story = Story()
    for number in range(3):
        story.tool("book", {"seat": number}, "no such flight", error="NotFound")
    loop = only(story)
    assert (loop.rule, loop.count, loop.basis) == ("same_error", 3, "content")


def test_recovered_error_is_no_loop() -> None:
    """Fails twice, then works."""
    story = Story()
    for error in ("Timeout", "Timeout", ""):
        story.tool("book", PARIS, error=error, result=None if error else "booked")
    assert find(story.steps, RULES) == ()


def test_no_progress_from_different_arguments() -> None:
    """Four different questions, one long answer."""
    story = Story()
    for page in range(4):
        story.tool("list", {"page": page}, LONG)
    loop = only(story)
    assert (loop.rule, loop.count) == ("no_progress", 4)


def test_short_results_say_nothing_about_progress() -> None:
    """Ten mails are sent, each is `sent`."""
    story = Story()
    for number in range(10):
        story.tool("send", {"to": number}, "sent")
    assert find(story.steps, RULES) == ()


def answers(count: int, requested: bool = False) -> Story:
    """Return a conversation in which the model says nearly the same each time."""
    story, history = Story(), [1]
    for number in range(count):
        after = 1_000 + number
        story.model(
            detail=Detail(
                history=tuple(history), after=after, output=PRINTER.print(f"{LONG} Attempt {number}."),
                requests=(ToolRequest(f"t{number}", "look", number),) if requested else (),
            )
        )  # fmt: skip
        history += [after, 2_000 + number]
    return story


def test_nearly_the_same_answer_again() -> None:
    """Three times in one conversation."""
    assert find(answers(2).steps, RULES) == ()
    loop = only(answers(3))
    assert (loop.rule, loop.count, loop.wasted_pico_usd) == ("output_repeat", 3, 2 * CENT)


def test_same_words_around_new_calls_are_progress() -> None:
    """`Let me look at the next file` may be said of each file."""
    assert find(answers(6, requested=True).steps, RULES) == ()


def test_answers_of_different_conversations_are_not_compared() -> None:
    """A workflow that asks the same of ten documents."""
    story = Story()
    for number in range(10):
        story.model(detail=Detail(history=(number,), after=100 + number, output=PRINTER.print(LONG)))
    assert find(story.steps, RULES) == ()


def test_what_a_person_asks_for_again_is_no_loop() -> None:
    """Each turn looks up the same, because the user asks again."""
    story, history = Story(ask=False), [1]
    for number in range(4):
        story.model(detail=Detail(history=tuple(history), after=10 + number, asks_user=number > 0))
        story.tool("weather", PARIS, SUN)
        story.model(detail=Detail(history=(*history, 10 + number, 20 + number), after=30 + number))
        history = [30 + number, 40 + number]
    assert find(story.steps, RULES) == ()


def test_retry_storm() -> None:
    """Five failures of one request within a minute; four, or with growing pauses, are an SDK doing its work."""
    story, patient = Story(), Story()
    for number in range(5):
        failed = {"status": "error", "error_type": "429", "detail": Detail(history=(7,)), "usage": None, "cost": None}
        story.model(**failed)
        patient.model(**failed).wait(2.0**number)
    assert find(story.steps[:4], RULES) == ()
    assert find(patient.steps, RULES) == ()
    loop = only(story)
    assert (loop.rule, loop.kind, loop.count, loop.basis) == ("retry_storm", "storm", 5, "arguments")
    assert loop.wasted_tokens is None


def test_success_ends_a_storm() -> None:
    """As it does in any service under load."""
    story = Story()
    for number in range(12):
        story.model(status="error" if number % 4 else "ok", detail=Detail(history=(7,)))
    assert find(story.steps, RULES) == ()


def test_ceilings_of_the_agents_own_history() -> None:
    """Twice the 99th percentile; a fixed limit goes before it; none by default."""
    progress = Progress(steps=22, depth=2, duration_s=17.0, agent_name="planner", trace_id=b"t", last=(b"t", b"s"))
    assert ceilings(RULES, progress) == ()
    history = History(steps=10, depth=1, duration_s=1000)
    (loop,) = ceilings(RULES, progress, history)
    assert (loop.rule, loop.kind, loop.count, loop.threshold) == ("steps_ceiling", "ceiling", 22, 20.0)
    assert (loop.spans, loop.agent_name) == (((b"t", b"s"),), "planner")
    assert ceilings(replace(RULES, max_steps=30), progress, history) == ()
    fixed = replace(RULES, max_duration_s=16, max_depth=1)
    assert [found.rule for found in ceilings(fixed, progress)] == ["depth_ceiling", "duration_ceiling"]


def test_a_ceiling_is_the_same_whoever_the_agent_turns_out_to_be() -> None:
    """Its name comes with the root, which is the last to come."""
    unknown = Progress(steps=5, trace_id=b"t")
    loops = [ceilings(replace(RULES, max_steps=4), replace(unknown, agent_name=name))[0] for name in ("", "planner")]
    assert loops[0].fingerprint == loops[1].fingerprint
    assert ceilings(replace(RULES, max_steps=4), replace(unknown, trace_id=b"u"))[0].fingerprint != loops[0].fingerprint


def test_progress_of_a_run_counts_every_report_of_its_work() -> None:
    """As a run under way is counted, where nobody knows yet which reports are twins."""
    outer, inner = (
        call(span_id=bytes([n] * 8), parent_span_id=bytes([n - 1] * 8) if n > 1 else b"", kind="agent", agent_name=name)
        for n, name in ((1, "planner"), (2, "booker"))
    )
    twin = replace(inner, span_id=bytes([3] * 8), parent_span_id=inner.span_id)
    work = call(span_id=bytes([4] * 8), parent_span_id=twin.span_id)
    (run,) = build([outer, inner, twin, work], completeness="complete")
    progress = progress_of(run)
    assert (progress.steps, progress.depth, progress.agent_name) == (4, 2, "planner")
    assert progress.last == (work.trace_id, work.span_id)
    assert progress_of(replace(run, steps=())) == Progress()


def test_rules_can_be_turned_off() -> None:
    """With a count of 0."""
    story = Story()
    for _ in range(9):
        story.tool("weather", PARIS, SUN)
    assert find(story.steps, replace(RULES, exact_repeat=0)) == ()


def test_a_loop_of_thousands_of_steps_is_one_finding() -> None:
    """In the last steps: more are not looked at."""
    story = Story()
    for _ in range(400):
        story.tool("weather", PARIS, SUN)
    assert [loop.count for loop in find(story.steps, RULES)] == [WINDOW / 2]


# -- results in the next request --


def client_only(results: list[str], ids: bool = True) -> Story:
    """Return a run without tool spans: the same call again and again, each result in the request that follows."""
    story = Story()
    before: tuple[tuple[str, int, int], ...] = ()
    asked = PRINTER.print({"city": "Paris"}).digest
    for number, said in enumerate([*results, None]):
        request = (ToolRequest(f"call_{number}", "weather", asked),) if said is not None else ()
        story.model(detail=Detail(requests=request, results=before))
        printed = PRINTER.print(said or "")
        before = ((f"call_{number}" if ids else f"fc_{number}", printed.digest, printed.size),)
    return story


@pytest.mark.parametrize("ids", [True, False])
def test_results_in_the_next_request_are_results(ids: bool) -> None:
    """By the call's id, or by their order: found when the third has come back, which is with the fourth request."""
    story = client_only(["sunny"] * 5, ids)
    assert find(story.steps[:3], RULES) == ()
    (loop,) = find(story.steps[:4], RULES)
    assert (loop.rule, loop.count, loop.basis) == ("exact_repeat", 4, "content")
    assert [one.count for one in find(story.steps, RULES)] == [5]


def test_a_result_that_changes_is_progress_without_tool_spans_too() -> None:
    """Watching a job that moves on; before its results were seen this was a loop."""
    assert find(client_only([f"{number} % done" for number in range(12)]).steps, RULES) == ()


def test_what_was_asked_for_last_may_still_bring_news() -> None:
    """Two results that are the same and a third request are no loop yet."""
    assert find(client_only(["pending", "pending", "done"]).steps[:3], RULES) == ()
    assert find(client_only(["pending", "pending", "done"]).steps, RULES) == ()


def test_no_progress_is_seen_without_tool_spans() -> None:
    """Different arguments, the same result."""
    story = Story()
    nothing = PRINTER.print("There is nothing that matches your search in any of our catalogues, sorry. " * 2)
    before: tuple[tuple[str, int, int], ...] = ()
    for number in range(6):
        asked = PRINTER.print({"q": number}).digest
        story.model(detail=Detail(requests=(ToolRequest(f"c{number}", "search", asked),), results=before))
        before = ((f"c{number}", nothing.digest, nothing.size),)
    assert [(loop.rule, loop.count) for loop in find(story.steps, RULES)] == [("no_progress", 5)]
