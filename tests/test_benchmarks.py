"""The benchmarks count what a step really computes, fit as they should, and the report shows what fails as failed."""

from pathlib import Path

import numpy as np
import pytest
from test_compare import BENCHMARKS, load

BATCH = 64


@pytest.fixture(scope="module")
def cost():
    return load("cost")


@pytest.fixture(scope="module")
def report():
    return load("report")


@pytest.mark.parametrize(("matrices", "width"), [(1, 32), (2, 20), (5, 33)])
def test_w_products_forward_and_two_w_minus_one_backward(cost, matrices, width):
    net, step, _ = cost.network(matrices, width)
    forward, backward = cost.products(step._forward), cost.products(step._backward)
    assert (len(forward), len(backward)) == (matrices, 2 * matrices - 1)
    one = BATCH * width * width
    assert {int(np.prod(product)) for product in forward + backward} == {one}
    predicted = net.cost(BATCH)
    assert (predicted.forward, predicted.backward) == (matrices * one, (2 * matrices - 1) * one)


@pytest.mark.parametrize(("matrices", "width"), [(2, 32), (3, 2048)])  # products of the second are run in parts
def test_measured_points(cost, matrices, width):
    point = cost.measure(matrices, width, 0.01)
    assert (point["forward"]["products"], point["backward"]["products"]) == (matrices, 2 * matrices - 1)
    work, times = cost.totals([point])
    assert work == [(3 * matrices - 1) * BATCH * width**2]
    assert times[0] > 0


def test_the_fit_of_a_power(cost):
    work = np.array([1e3, 1e4, 1e6])
    exponent, r_squared = cost.fit(work, 3e-4 * work**0.9)
    assert (exponent, r_squared) == (pytest.approx(0.9), pytest.approx(1))
    assert cost.fit(work, [1.0, 30.0, 20.0])[1] < 0.9


def test_speed_up_and_efficiency(monkeypatch):
    threads = load("threads")
    times = {("1", 1): 8.0, ("1", 2): 5.0, ("2", 2): 10.0}
    monkeypatch.setattr(
        threads, "in_process", lambda *a, threads: {"time": times[str(a[3]), threads] if threads > 1 else 8.0}
    )
    best = threads.measure("product", [1, 2], 1, 0.1)
    assert (best[2]["speedup"], best[2]["efficiency"], best[2]["weak efficiency"]) == (1.6, 0.8, 0.8)
    assert [threads.up_to(cpus) for cpus in (1, 2, 6, 16)] == [[1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8, 16]]


def test_a_busy_machine(monkeypatch):
    busy = load("busy")
    times = iter([30.0, 20.0, 28.0, 22.0, 90.0, 21.0])  # with threads and one thread, in turn

    def measured(script, library, seconds, network, threads, variables):
        assert variables["FASTBP_NUM_THREADS"] in ("1", str(busy.CPUS))
        return {network: next(times)}

    monkeypatch.setattr(busy, "in_process", measured)
    result = busy.measure(0, ["CNN A"], None, 3, 0.1)["CNN A"]
    assert result == {"fastbp": 30.0, "one thread": 21.0}
    assert busy.ratio(result) == 30 / 21
    assert busy.mean_time(lambda: None, 0) > 0
    with busy.Busy(2):
        pass


def test_peaks_are_those_of_some_machine():
    peak = load("peak")
    assert 0.1 < peak.gflops("float32", 1, 0.01) < 10_000
    assert 0.1 < peak.gbytes("float64", 1, 0.01) < 10_000


@pytest.mark.parametrize(
    ("name", "operations", "numbers"),
    [
        ("matmul 256", 2 * 256**3, 3 * 256**2),
        # 64 filters, 16 x 16 results, 64 channels of 3 x 3, two gradients; x, dx, dy, w, dw, b
        (
            "conv_backward 64-64 3x3 stride 2 on 32x32",
            4 * 32 * 64 * 256 * 576,
            2 * 32 * 64 * 1024 + 32 * 64 * 256 + 2 * 64 * 576 + 64,
        ),
        ("avg_pool_forward 2x2 on 64x112x112", 32 * 64 * 112**2, 32 * 64 * (112**2 + 56**2)),
    ],
)
def test_cases_count_operations_and_bytes(name, operations, numbers):
    case = load("roofline").KERNELS[name]("float32")
    case.call()
    assert (case.operations, sum(a.nbytes for a in case.arrays)) == (operations, 4 * numbers)


