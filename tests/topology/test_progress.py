"""A long restoration says how far it is: a bar for a person, lines for a log."""

import io
import logging
import time

import pytest

from streams import progress
from streams.progress import Progress, bar


class Terminal(io.StringIO):
    """A stream on which somebody watches."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "mandate.control")
    return caplog


def test_a_terminal_shows_a_bar_and_clears_it_at_the_end(
    lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_BAR_EVERY_S", 0.0)
    out = Terminal()
    shown = Progress("restoring partitions [1]", 1000, out)
    shown.show(500, 250)
    assert "\r[########......................]  25 % 500 rows, " in out.getvalue()
    shown.end(1000, complete=True)
    assert out.getvalue().endswith("\r\x1b[K")
    assert "restored 1000 rows in" in lines.text


def test_a_log_gets_a_line_every_few_seconds_with_share_rows_and_rate(
    lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.StringIO()
    shown = Progress("restoring partitions [1]", 1000, out)
    shown.show(1, 1)
    assert len(lines.records) == 1  # what is to be done
    began = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: began + 10.0)
    shown.show(500, 400)
    shown.show(501, 401)
    assert [record.message for record in lines.records][1:] == ["restoring partitions [1]:  40 %, 500 rows, 50/s"]
    assert out.getvalue() == ""


def test_work_that_was_given_up_is_not_called_restored(lines: pytest.LogCaptureFixture) -> None:
    Progress("restoring partitions [1]", 1000, io.StringIO()).end(10, complete=False)
    assert "gave up restoring after 10 rows" in lines.text
    assert "restored" not in lines.text


@pytest.mark.parametrize(("share", "shown"), [(-1, 0), (0, 0), (0.5, 15), (1, 30), (2, 30)])
def test_a_bar_is_never_shorter_than_nothing_nor_longer_than_all(share: float, shown: int) -> None:
    assert bar(share).count("#") == shown
    assert len(bar(share)) == len(bar(0))
