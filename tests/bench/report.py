# SPDX-License-Identifier: Apache-2.0
"""Turns measurements into Markdown tables, and into a plot when matplotlib is there."""
import math
import random
import statistics

import measure

QUANTITIES = {"cpu": "CPU time (user + system)", "wall": "Wall time", "peak": "Peak memory (RSS)"}


def median(results, quantity):
    """The median of the good runs, or None when there is none."""
    values = [getattr(result, quantity) for result in results if result.status == 0]
    return statistics.median(values) if values else None


def medians(runs, quantity):
    """{workload: {allocator: median}} from {workload: {allocator: [Result]}}."""
    return {name: {a: median(results, quantity) for a, results in row.items()} for name, row in runs.items()}


def ratio(value, base):
    return value / base if value is not None and base else None


def geometric_mean(values):
    values = [value for value in values if value]
    return math.exp(statistics.fmean(map(math.log, values))) if values else None


def interval(results, base):
    """Where the ratio of the medians lies with 95 % confidence: the percentile bootstrap over the rounds, each resampled whole, as the runs
    of one round met the same machine (B. Efron, "Bootstrap methods: another look at the jackknife", 1979). None with less than three."""
    rounds = [(one, other) for one, other in zip(results, base) if one and other]
    if len(rounds) < 3:
        return None
    generator = random.Random(1)
    ratios = []
    for _ in range(500):
        sample = generator.choices(rounds, k=len(rounds))
        ratios.append(statistics.median(one for one, _ in sample) / statistics.median(other for _, other in sample))
    ratios.sort()
    return ratios[12], ratios[487]


def spread_table(runs, allocators, quantity):
    """The confidence intervals of ratio_table()."""
    others = [allocator for allocator in allocators if allocator != "glibc"]
    rows = []
    for name, row in runs.items():
        values = {a: [getattr(result, quantity) if result.status == 0 else None for result in row.get(a, [])] for a in allocators}
        between = [interval(values[other], values["glibc"]) for other in others]
        rows.append([name, *("-" if pair is None else f"{pair[0]:.2f}–{pair[1]:.2f}" for pair in between)])
    return f"### {QUANTITIES[quantity]} relative to glibc: 95 % confidence\n\n" + table(["workload", *others], rows)


def show(value, pattern="{:.2f}"):
    return "-" if value is None else pattern.format(value)


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "|".join([" --- "] + [" ---: "] * (len(header) - 1)) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def show_quantity(quantity, value):
    if quantity == "peak":
        return show(value and value / 2**20, "{:.1f} MiB")
    return show(value, "{:.3f} s")


def ratio_table(runs, allocators, quantity):
    """glibc's medians, the others' ratios to them, and the geometric mean of each column."""
    values = medians(runs, quantity)
    others = [allocator for allocator in allocators if allocator != "glibc"]
    ratios = {name: [ratio(row.get(other), row.get("glibc")) for other in others] for name, row in values.items()}
    rows = [[name, show_quantity(quantity, values[name].get("glibc")), *map(show, ratios[name])] for name in values]
    means = [geometric_mean(column) for column in zip(*ratios.values())]
    rows.append(["**geometric mean**", "", *(f"**{show(mean)}**" for mean in means)])
    return f"### {QUANTITIES[quantity]} relative to glibc\n\n" + table(["workload", "glibc", *others], rows)


def peer_table(runs, allocators):
    """mpmm against whichever peer is best at each workload, the worst first."""
    peers = [allocator for allocator in allocators if allocator in measure.PEERS]
    if "mpmm" not in allocators or not peers:
        return ""
    values = {quantity: medians(runs, quantity) for quantity in ("cpu", "peak")}
    rows = []
    for name in runs:
        row, worst = [name], 0.0
        for quantity, of in values.items():
            known = {peer: of[name][peer] for peer in peers if of[name].get(peer)}
            best = min(known, key=known.get, default=None)
            compared = ratio(of[name].get("mpmm"), known.get(best))
            worst = max(worst, compared or 0.0)
            row += [show(compared), best or "-"]
        rows.append((worst, row))
    rows.sort(key=lambda entry: -entry[0])
    header = ["workload", "CPU time", "best peer", "peak memory", "best peer"]
    return "### mpmm relative to the best peer, worst first\n\n" + table(header, [row for _, row in rows])


def metric_table(runs, allocators):
    rows = []
    for name, row in runs.items():
        metrics = sorted({metric for results in row.values() for result in results for metric in result.metrics})
        for metric in metrics:
            cells = []
            for allocator in allocators:
                known = [result.metrics[metric] for result in row.get(allocator, []) if metric in result.metrics]
                cells.append(show(statistics.median(known) if known else None, "{:.3f}"))
            rows.append([f"{name} {metric}", *cells])
    if not rows:
        return ""
    return "### What the workloads measured themselves\n\n" + table(["metric", *allocators], rows)


def markdown(runs, allocators, notes):
    parts = [ratio_table(runs, allocators, quantity) for quantity in QUANTITIES] if "glibc" in allocators else []
    parts += [spread_table(runs, allocators, "cpu")] if "glibc" in allocators else []
    parts += [peer_table(runs, allocators), metric_table(runs, allocators)]
    return "\n".join(part for part in [*parts, "".join(f"- {note}\n" for note in notes)] if part)


def demo_table(runs):
    """Absolute numbers of mpmm beside glibc."""
    rows = []
    for name, row in runs.items():
        cells = [name]
        for quantity in ("cpu", "wall", "peak"):
            base, value = median(row["glibc"], quantity), median(row["mpmm"], quantity)
            cells += [show_quantity(quantity, base), show_quantity(quantity, value), show(ratio(value, base))]
        good = all(result.status == 0 for results in row.values() for result in results)
        same = len({result.digest for results in row.values() for result in results}) == 1
        rows.append(cells + ["failed" if not good else "same" if same else "DIFFERENT"])
    columns = [f"{column} {name}" for column in ("CPU", "wall", "peak") for name in ("glibc", "mpmm", "ratio")]
    return table(["program", *columns, "output"], rows)


def plot(runs, allocators, path):
    """Writes a picture of the ratios; returns False when matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "mpmm"  # the same picture is the same file

    others = [allocator for allocator in allocators if allocator != "glibc"]
    figure, panels = pyplot.subplots(2, 1, figsize=(max(8, 0.62 * len(runs) + 2), 8), sharex=True)
    for panel, quantity in zip(panels, ("cpu", "peak")):
        values = medians(runs, quantity)
        width = 0.8 / max(1, len(others))
        for index, other in enumerate(others):
            heights = [ratio(row.get(other), row.get("glibc")) or math.nan for row in values.values()]
            places = [place + (index - (len(others) - 1) / 2) * width for place in range(len(heights))]
            panel.bar(places, heights, width, label=other)
        panel.axhline(1.0, color="black", linewidth=0.8)
        panel.set_yscale("log", base=2)
        panel.yaxis.set_major_formatter("{x:g}")
        panel.set_ylabel(QUANTITIES[quantity] + ", glibc = 1")
    panels[0].legend(ncol=len(others), fontsize="small")
    panels[1].set_xticks(range(len(runs)), list(runs), rotation=45, ha="right")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    return True
