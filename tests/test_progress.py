"""What a person sees during `fit`: lines per epoch, and on a terminal a bar that leaves nothing behind."""

import io
import re

import numpy as np
import pytest

import fastbp as fb
from fastbp.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def screen(self) -> list[str]:
        """The lines that a person sees in the end: a carriage return starts the line again, over the old one."""
        shown = []
        for line in self.getvalue().split("\n"):
            text = ""
            for part in line.split("\r"):
                text = part + text[len(part) :]
            shown.append(text.rstrip())
        return shown


@pytest.fixture
def make_terminal(monkeypatch):
    """To be called within the test: between set-up and test pytest puts its own standard error in place."""

    def make() -> Terminal:
        terminal = Terminal()
        monkeypatch.setattr("sys.stderr", terminal)
        return terminal

    monkeypatch.setenv("COLUMNS", "80")
    return make


def run(epochs: int, batches: int, *, show: bool = True) -> None:
    with Progress(epochs, batches, show=show) as progress:
        for epoch in range(1, epochs + 1):
            for _ in range(batches):
                progress.batch()
            progress.epoch(epoch, {"loss": 1 / epoch, "val_loss": float("nan")})


def fit(**changes):
    net = fb.Sequential(fb.Affine(2), input_shape=3, seed=0)
    arguments = {"loss": fb.SoftmaxCrossEntropy(), "optimizer": fb.SGD(0.1), "progress": True, **changes}
    return net.fit(np.ones((8, 3)), np.zeros(8, int), batch_size=4, **arguments)


def test_a_line_per_epoch_where_there_is_no_terminal(capsys):
    run(2, 3)
    assert capsys.readouterr() == ("", "epoch 1/2  loss 1.0000  val_loss nan\nepoch 2/2  loss 0.5000  val_loss nan\n")


def test_epoch_numbers_are_aligned(capsys):
    run(10, 1)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("epoch  1/10  ")
    assert lines[9].startswith("epoch 10/10  ")


@pytest.mark.parametrize(
    ("epochs", "shown"),
    [(50, list(range(1, 51))), (51, [1, *range(2, 51, 2), 51]), (750, [1, *range(15, 751, 15)])],
)
def test_many_epochs_do_not_flood_the_screen(capsys, epochs, shown):
    run(epochs, 1)
    assert [int(line.split()[1].partition("/")[0]) for line in capsys.readouterr().err.splitlines()] == shown


def test_slow_epochs_are_shown_more_often(capsys, monkeypatch):
    times = iter(range(0, 10**6, 3))  # looked at once at the start, once or twice an epoch
    monkeypatch.setattr("fastbp.progress.time.monotonic", lambda: next(times))
    run(10_000, 1)
    shown = [int(line.split()[1].partition("/")[0]) for line in capsys.readouterr().err.splitlines()]
    assert shown[:4] == [1, 5, 9, 13]


def test_nothing_is_shown_unless_asked_for(capsys, make_terminal):
    terminal = make_terminal()
    run(2, 3, show=False)
    assert terminal.getvalue() == ""
    assert capsys.readouterr() == ("", "")


def test_a_terminal_shows_a_bar_and_keeps_only_the_lines(make_terminal):
    terminal = make_terminal()
    run(2, 3)
    assert re.search(r"0%\|.*\| 0/6 \[", terminal.getvalue())
    assert [line for line in terminal.screen() if line] == [
        "epoch 1/2  loss 1.0000  val_loss nan",
        "epoch 2/2  loss 0.5000  val_loss nan",
    ]


def test_the_bar_goes_when_training_fails(make_terminal):
    terminal = make_terminal()
    with pytest.raises(TypeError):
        fit(loss=lambda u, t: None)
    assert "0/2 [" in terminal.getvalue()
    assert not any(terminal.screen())


def test_fit_shows_every_value_of_the_history(capsys):
    history = fit(l2=0.01, epochs=2, validation_data=(np.ones((4, 3)), np.zeros(4, int)))
    out, err = capsys.readouterr()
    assert out == ""
    line = "  ".join(f"{name} {values[1]:.4f}" for name, values in history.items())
    assert err.splitlines()[1] == f"epoch 2/2  {line}"
    assert list(history) == ["loss", "cost", "val_loss", "val_accuracy"]


def test_fit_counts_every_batch(make_terminal):
    terminal = make_terminal()
    fit(epochs=3)
    assert "/6 [" in terminal.getvalue()
    assert sum(bool(line) for line in terminal.screen()) == 3


def test_fit_is_silent_by_default(capsys):
    fit(progress=False, epochs=2)
    assert capsys.readouterr() == ("", "")


def test_no_epochs_no_lines(capsys):
    assert fit(epochs=0) == {}
    assert capsys.readouterr() == ("", "")