def test_asv_times_every_case():
    """One file of cases for each file of kernels, and one class in it that times all of them."""
    timed = load("case").Timed
    kernels = {path.stem for path in (BENCHMARKS.parent / "kernels").glob("*.py")}
    for file in load("roofline").FILES:
        assert file.__name__.removeprefix("suite.") in kernels
        classes = [value for value in vars(file).values() if isinstance(value, type) and issubclass(value, timed)]
        assert [cls.params[0] for cls in classes] == [list(file.CASES)]
        assert "setup_cache" in vars(classes[0])


def test_calls_run():
    for call in load("calls").calls().values():
        call()


def test_benchmarks_of_other_libraries_are_skipped_or_fail():
    script = load("suite.script")
    assert script.ratio({"times": {"fastbp": 2, "torch": 4}, "ratio": 2.0}) == 2.0
    with pytest.raises(NotImplementedError, match="no other library is installed"):
        script.ratio({"times": {"fastbp": 2}, "ratio": None})
    with pytest.raises(RuntimeError, match="torch failed"):
        script.ratio({"times": {"fastbp": 2, "torch": None}, "ratio": None})
    with pytest.raises(NotImplementedError, match="jax is not installed"):
        script.of("jax", {"fastbp": 2})


def test_a_part_that_fails_is_shown_as_failed(report, tmp_path):
    part = report.Part("Title", "Text.", "cost.py", ("--threads", "0"), ())
    command = part.command(full=False)
    said, markdown, result = report.run(*command)
    assert (said.startswith("failed: "), markdown, result) == (True, "", None)
    assert report.drawing(part, result) == ""
    report.write(tmp_path / "new", "head & shoulders", [(part, command, said, "")], ["Later"])
    page = (tmp_path / "new" / "index.html").read_text()
    assert "head &amp; shoulders" in page
    assert "failed: " in page
    assert "not yet: Later." in page
    assert "python benchmarks/cost.py --threads 0" in (tmp_path / "new" / "report.md").read_text()
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["index.html", "report.md"]


def test_tables_become_tables(report):
    text = report.to_html("before\n| a | b < c |\n| --- | --- |\n| 1 | - |\n\nafter")
    assert "<table><tr><th>a</th><th>b &lt; c</th></tr>" in text
    assert "<tr><td>1</td><td>-</td></tr>" in text
    assert text.index("before") < text.index("<table>") < text.index("</table>") < text.index("after")


def test_tables_go_into_the_readme(report):
    text = "a\n\n<!-- report: steps -->\n\nold\n\n<!-- end -->\n\nb\n\n<!-- report: cost -->\n<!-- end -->\n"
    once = report.insert(text, "steps", "| new |\n\n")
    assert once == text.replace("old", "| new |")
    assert report.insert(once, "steps", "| new |") == once
    assert report.insert(text, "cost", "x").endswith("b\n\n<!-- report: cost -->\n\nx\n\n<!-- end -->\n")
    assert report.insert(text, "threads", "x") == text
    with pytest.raises(ValueError, match="nothing ends"):
        report.insert("<!-- report: cost -->\n", "cost", "x")
    readme = report.README.read_text()
    for name in ("machine", "steps", "products", "layers"):
        assert report.insert(readme, name, f"a table of {name}") != readme


def test_two_timings_agree_where_their_intervals_meet():
    pytest.importorskip("asv", reason="asv is not installed: its results are not compared")
    agree = load("agreement").agree
    assert agree({"ci_99_a": 1.0, "ci_99_b": 2.0}, {"ci_99_a": 2.0, "ci_99_b": 3.0})
    assert not agree({"ci_99_a": 1.0, "ci_99_b": 2.0}, {"ci_99_a": 2.1, "ci_99_b": 3.0})
    assert not agree({"ci_99_a": 2.1, "ci_99_b": 3.0}, {"ci_99_a": 1.0, "ci_99_b": 2.0})


def test_the_report_draws_every_part_that_there_is(report):
    scripts = {part.script for part in report.PARTS.values()}
    assert all(Path(BENCHMARKS / script).exists() for script in scripts)
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: the plots of the report are not drawn")
    points = [{"batch": 2, "hidden": n, "rise": 9.0 * n, "predicted": 8.0 * n} for n in (1, 2, 3)]
    result = {"points": points, "slopes": {"rise": 9.0, "predicted": 8.0}}
    assert report.drawing(report.PARTS["memory"], result).startswith("<svg")
