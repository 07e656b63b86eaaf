"""Writes the tables of the documents from benchmarks/results, so that no figure in them is typed by hand.

Command: python -m benchmarks.tables
Reads:   benchmarks/results/NAME.json, each written by the script of its name (resume.json by kill.py)
Writes:  docs/results.md, speed.md, reliability.md, audit.md, from_pictures.md and security.md, between each pair of
         `<!-- table: NAME -->` and `<!-- end -->`
"""

import json
import math
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from benchmarks.accuracy import recipe
from benchmarks.inference import FASTER, FORMS, NO_SLOWER, SMALLER, pays
from benchmarks.train import CONTESTANTS

ROOT = Path(__file__).parents[1]
PAGES = tuple(ROOT / "docs" / f"{page}.md" for page in ("results", "speed", "reliability", "audit", "from_pictures", "security"))
PLACE = re.compile(r"(?<=<!-- table: )(\w+)( -->\n).*?(?=<!-- end -->)", flags=re.DOTALL)
RESULTS = Path(__file__).parent / "results"
ACCURACY = "DATASETS_MIRROR=FOLDER python -m benchmarks.accuracy"
GOAL, SMALL = 3, 1_000_000  # times eager, that ONNX Runtime should be with single rows of a network of fewer weights


def main() -> None:
    tables = every_table()
    for page in PAGES:
        page.write_text(with_tables(page.read_text(encoding="utf-8"), tables), encoding="utf-8")


def with_tables(text: str, tables: dict[str, str]) -> str:
    """A page's text with every table replaced."""
    return PLACE.sub(lambda place: place[1] + place[2] + tables[place[1]], text)


def every_table() -> dict[str, str]:
    """Each made of the results file of its name."""
    params = YAML(typ="safe").load(ROOT / "params.yaml")
    recipes = {model: recipe(params, model) for model in params["models"]}
    return {
        "accuracy": accuracy_table(read_results("accuracy"), read_results("accuracy_cuda"), recipes),
        "reference": measured(reference_table, "reference_cuda"),
        "fresh_clone": measured(fresh_clone_table, "fresh_clone"),
        "train": measured(train_table, "train"),
        "train_cuda": measured(train_table, "train_cuda"),
        "resume": measured(resume_table, "resume"),
        "resume_cuda": measured(resume_table, "resume_cuda"),
        "memory": measured(memory_table, "memory"),
        "startup": measured(startup_table, "startup"),
        "growth": measured(growth_table, "growth"),
        "large_table": measured(large_table_table, "large_table"),
        "what_paid": measured(what_paid_table, "what_paid"),
        "rebuild": measured(rebuild_table, "rebuild"),
        "disturb": measured(disturb_table, "disturb"),
        "inference": measured(inference_table, "inference"),
        "smaller": smaller_table(read_results("accuracy")),
        "own_data": measured(own_data_table, "own_data"),
        "unseen_tables": measured(unseen_tables_table, "unseen_tables"),
        "own_pictures_and_texts": measured(own_pictures_and_texts_table, "own_data"),
        "copies": measured(copies_table, "copies"),
        "pictures": measured(pictures_table, "pictures"),
        "photographs": measured(photographs_table, "pictures"),
        "attacks": measured(attacks_table, "attacks"),
    }


SHAPES = {"folder": "a file a picture", "zips": "two zips, as they were found", "packed": "one zip, as `make new` packs it"}


