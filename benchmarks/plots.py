"""The plots of the report: each function draws the saved results of one script into axes of matplotlib."""

MIB = 2**20


def cost(axes, results):
    """Time of whole steps over their multiply-adds, and the fitted lines."""
    for result in results:
        points = result["points"]
        work, times = (
            [point["forward"][key] + point["backward"][key] for point in points] for key in ("multiply_adds", "time")
        )
        label = f"{result['growth']}, {result['threads']} thread(s): exponent {result['exponent']:.3f}"
        axes.loglog(work, times, "o-", label=f"{label}, R² {result['r_squared']:.4f}")
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
    ends = [min(intensity.values()) / 2, peak / bandwidth, max(intensity.values()) * 4]
    axes.loglog(ends, [ends[0] * bandwidth, peak, peak], "k-", label=f"{peak:.0f} GFLOP/s, {bandwidth:.0f} GB/s")
    for number, (name, kernel) in enumerate(sorted(result["kernels"].items(), key=lambda item: intensity[item[0]])):
        rate = kernel["operations"] / kernel["time"] / 1e3
        axes.loglog(intensity[name], rate, "o", color=f"C{number % 10}", label=f"{number + 1}  {name}")
        axes.annotate(str(number + 1), (intensity[name], rate), xytext=(4, 4), textcoords="offset points", fontsize=8)
    axes.set(xlabel="operations per byte", ylabel="GFLOP/s", title=f"Roofline, {count} thread(s)")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))


def peers(axes, results):
    """Ratio to every other library."""
    labels = [f"{row['network']}, {row['threads']} thread(s)" for row in results]
    libraries = [name for name in dict.fromkeys(n for row in results for n in row["times"]) if name != "fastbp"]
    height = 0.8 / max(1, len(libraries))
    for number, library in enumerate(libraries):
        places, ratios = [], []
        for place, row in enumerate(results):
            if library in row["times"] and "fastbp" in row["times"]:
                places.append(place + (number - (len(libraries) - 1) / 2) * height)
                ratios.append(row["times"][library] / row["times"]["fastbp"])
        bars = axes.barh(places, [ratio - 1 for ratio in ratios], height, left=1, label=library)
        axes.bar_label(bars, labels=[f"{ratio:.1f}" for ratio in ratios], fontsize=7, padding=2)
    axes.axvline(1, color="k", linewidth=1)
    axes.set(xscale="log", xlabel="time of the library over that of fastbp", yticks=range(len(labels)))
    axes.set_yticklabels(labels)
    axes.invert_yaxis()
    axes.legend(fontsize=8)
    axes.set_title("Training steps")


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
