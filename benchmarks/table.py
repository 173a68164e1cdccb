"""Write the tables of docs/speed.md from the committed results.

reads   benchmarks/results/<machine>/<part>.json or <part>-<what>.json, written by
        `python -m benchmarks.training --out`, `python -m benchmarks.streaming --out` and
        `python -m benchmarks.inference --out`
writes  docs/speed.md between its two marks
"""

import argparse
from pathlib import Path
from typing import Any

from pipeline.artifacts import read_json, write_text
from pipeline.errors import run
from pipeline.provenance import ROOT
from pipeline.reporting.statistics import counted

RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "speed.md"
START, END = "<!-- tables -->", "<!-- end -->"


def main() -> None:
    """Entry point."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    before, rest = PAGE.read_text().split(START)
    after = rest.split(END)[1]
    write_text(PAGE, f"{before}{START}\n\n{render(RESULTS)}\n{END}{after}")


def render(results: Path) -> str:
    """Markdown of every machine's results, machines and parts by name."""
    sections = []
    for folder in sorted(path for path in results.iterdir() if path.is_dir()):
        parts = {path.stem: read_json(path) for path in sorted(folder.glob("*.json"))}
        sections.append(_machine({part: result["hardware"] for part, result in parts.items()}))
        sections += [TABLES[part.partition("-")[0]](result) for part, result in parts.items()]
    return "\n".join(sections)


def _machine(parts: dict[str, dict[str, Any]]) -> str:
    """Heading of a machine, with the revision of each part.

    The number formats are those of the first part, which is that of training.
    """
    revisions: dict[str, list[str]] = {}
    for part, each in parts.items():
        revisions.setdefault(each["revision"][:12], []).append(part)
    code = ", ".join(f"{revision} ({', '.join(of)})" for revision, of in revisions.items())
    hardware = next(iter(parts.values()))
    device = hardware["device"]
    name = f"{hardware['cpu']} ({hardware['cpu_capability']})" if device == "cpu" else device
    threads = hardware["threads"]
    versions = hardware["packages"]
    return (
        f"## {name}, {counted(threads, 'thread')}\n\n"
        f"torch {versions['torch']}, torchvision {versions['torchvision']}, numpy "
        f"{versions['numpy']}, Python {hardware['python']}; {hardware['precision']}, "
        f"torch.compile {'on' if hardware['compiled'] else 'off'}, channels_last "
        f"{'on' if hardware['channels_last'] else 'off'}; code at {code}.\n"
    )


