"""The goals of P8 apply to one instance with the most browsers, in messages, not deliveries."""

from __future__ import annotations

from benchmarks.p8_fan_out import FanOut, Page, result

FAST, SLOW = [10.0] * 100, [900.0] * 100


def test_goals_apply_to_one_instance_with_the_most_browsers() -> None:
    found = {
        (1, 50): FanOut(SLOW, [10.0], 0),
        (1, 500): FanOut(FAST, [4_400.0, 4_600.0, 9_000.0], 0),
        (3, 500): FanOut(SLOW, [10.0], 0),
    }
    judged = result(found, 2_000)
    assert judged.holds
    rate, delay, faults = judged.checks
    assert (rate.value, rate.goal) == (4_600.0, "≥ 4500 messages/s")
    assert (delay.value, delay.goal) == (10.0, "≤ 150 ms")
    assert faults.value == 0
    assert judged.medians["500_browsers_1_instances_deliveries_per_second"] == 2_300_000


def test_lost_message_in_any_case_misses_the_goal() -> None:
    found = {(1, 500): FanOut(FAST, [9_000.0], 0), (3, 1): FanOut(FAST, [9_000.0], 2)}
    judged = result(found, 2_000)
    assert not judged.holds
    assert judged.checks[-1].value == 2


def test_page_counts_messages_out_of_order() -> None:
    page = Page()
    page.receive([(0, 1_000_000), (1, 2_000_000)], 5_000_000)
    page.receive([(3, 3_000_000)], 5_000_000)
    assert (page.got, page.disordered) == (3, 1)
    assert page.delays_ms == [4.0, 3.0, 2.0]
