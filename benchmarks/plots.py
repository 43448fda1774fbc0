"""The plots of the report: each function draws the saved results of one script into axes of matplotlib."""

import numpy as np
from cost import totals
from memory import MIB


def cost(axes, results):
    """Time of whole steps over their multiply-adds, and the fitted lines."""
    for result in results:
        work, times = totals(result["points"])
        label = f"{result['growth']}, {result['threads']} thread(s): exponent {result['exponent']:.3f}"
        (points,) = axes.loglog(work, times, "o", label=f"{label}, R² {result['r_squared']:.4f}")
        middle, height = (np.exp(np.mean(np.log(values))) for values in (work, times))
        axes.loglog(work, height * (np.array(work) / middle) ** result["exponent"], color=points.get_color())
    axes.set(xlabel="multiply-adds of a step", ylabel="time (µs)", title="Time over work")
    axes.grid(alpha=0.3, which="both")
    axes.legend()


def memory(axes, result):
    """Measured and predicted bytes over samples times hidden units."""
    units = [point["batch"] * point["hidden"] for point in result["points"]]
    for key, marker, label in (("rise", "o", "measured"), ("predicted", "x", "predicted")):
        sizes = [point[key] / MIB for point in result["points"]]
        axes.plot(units, sizes, marker, label=f"{label}: {result['slopes'][key]:.1f} bytes for each N n")
    axes.set(xlabel="N n: samples times hidden units", ylabel="MiB", title="Memory of a training step")
    axes.grid(alpha=0.3)
    axes.legend()


def threads(axes, results):
    """Speed-up over threads."""
    counts = sorted({int(t) for result in results.values() for t in result})
    axes.plot(counts, counts, "k--", alpha=0.5, label="ideal")
    for work, result in results.items():
        axes.plot(counts, [result[str(t)]["speedup"] for t in counts], "o-", label=work)
    axes.set(xlabel="threads", ylabel="speed-up", title="Strong scaling", xticks=counts)
    axes.grid(alpha=0.3)
    axes.legend()


def roofline(axes, results):
    """GFLOP/s over operations per byte, under the roof of the run, for the largest number of threads."""
    count = max(results, key=int)
    result = results[count]
    peak, bandwidth = result["gflops"], result["gbytes"]
    intensity = {name: kernel["operations"] / kernel["bytes"] for name, kernel in result["kernels"].items()}
    ends = [min(i for i in intensity.values() if i) / 2, peak / bandwidth, max(intensity.values()) * 2]
    axes.loglog(ends, [ends[0] * bandwidth, peak, peak], "k-", label=f"{peak:.0f} GFLOP/s, {bandwidth:.0f} GB/s")
    kernels = sorted((item for item in result["kernels"].items() if intensity[item[0]]), key=lambda i: intensity[i[0]])
    for number, (name, kernel) in enumerate(kernels, 1):
        rate = kernel["operations"] / kernel["time"] / 1e3
        axes.loglog(intensity[name], rate, "o", markersize=4, color=f"C{number % 10}", label=f"{number}  {name}")
        axes.annotate(str(number), (intensity[name], rate), xytext=(3, 3), textcoords="offset points", fontsize=7)
    axes.set(xlabel="operations per byte", ylabel="GFLOP/s", title=f"Roofline, {count} thread(s)")
    axes.grid(alpha=0.3, which="both")
    axes.figure.set_figheight(9)
    axes.figure.legend(fontsize=6.5, loc="outside lower left", ncols=3, columnspacing=1, handletextpad=0.3)


def steps(axes, rows):
    """Training steps: time of every other library over that of fastbp."""
    _ratios(axes, [(f"{row['network']}, {row['threads']} thread(s)", row["times"]) for row in rows])


def beside(axes, results):
    """Products or layers by threads: time of every other library over that of fastbp."""
    rows = [
        (f"{name}, {threads} thread(s)", {library: _total(time) for library, time in result["times"].items()})
        for threads, by_name in results.items()
        for name, result in by_name.items()
    ]
    _ratios(axes, sorted(rows, key=lambda row: [*results[min(results)]].index(row[0].rpartition(", ")[0])))


def _total(time):
    """The time of all passes; None where the library failed."""
    return sum(time) if isinstance(time, list) else time


def _ratios(axes, rows):
    """Bars for rows of (label, {library: time})."""
    libraries = [name for name in dict.fromkeys(n for _, times in rows for n in times) if name != "fastbp"]
    height = 0.8 / max(1, len(libraries))
    axes.figure.set_figheight(1.5 + 0.16 * len(rows) * (1 + len(libraries)))
    for number, library in enumerate(libraries):
        shown = [(place, times) for place, (_, times) in enumerate(rows) if times.get(library)]
        places = [place + (number - (len(libraries) - 1) / 2) * height for place, _ in shown]
        ratios = [times[library] / times["fastbp"] for _, times in shown]
        bars = axes.barh(places, [ratio - 1 for ratio in ratios], height, left=1, label=library)
        for bar, ratio in zip(bars, ratios, strict=True):  # at the outer end of the bar
            axes.annotate(
                f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}",
                (ratio, bar.get_y() + height / 2),
                xytext=(2 if ratio > 1 else -2, 0),
                textcoords="offset points",
                ha="left" if ratio > 1 else "right",
                va="center",
                fontsize=7,
            )
    axes.axvline(1, color="k", linewidth=1)
    axes.set(xscale="log", xlabel="time of the library over that of fastbp", yticks=range(len(rows)))
    for axis_format in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        axis_format("{x:g}")
    axes.set_yticklabels([label for label, _ in rows])
    axes.margins(x=0.1, y=0.01)
    axes.invert_yaxis()
    if libraries:
        axes.legend(fontsize=8)


def accuracy(axes, results):
    """Test accuracy over time, on the largest number of threads."""
    count = max(results, key=int)
    for library, points in results[count].items():
        if points:
            values = [100 * point["accuracy"] for point in points]
            axes.semilogx([point["seconds"] for point in points], values, "o-", label=library)
    axes.set(xlabel="seconds of training", ylabel="test accuracy (%)", title=f"Digits, {count} thread(s)")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
