"""The quick faults, once each, on a real broker under load: `make faults` does all of them, for longer."""

import pytest

from tests.faults.__main__ import main

pytestmark = [pytest.mark.broker, pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(290)]


def test_after_a_kill_a_lost_disk_and_hostile_input_nothing_is_lost_or_doubled(
    capsys: pytest.CaptureFixture[str],
) -> None:
    only = "kill-disk-lost,repeats,poison"
    ended = main(["--minutes", "0", "--injections", "1", "--only", only, "--rate", "20", "--seed", "1"])
    with capsys.disabled():
        if ended != 0:
            print(capsys.readouterr().out)
    assert ended == 0
