# SPDX-License-Identifier: Apache-2.0
"""The statistics segment where VPP is not, or died at a bad moment. Reading a living one: test_real_vpp."""

import pytest

from contivpp_vpp.stats import StatisticsSegment, StatisticsUnavailable, _Deadline


class Segment:
    """The two words of the segment that a reader looks at."""

    def __init__(self, in_progress: int) -> None:
        self.in_progress = in_progress
        self.epoch = 1


def test_a_lock_that_nobody_lets_go_is_given_up():
    with pytest.raises(StatisticsUnavailable, match="hangs, or died"), _Deadline(Segment(1), 0.02):
        pytest.fail("read while the segment is locked")


def test_a_change_while_reading_is_noticed():
    segment = Segment(0)
    with pytest.raises(BlockingIOError), _Deadline(segment, 0.02):
        segment.epoch += 1


async def test_no_vpp_is_said_with_the_path(tmp_path):
    async with StatisticsSegment(str(tmp_path / "stats.sock")) as statistics:
        with pytest.raises(StatisticsUnavailable, match="stats"):
            await statistics.interface_counters()