def _epoch(result: dict[str, Any]) -> str:
    settings = result["settings"]
    lines = [
        f"Training, {settings['batches']} batches of {settings['batch_size']}, "
        f"{settings['rounds']} rounds, {settings['images']}:",
        "",
        "| network, row | loop | images/s | times the usual loop | in CPU time | warm-up | peak "
        "memory |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    networks = {key: value for key, value in result.items() if key.startswith("resnet")}
    for network, measured in networks.items():
        for row in ("complete", "binary"):
            for loop, rate in measured[row]["images"].items():
                ratio = measured[row]["ratio"].get(loop)
                alone = measured["alone"][loop]
                cells = [
                    f"{network}, {row}",
                    loop,
                    _spread(rate["per_second"], "{:,.0f}"),
                    *_ratio(ratio, "{:.2f}"),
                    f"{alone['warm_up_seconds']:.0f} s" if row == "complete" else "",
                    f"{alone['peak_memory_mib']:,} MiB" if row == "complete" else "",
                ]
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _terms(result: dict[str, Any]) -> str:
    text = _terms_in(result["hardware"]["precision"], result)
    return text + ("\n" + _terms_in("float32", result["float32"]) if "float32" in result else "")


def _terms_in(precision: str, result: dict[str, Any]) -> str:
    step = result["steps"]["step"]
    lines = [
        "Kurtosis loss and WDM of ResNet-18 with their gradient; a step of the row complete in "
        f"{precision} takes {1 / step['per_second']['median']:.2f} s, "
        f"{step['cpu_milliseconds'] / 1e3:.2f} s of CPU:",
        "",
        "| form of WDM | milliseconds of CPU | share of the step | in CPU time |",
        "| --- | --- | --- | --- |",
    ]
    for form, share in result["share"].items():
        name = "released, as the usual loop computes it" if form == "usual" else form
        cells = [
            name,
            f"{result['steps'][form]['cpu_milliseconds']:.0f}",
            _spread(share["wall"], "{:.1%}"),
            _spread(share["cpu"], "{:.1%}"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _input(result: dict[str, Any]) -> str:
    lines = [
        "Input alone (random crop, flip, normalization):",
        "",
        "| pipeline | images/s | CPU microseconds an image | ours is so many times as fast "
        "| in CPU time |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, rate in result["images"].items():
        ratio = result["ratio"].get(name)
        cells = [
            name,
            _spread(rate["per_second"], "{:,.0f}"),
            f"{1e3 * rate['cpu_milliseconds']:.1f}",
            *_ratio(ratio, "{:.1f}"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _operator(name: str) -> str:
    """An operator as code, because Markdown takes underscores for emphasis; words as they are."""
    return name if " " in name else f"`{name}`"


def _profile(result: dict[str, Any]) -> str:
    lines = ["Where a step of the row complete spends its operators' time:", ""]
    for network in (key for key in result if key.startswith("resnet")):
        shares = list(result[network]["share"].items())[:5]
        listed = ", ".join(f"{_operator(name)} {share:.0%}" for name, share in shares)
        lines.append(f"- {network}: {listed}")
    return "\n".join(lines) + "\n"


def _streaming(result: dict[str, Any]) -> str:
    settings = result["settings"]
    lines = [
        f"Streamed {settings['source']} (`python -m benchmarks.streaming`): {settings['images']:,} "
        f"images of {settings['mean_bytes']:,} bytes on average, random resized crops of "
        f"{settings['image_size']} pixels in batches of {settings['batch_size']}, decoded by "
        f"{settings.get('decoder', 'pillow')}, one epoch:",  # older files do not name it
        "",
        "| workers | images/s | images per second of CPU time | memory along the epoch |",
        "| --- | --- | --- | --- |",
    ]
    for workers, measured in result["workers"].items():
        memory = measured["mebibytes"]
        cells = [
            workers,
            f"{measured['images_per_second']:,}",
            f"{measured['images_per_cpu_second']:,}",
            f"{min(memory)} to {max(memory)} MiB",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _inference(result: dict[str, Any]) -> str:
    hardware = result["hardware"]
    lines = [
        f"Exported networks (`python -m benchmarks.inference`): OpenVINO "
        f"{hardware['openvino'].partition('-')[0]}, "
        f"torch {hardware['packages']['torch']}, float32, {result['settings']['rounds']} rounds, "
        f"{result['date']}:",
        "",
        "| network, pixels | form | weights, bytes | batch | ms | images/s | CPU ms | the binary "
        "one is so many times as fast | in CPU time |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for each in result["networks"]:
        for count, batch in each["batches"].items():
            for form, times in batch["times"].items():
                ratio = batch["binary is faster"].get(form)
                sizes = each["sizes"].get(form)
                cells = [
                    f"{each['network']}, {each['channels']} x {each['image_size']}^2",
                    form,
                    f"{sizes['weights_bytes']:,}" if sizes else "",
                    count,
                    _spread(times["milliseconds"], "{:,.4g}"),
                    _spread(times["images_per_second"], "{:,.0f}"),
                    f"{times['cpu_milliseconds']['median']:,.4g}",
                    *_ratio(ratio, "{:.1f}"),
                ]
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _ratio(ratio: dict[str, dict[str, float]] | None, form: str) -> list[str]:
    """Two cells, the ratios of wall-clock and of CPU time; 1 for what others are compared with."""
    return [_spread(ratio[time], form) if ratio else "1" for time in ("wall", "cpu")]


def _spread(values: dict[str, float], form: str) -> str:
    middle, low, high = (form.format(values[key]) for key in ("median", "min", "max"))
    return f"{middle} ({low} to {high})"


TABLES = {
    "epoch": _epoch,
    "terms": _terms,
    "input": _input,
    "profile": _profile,
    "streaming": _streaming,
    "inference": _inference,
}


if __name__ == "__main__":
    run(main)