def pictures_table(results: dict[str, Any]) -> str:
    """A row for each shape of the raw data of the same 60,000 pictures."""
    columns = ["`dvc add`", "`dvc repro preprocess`", "the stage alone", "its memory", "raw", "processed", "DVC's cache"]
    lines = [f"| raw data | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns)]
    for name, shape in SHAPES.items():
        entry = results["files"][name]
        cells = [f"{entry[command]['cpu_s']:.0f} s" for command in ("add", "repro", "preprocess")]
        cells += [f"{size:.0f} MB" for size in (entry["preprocess"]["peak_mb"], *entry["disk_mb"].values())]
        files = "a file" if entry["raw_files"] == 1 else f"{entry['raw_files']:,} files"
        lines.append(f"| {shape}: {files} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n\nSeconds are the processor's."


def photographs_table(results: dict[str, Any]) -> str:
    """What so many photographs take, from the time of one."""
    entry, item = results["photographs"], 3 * results["photographs"]["crop"] ** 2
    raw, processed = entry["kb"] * entry["many"] / 1e6, item * entry["many"] / 1e9
    lines = [f"| {entry['many']:,} photographs of {entry['kb']} kB, cut to {entry['crop']}x{entry['crop']} | |", "|---|---:|"]
    lines += [
        f"| raw, in the workspace and in DVC's cache | {raw:.0f} GB each |",
        f"| decoded and resized, {entry['ms']:.0f} ms of one core each | {entry['many_hours']:.1f} h |",
        f"| `processed/`, {item / 1000:.0f} kB a picture | {processed:.0f} GB, and again in the cache |",
        f"| beside it while the stage writes | {processed:.0f} GB; {2 * processed:.0f} GB with `keep_copies_together` |",
    ]
    return "\n".join(lines)


def attacks_table(results: dict[str, Any]) -> str:
    """A row for each attack on serve.py, then for those on the readers."""
    alone, columns = results["alone"], "seconds | peak MB | p99 beside it, ms |"
    lines = [f"| attack on `serve.py` | limit | answer | {columns}", "|---|---|---|---:|---:|---:|"]
    lines.append(f"| none: {alone['requests_per_s']:,} innocent requests a second | | | | | {alone['p99_ms']:.0f} |")
    for name, one in results["serve"].items():
        lines.append(f"| {name} | {one['limit']} | {cell(one['answer'])} | {one['s']:.1f} | {one['peak_mb']:,} | {one['p99_ms']:.0f} |")
    lines += ["", "| attack on a reader of `preprocess` | limit | outcome | seconds of one core |", "|---|---|---|---:|"]
    lines += [f"| {name} | {one['limit']} | {cell(one['answer'])} | {one['cpu_s']:.1f} |" for name, one in results["read"].items()]
    return "\n".join(lines)


def cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|")


def read_results(name: str) -> dict[str, Any]:
    """What a benchmark wrote; empty before its first run."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def accuracy_table(on_cpu: dict[str, Any], on_gpu: dict[str, Any], recipes: dict[str, Any]) -> str:
    """A row for each model of `recipes`, in their order, measured or not; a figure of another recipe is marked.

    A figure from a GPU is shown where the CPU has none of the committed recipe.
    """
    lines = ["| model | data | measured on the test split | to reach | reached | training |", "|---|---|---|---|---|---|"]
    shown_entries = []
    for model, committed in recipes.items():
        entries = [results[model] for results in (on_cpu, on_gpu) if model in results]
        if not entries:
            lines.append(f"| {model} | | not measured yet | | | |")
            continue
        entry = next((entry for entry in entries if is_of(entry, committed)), entries[0])
        shown_entries.append(entry)
        figures = entry["figures"]
        values, bounds = "<br>".join(map(shown, figures)), "<br>".join(map(bound, figures))
        reached = "yes" if all(figure["reached"] for figure in figures) else "**no**"
        if not is_of(entry, committed):
            reached += " (with an earlier recipe)"
        lines.append(f"| {model} | {entry['dataset']} | {values} | {bounds} | {reached} | {seconds_of(entry)} |")
    hardware = sorted({entry["hardware"] for entry in shown_entries})
    dates = sorted({entry["date"] for entry in shown_entries})
    where = f"Measured on {'; '.join(hardware)}, {' to '.join(dict.fromkeys((dates[0], dates[-1])))}"
    return "\n".join(lines) + f"\n\n{where}, by `{ACCURACY}`.\n"


def is_of(entry: dict[str, Any], committed: dict[str, Any]) -> bool:
    """Whether the figure is of the committed recipe. A key that a recipe lacks is null, or the empty list, which older ones wrote out."""
    return without_defaults(entry["recipe"]) == without_defaults(committed)


def without_defaults(recipe: dict[str, Any]) -> dict[str, Any]:
    return recipe | {"train": {key: value for key, value in recipe["train"].items() if value not in (None, [])}}


def seconds_of(entry: dict[str, Any]) -> str:
    """The median seconds of a training, from its process's start, and on what; nothing where that was not measured."""
    if "train_s" not in entry:
        return ""
    processor, threads = entry["hardware"].split(", ")[0], f"{entry['threads']} thread{'s' if entry['threads'] > 1 else ''}"
    return f"{statistics.median(entry['train_s']):.0f} s, {threads if 'cores' in entry['hardware'] else processor}"


def reference_table(result: dict[str, Any]) -> str:
    """What the reference reaches, in a sentence."""
    spread = f" ± {result['std']:.4f} ({len(result['measured'])} seeds)" if result["std"] is not None else ""
    seconds = statistics.median(one["train_s"] for one in result["measured"])
    return f"{result['network']} with a plain recipe of {result['recipe']['epochs']} epochs, on {result['dataset']}: " + (
        f"accuracy {result['accuracy']:.4f}{spread} on the test split, in {seconds:.0f} s of training."
    )


def measured(table: Callable[[dict[str, Any]], str], name: str) -> str:
    """The table of a results file with what it was measured on below it; a sentence where nothing has been measured yet."""
    result = read_results(name)
    if not result:
        return "Not measured yet.\n"
    command = result.get("command", f"python -m benchmarks.{name}")
    return f"{table(result)}\n\nMeasured {origin(result)}, by `{command}`.\n"


def origin(result: dict[str, Any]) -> str:
    """Of which commit, on what and when; of each model apart where they were not measured together."""
    if "hardware" in result:
        commit = f"of {result['commit']} " if "commit" in result else ""
        return f"{commit}on {result['hardware']}, {result['date']}"
    together: dict[str, list[str]] = {}
    for model, entry in result["models"].items():
        together.setdefault(origin(entry.get("measured", entry)), []).append(model)
    return "; ".join(f"{', '.join(models)} {where}" for where, models in together.items())


def train_table(result: dict[str, Any]) -> str:
    """Samples a second of every contestant, with the ratio to the plain loop, and the time to the lesson's accuracy."""
    models = result["models"]
    contestants = [name for name in CONTESTANTS if any(name in table for table in models.values())]
    lines = [f"| samples/s (times the plain loop) | {' | '.join(models)} |", f"|---|{'---|' * len(models)}"]
    for contestant in contestants:
        cells = [f"{table[contestant]['samples_per_s']:,.0f} ({table[contestant]['times_plain']:.1f})" for table in models.values()]
        lines.append(f"| {contestant} | {' | '.join(cells)} |")
    races = [table.get("time_to_accuracy") for table in models.values()]
    for racer in dict.fromkeys(racer for race in races if race for racer in race["times_shorter"]):
        goals = [f"{race['accuracy']:.0%}: {ratio(race, racer)}" if race else "" for race in races]
        lines.append(f"| *{racer}: time to the lesson's accuracy, times shorter* | {' | '.join(goals)} |")
    runs = sorted({len(table[name]["each"]) for table in models.values() for name in contestants if name in table})
    counts = f"Medians of {' to '.join(map(str, dict.fromkeys((runs[0], runs[-1]))))} measurements"
    return "\n".join(lines) + f"\n\n{counts} of {result['seconds_of_each_measurement']:g} s, {result['threads']} cores for each."


def ratio(race: dict[str, Any], racer: str) -> str:
    """The median over the seeds, and how far they lie apart."""
    times, num_seeds = race["times_shorter"][racer], len(race["runs"][racer])
    if len(times) < num_seeds:
        return f"not reached with {num_seeds - len(times)} of {num_seeds} seeds"
    spread = f"{min(times):.1f} to {max(times):.1f}, {num_seeds} seeds" if num_seeds > 1 else "once"
    return f"{'' if race['plain_reached_it'] else 'more than '}{statistics.median(times):.1f} ({spread})"


def resume_table(result: dict[str, Any]) -> str:
    """How the killed trainings ended."""
    lines = ["| model | kills | trainings | ended in the same bytes | SIGTERM to the end |", "|---|---|---|---|---|"]
    for model, entry in result["models"].items():
        slowest = max(entry["sigterm_to_end_s"])
        lines.append(f"| {model} | {entry['kills']} | {entry['trainings']} | {entry['identical']} | at most {slowest:.1f} s |")
    lines.append(f"| all | {result['kills']} | {result['trainings']} | {result['identical']} | |")
    resumed = ", ".join(f"{count} {place}" for place, count in sorted(result["taken_up"].items()))
    torn = f"DVC's lock file was damaged, and restored from git, {result['dvc_lock_torn']} times"
    return "\n".join(lines) + f"\n\nResumed: {resumed}. {torn}. Drawn from seed {result['seed']}."


def memory_table(result: dict[str, Any]) -> str:
    lines = ["| train split | peak memory | rows/s |", "|---|---|---|"]
    lines += [f"| {row['gb']:g} GB | {row['peak_mb']:,} MB | {row['rows_per_s']:,} |" for row in result["streamed"]]
    left = {name: result["in_memory"][name]["streamed_of_in_memory"] for name in ("linear", "cifar10_cnn")}
    limits = f"Streamed in windows of {result['stream_above_mb']} MB, with the process's memory limited to {result['limit_mb']:,} MB."
    return "\n".join(lines) + (
        f"\n\n{limits} A linear network, start-up and hashing included. Compared with the same rows in memory, it trains at "
        f"{left['linear']:.2f} times the speed, and cifar10_cnn at {left['cifar10_cnn']:.2f} times."
    )


def startup_table(result: dict[str, Any]) -> str:
    lines = ["| stage | seconds to its work | slow packages it imports |", "|---|---|---|"]
    lines += [f"| {row['stage']} | {row['seconds']:.1f} | {', '.join(row['imports'])} |" for row in result["stages"]]
    return "\n".join(lines) + f"\n\nMedians of {len(result['stages'][0]['each'])}; for train, up to the end of its first step."


def what_paid_table(result: dict[str, Any]) -> str:
    """A row for each optimisation: the throughput without it, as a share, and the seconds until the steps are steady."""
    models = result["models"]
    variants = list(dict.fromkeys(name for table in models.values() for name in table))
    lines = [f"| samples/s (share of the engine's); start-up | {' | '.join(models)} |", f"|---|{'---|' * len(models)}"]
    for variant in variants:
        cells = [shown_variant(table[variant]) if variant in table else "" for table in models.values()]
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return (
        "\n".join(lines) + f"\n\nMedians of {result['repeats']} measurements of {result['seconds']:g} s, {result['threads']} threads each."
    )


def large_table_table(result: dict[str, Any]) -> str:
    """A row a step, two columns a table."""
    tables = result["tables"]
    lines = ["|  |" + "".join(f" {table['rows']:,} rows, core | memory |" for table in tables), "|---|" + "---|---|" * len(tables)]
    for step in tables[0]["steps"]:
        own = [table["steps"][step] for table in tables]
        lines.append(f"| {step} |" + "".join(f" {one['core_seconds']:,.0f} s | {one['mb']:,} MB |" for one in own))
    totals = [sum(one["core_seconds"] for one in table["steps"].values()) for table in tables]
    lines.append("| together |" + "".join(f" {total:,.0f} s |  |" for total in totals))
    sizes = " and ".join(f"{table['file_mb']:g} MB" for table in tables)
    epochs = " and ".join(str(table["train"].get("epochs", 60)) for table in tables)
    return "\n".join(lines) + f"\n\nThe files have {sizes}, and `new` proposes {epochs} epochs."


def growth_table(result: dict[str, Any]) -> str:
    """Nothing to do with more and more models; below, what else grows."""
    lines = ["| nothing to do, with so many models | `make repro` | `dvc repro` |", "|---|---|---|"]
    for number, commands in result["nothing_to_do"].items():
        cells = [f"{range_of(commands[name]['seconds'])}" if name in commands else "" for name in ("make repro", "dvc repro")]
        lines.append(f"| {number} | {' | '.join(cells)} |")
    rows, save = result["evaluate_rows"], result["save"]
    return "\n".join(
        [
            *lines,
            "",
            f"From a changed `lr` of a small model to its new metrics: {range_of(result['changed_lr']['seconds'])}. `evaluate` of "
            f"{rows['rows']:,} rows with their bootstrap intervals: {range_of(rows['seconds'])}. Saving a run of VGG16, a state of "
            f"{save['state_mb']:,.0f} MB: {save['seconds']:.1f} s and {save['more_memory']:.2f} times its size in memory besides. "
            f"Medians of {result['repeats']}.",
        ]
    )


def range_of(figure: dict[str, float]) -> str:
    return f"{figure['median']:.1f} s ({figure['min']:.1f} to {figure['max']:.1f})"


def rebuild_table(result: dict[str, Any]) -> str:
    cold, warm = result["cold"], result["warm"]
    serial, flow = cold["dvc repro"]["seconds"], cold["rebuild"]["seconds"]
    bound = max(result["critical_path_s"], result["work_s"] / result["jobs"])
    lines = [f"| all {result['num_stages']} stages, {result['jobs']} at once | seconds | CPU seconds | lost |", "|---|---|---|---|"]
    lines += [f"| {name} | {one['seconds']:.0f} | {one['cpu_s']:.0f} | {one['lost']} |" for name, one in cold.items()]
    lines += [
        "",
        f"A full build, once each: the flow is {serial / flow:.1f} times as fast as `dvc repro` alone, and takes {flow / bound:.2f} times "
        f"the least possible (the slowest chain of stages takes {result['critical_path_s']:.0f} s, all of them {result['work_s']:.0f} s on "
        f"{result['jobs']} cores). Nothing to do: `dvc repro` {spread(warm['dvc repro'])}, the flow {spread(warm['rebuild'])}. Prefect's "
        f"own start-up, with its server, is {spread(warm['empty flow'])} of that; the flow's own work is {spread(warm['in the flow'])} "
        f"(medians of {warm['n']}).",
    ]
    return "\n".join(lines)


def own_data_table(result: dict[str, Any]) -> str:
    """A row a table: what it took, and the network beside what else was measured on the same rows of test."""
    others = ("lightgbm", "boosting", "linear")
    models = {name: entry for name, entry in result["models"].items() if "lightgbm" in entry}
    lines = ["| table | rows, inputs | lines | seconds | on test | network | LightGBM | boosting | linear | model.onnx | a row |"]
    lines.append(f"|{'---|' * 11}")
    for name, entry in models.items():
        own, main = entry["metrics"], "rmse" if "rmse" in entry["metrics"] else "log_loss"
        beside = {"lightgbm": entry["lightgbm"] or {}} | {other: without_prefix(own, f"baseline_{other}_") for other in others[1:]}
        cells = [with_ends(figures, main) for figures in (own, *(beside[other] for other in others))]
        size = f"{entry['rows']:,}, {entry['inputs']}", entry["written"]["entries"], f"{entry['seconds']:.0f}"
        row = (name, *size, main.replace("_", "-"), *cells, f"{entry['onnx_kb']:,} kB", f"{entry['row_us']:.0f} µs")
        lines.append(f"| {' | '.join(map(str, row))} |")
    answered = [name for name, entry in models.items() if entry["predict"]]
    schemas = statistics.median(entry["written"]["schema"] for entry in models.values())
    return "\n".join(lines) + (
        f"\n\nLines: of both entries and the line under artifacts, which `new` writes, as it does the schema (median: {schemas:g} lines); "
        "none is typed. Seconds: from `new` to the exported file. In brackets: the 95 % interval. All at their defaults: LightGBM learns "
        "from train and val together, boosting (scikit-learn's) and linear from train, as the network does. predict.py answers the "
        f"owner's file as it is for {len(answered)} of {len(models)}."
    )


def copies_table(result: dict[str, Any]) -> str:
    """How many copies of each kind are found in each set of pictures, and how near to each other different pictures lie."""
    sets = result["pictures"]
    names = [f"{name}, {own['pictures']} pictures" for name, own in sets.items()]
    lines = [f"| | {' | '.join(names)} |", "|---|" + "---|" * len(sets)]
    for change in next(iter(sets.values()))["changes"]:
        made = [own["changes"][change] for own in sets.values()]
        cells = [f"{one['found']} of {one['of']}: {one['bits'][0]} bits, {one['bits'][2]} at most; {one['correlation'][0]}" for one in made]
        lines.append(f"| {change} | {' | '.join(cells)} |")
    cells = []
    for own in (own["strangers"] for own in sets.values()):
        most = own["highest_correlation_within_48_bits"]
        within = f"within 48 bits {most} at most" if most else "none within 48 bits"
        cells.append(f"{own['called_copies']} called copies: {own['nearest_bits']} bits at least; {within}")
    lines.append(f"| *different pictures* | {' | '.join(cells)} |")
    small, seconds = result["cifar10_jpeg"], [result["cifar10_jpeg"][f"cpu_seconds_to_{what}"] for what in ("hash", "compare")]
    found = f"{small['copies']} are copies of others, and {small['of_test_copies_of_train']} of test have a copy in train"
    took = f"hashing took {seconds[0]:.0f} s of one core, comparing {seconds[1]:.0f} s"
    lines += ["", f"Of the {small['pictures']:,} pictures of CIFAR-10 {found}; {took}."]
    for name, own in result["texts"].items():
        lines.append(f"Of the {own['texts']:,} texts of {name} {own['copies']} are copies of others ({own['cpu_seconds']:.0f} s).")
    return "\n".join(lines)


def unseen_tables_table(result: dict[str, Any]) -> str:
    """A row a table that nobody looked at: the network beside LightGBM."""
    lines, met, won = ["| table | rows, inputs | on test | network | LightGBM | linear |", f"|{'---|' * 6}"], 0, 0
    ratios = list[float]()
    for name, entry in result["models"].items():
        own, other = entry["metrics"], entry["lightgbm"]
        main = "rmse" if "rmse" in own else "log_loss"
        met += own[main] <= (1.12 * other[main] if main == "rmse" else other[main] + 0.005)
        won += own[main] < other[main]
        ratios += [own[main] / other[main]] if main == "rmse" else []
        cells = [with_ends(figures, main) for figures in (own, other, without_prefix(own, "baseline_linear_"))]
        lines.append(f"| {name} | {entry['rows']:,}, {entry['inputs']} | {main.replace('_', '-')} | {' | '.join(cells)} |")
    used = [entry["core_seconds"] for entry in result["models"].values() if "core_seconds" in entry]
    return "\n".join(lines) + (
        f"\n\nOf {len(result['models'])} tables it is within the goal (log-loss 0.005 above LightGBM's, RMSE 1.12 times) on {met}, "
        f"and better on {won}. RMSE is {statistics.median(ratios):.2f} times LightGBM's in the median. From `new` to the exported file "
        f"{min(used):.0f} to {max(used):.0f} seconds of one core (of {len(used)} tables). `new` refused {len(result['asked'])} that came "
        "between, whose last column is no target."
    )


def own_pictures_and_texts_table(result: dict[str, Any]) -> str:
    """A row a set of pictures or texts: what it took, and the network beside the largest class and the best other baseline."""
    lines = [
        "| data | items, classes | lines | seconds | accuracy | macro-F1 | accuracy of the largest class | of the best other baseline |"
    ]
    lines[0] += " model.onnx | an item |"
    lines.append(f"|{'---|' * 10}")
    for name, entry in result["models"].items():
        if "lightgbm" in entry:
            continue
        own = entry["metrics"]
        beside = {key.removeprefix("baseline_").removesuffix("_accuracy"): own[key] for key in own if key.startswith("baseline_")}
        beside = {other: value for other, value in beside.items() if f"baseline_{other}_accuracy" in own}
        largest = beside.pop("majority")
        best = max(beside.items(), key=lambda pair: pair[1], default=None)
        cells = [name, f"{entry['rows']:,}, {entry['classes']}", entry["written"]["entries"], f"{entry['seconds']:.0f}"]
        cells += [with_ends(own, "accuracy"), with_ends(own, "macro_f1"), f"{largest:.3f}", f"{best[1]:.3f} ({best[0]})" if best else "-"]
        cells += [f"{entry['onnx_kb']:,} kB", f"{entry['row_us'] / 1000:.1f} ms"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def without_prefix(metrics: dict[str, float], prefix: str) -> dict[str, float]:
    return {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}


def with_ends(metrics: dict[str, float], main: str) -> str:
    """Such as 0.209 (0.190 to 0.228); a dash where it was not measured."""
    ends = [metrics[key] for key in (main, f"{main}_low", f"{main}_high") if key in metrics]
    shown_ends = [f"{value:,.0f}" if ends[0] >= 100 else f"{value:.3f}" for value in ends]
    return f"{shown_ends[0]} ({' to '.join(shown_ends[1:])})" if len(ends) == 3 else shown_ends[0] if ends else "-"


def spread(times: dict[str, float]) -> str:
    return f"{times['median_s']:.1f} s ({times['from_s']:.1f} to {times['to_s']:.1f})"


def disturb_table(result: dict[str, Any]) -> str:
    names = {"kills": "SIGKILL of the flow, at random", "collisions": "DVC's lock held by others for longer than DVC waits"}
    lines = ["| disturbed by | times | rebuilds | ended as if undisturbed | also counted |", "|---|---|---|---|---|"]
    for name in [name for name in names if name in result]:
        counts = result[name]
        if name == "kills":
            besides = f"processes still alive after 10 s: {counts['left_alive']} times; damaged files: {counts['torn']} times"
        else:
            besides = f"stages lost: {counts['lost']} of {counts['stages']}; other DVC commands run: {counts['other_commands']}"
        lines.append(f"| {names[name]} | {counts['times']} | {counts['rebuilds']} | {counts['ended_well']} | {besides} |")
    commits = ", ".join(f"{name} of {result[name]['commit']} from seed {result[name]['seed']}" for name in names if name in result)
    return "\n".join([*lines, "", f"Measured: {commits}."])


def inference_table(result: dict[str, Any]) -> str:
    """Two tables, of single rows and of batches: a line a model, microseconds or rows a second of each form, by number of threads."""
    models = result["models"]
    all_threads = list(next(iter(models.values())))
    forms = [form for form in FORMS if any(form in by_threads["1"] for by_threads in models.values())]
    tables = []
    for head, key, better in (
        ("one row, µs: p50 (p95)", "p50_us", lambda eager, own: eager / own),
        (f"rows/s in batches of {result['batch_size']}", "rows_per_s", lambda eager, own: own / eager),
    ):
        lines = [f"| {head} | threads | {' | '.join(forms)} | ONNX Runtime, times eager |", f"|---|{'---|' * (len(forms) + 2)}"]
        for model, by_threads in models.items():
            for threads in all_threads:
                own = by_threads[threads]
                cells = [as_speed(own.get(form, {}), key) for form in forms]
                times = better(own["eager"][key], own["ONNX Runtime"][key])
                lines.append(f"| {model} | {threads} | {' | '.join(cells)} | {times:.1f} |")
        tables.append("\n".join(lines))
    seconds = f"{result['seconds']:g} s of each, in turns. A dash: there is no such form, or it would equal INT8."
    faster = (
        f"- smaller forms on one thread, at least {FASTER} times as fast as model.onnx with single rows and {NO_SLOWER} times in batches: "
        f"{', '.join(faster_forms(models)) or 'none'}"
    )
    return "\n\n".join([*tables, seconds, "\n".join([*times_eager(models, result["weights"]), faster])])


def times_eager(models: dict[str, Any], weights: dict[str, int]) -> list[str]:
    """ONNX Runtime's speed with single rows, in multiples of eager PyTorch's, of small and large networks; and where it is slower."""
    lines = []
    for threads in next(iter(models.values())):
        speeds = {model: (own[threads]["eager"], own[threads]["ONNX Runtime"]) for model, own in models.items()}
        single = {model: eager["p50_us"] / own["p50_us"] for model, (eager, own) in speeds.items()}
        batches = {model: own["rows_per_s"] / eager["rows_per_s"] for model, (eager, own) in speeds.items()}
        small = {model: times for model, times in single.items() if weights[model] < SMALL}
        larger = {model: times for model, times in single.items() if weights[model] >= SMALL}
        lines += [
            f"- threads: {threads}; ONNX Runtime, times eager with single rows: the {len(small)} networks under {SMALL:,} weights "
            f"{min(small.values()):.1f} to {max(small.values()):.1f} (less than {GOAL}: {below(small, GOAL)}); "
            f"the larger {below(larger, math.inf)}; slower with single rows: {below(single, 1)}; slower in batches: {below(batches, 1)}"
        ]
    return lines


def below(times: dict[str, float], least: float) -> str:
    """The models whose figure is below `least`, the smallest first."""
    return ", ".join(f"{model} ({own:.2f})" for model, own in sorted(times.items(), key=lambda pair: pair[1]) if own < least) or "none"


def faster_forms(models: dict[str, Any]) -> list[str]:
    return [
        f"{form} of {model} ({own['1']['ONNX Runtime']['p50_us'] / own['1'][form]['p50_us']:.1f})"
        for model, own in models.items()
        for form in SMALLER
        if pays(own, form)
    ]


def smaller_table(results: dict[str, Any]) -> str:
    """The reason in each signature for offering a smaller form or not, of models trained on the official data, with the last seed."""
    lines = ["| model | form | test data | on the official data |", "|---|---|---|---|"]
    for model, entry in results.items():
        last = list(entry.get("measured", {}).values())[-1:]
        lines += [f"| {model} | {form} | {one['dataset']} | {said} |" for one in last for form, said in one.get("smaller", {}).items()]
    return "\n".join(lines) + f"\n\nMeasured by `{ACCURACY}`.\n"


def as_speed(measured: dict[str, Any], key: str) -> str:
    if key not in measured:
        return "-"
    return f"{measured[key]:,.0f}" + (f" ({measured['p95_us']:,.0f})" if key == "p50_us" else "")


def shown_variant(entry: dict[str, Any]) -> str:
    return f"{entry['samples_per_s']:,} ({entry['of_all']:.2f}); {entry['warm_up_s']:.0f} s"


def fresh_clone_table(result: dict[str, Any]) -> str:
    """Time and disk of each step, beside an earlier commit's where both were measured in turn."""
    before, each = result.get("before", {}), result.get("each", {})
    rows = [
        ("install_s", "installing the locked requirements, once", f"{result['venv_gb']:.1f} GB"),
        ("repro_s", "`make repro`: every dataset, model, evaluation and export", f"{result['rest_gb']:.1f} GB"),
        ("first_run_s", "from `git clone` to the last exported model", ""),
        ("second_repro_s", "`make repro` again", ""),
        ("test_s", "`make test`", ""),
        ("import_torch_s", "`import torch`, to compare machines by", ""),
    ]
    lines = [f"| step | time | disk |{' before |' if before else ''}", f"|---|---|---|{'---|' if before else ''}"]
    for step, name, size in rows:
        if step in result:
            earlier = [f"{in_words(before, each.get('before', []), step)} |"] if before else []
            lines.append(" ".join([f"| {name} | {in_words(result, each.get('now', []), step)} | {size} |", *earlier]))
    if before:
        times = result["before"]["first_run_s"] / result["first_run_s"]
        lines += [
            "",
            f"Before: commit {before['commit']}, in turn, {len(each['now'])} clones each; the first run is {times:.1f} times shorter.",
        ]
    return "\n".join(lines)


def in_words(medians: dict[str, Any], runs: list[dict[str, float]], step: str) -> str:
    """Such as 3.3 min (3.1 to 3.4); nothing where it was not measured."""
    if step not in medians:
        return ""
    unit, name = (60, "min") if medians[step] > 90 else (1, "s")
    values = sorted(run[step] / unit for run in runs if step in run)
    return f"{medians[step] / unit:.1f} {name}" + (f" ({values[0]:.1f} to {values[-1]:.1f})" if len(values) > 1 else "")


def shown(figure: dict[str, Any]) -> str:
    spread = f" ± {figure['std']:.4f} ({figure['seeds']} seeds)" if "seeds" in figure else ""
    return f"{figure['name']} {figure['value']:.4f}{spread}"


def bound(figure: dict[str, Any]) -> str:
    least, most = figure["least"], figure["most"]
    if least is not None and most is not None:
        return f"{least:g} to {most:g}"
    return f"≥ {least:g}" if least is not None else f"≤ {most:g}" if most is not None else "-"


if __name__ == "__main__":
    main()
