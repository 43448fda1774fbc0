"""The benchmarks count what a step really computes, fit as they should, and the report shows what fails as failed."""

import ast
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


def test_peaks_are_those_of_some_machine():
    peak = load("peak")
    assert 0.1 < peak.gflops("float32", 1, 0.01) < 10_000
    assert 0.1 < peak.gbytes("float64", 1, 0.01) < 10_000


@pytest.mark.parametrize("name", ["product 256 x 256 x 256", "its gradients", "mean of 2x2, 64 x 112x112"])
def test_roofline_counts_operations_and_bytes(name):
    roofline = load("roofline")
    call, operations, arrays = roofline.KERNELS[name]("float32")
    call()
    expected = {
        "product 256 x 256 x 256": (2 * 256**3, 3 * 4 * 256**2),
        # 64 filters, 16 x 16 results, 64 channels of 3 x 3, two gradients; x, dx, y, w, dw, db
        "its gradients": (4 * 32 * 64 * 256 * 576, 4 * (2 * 32 * 64 * 1024 + 32 * 64 * 256 + 2 * 64 * 576 + 64)),
        "mean of 2x2, 64 x 112x112": (32 * 64 * 112**2, 4 * 32 * 64 * (112**2 + 56**2)),
    }[name]
    assert (operations, sum(a.nbytes for a in arrays)) == expected


def lists_of(path):
    """Literal lists and dictionaries at the top of a module, as lists of their names."""
    found = {}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.List | ast.Dict):
            items = node.value.elts if isinstance(node.value, ast.List) else node.value.keys
            if all(isinstance(item, ast.Constant) for item in items):
                found[node.targets[0].id] = [item.value for item in items]
    return found


@pytest.mark.parametrize(
    ("suite", "key", "script"),
    [("roofline", "KERNELS", "roofline"), ("threads", "WORK", "threads"), ("conv", "LAYERS", "convolutions")],
)
def test_asv_tracks_all_that_a_script_measures(suite, key, script):
    assert lists_of(BENCHMARKS / "suite" / f"{suite}.py")[key] == lists_of(BENCHMARKS / f"{script}.py")[key]


def test_asv_tracks_every_call():
    names = load("calls").calls()
    assert lists_of(BENCHMARKS / "suite" / "calls.py")["NAMES"] == list(names)
    for call in names.values():
        call()


def test_a_part_that_fails_is_shown_as_failed(report, tmp_path):
    part = report.Part("Title", "Text.", ("cost.py", "--threads", "0"), None)
    markdown, result = report.run(part)
    assert (markdown.startswith("failed: "), result) == (True, None)
    assert report.drawing(part, result) == ""
    report.write(tmp_path / "new", "head & shoulders", [(part, markdown, "")])
    page = (tmp_path / "new" / "index.html").read_text()
    assert "head &amp; shoulders" in page
    assert "failed: " in page
    assert "python benchmarks/cost.py --threads 0" in (tmp_path / "new" / "report.md").read_text()
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["index.html", "report.md"]


def test_tables_become_tables(report):
    text = report.to_html("before\n| a | b < c |\n| --- | --- |\n| 1 | - |\n\nafter")
    assert "<table><tr><th>a</th><th>b &lt; c</th></tr>" in text
    assert "<tr><td>1</td><td>-</td></tr>" in text
    assert text.index("before") < text.index("<table>") < text.index("</table>") < text.index("after")


def test_the_report_draws_every_part_that_there_is(report):
    scripts = {part.command[0] for part in report.PARTS.values()}
    assert all(Path(BENCHMARKS / script).exists() for script in scripts)
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: the plots of the report are not drawn")
    points = [{"batch": 2, "hidden": n, "rise": 9.0 * n, "predicted": 8.0 * n} for n in (1, 2, 3)]
    result = {"points": points, "slopes": {"rise": 9.0, "predicted": 8.0}}
    assert report.drawing(report.PARTS["memory"], result).startswith("<svg")
