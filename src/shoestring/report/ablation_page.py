"""What the page of a study of pretraining says. Every sentence with a figure in it follows from the figures
by rule; nobody writes a verdict."""

import statistics
from collections.abc import Iterator, Mapping, Sequence

from shoestring.report.ablation_run import FIGURES, LAST, Ablation, Trained
from shoestring.report.blocks import Block, Bullets, Code, Heading, Table, Text
from shoestring.report.contrast import LEVEL, Contrast, contrasts, reach

SIZES = {
    "parameters": "parameters",
    "active_parameters": "active",
    "mtp_parameters": "MTP's, on top",
    "flops_per_token": "FLOPs a token, layers",
    "training_flops_per_token": "FLOPs a token trained on",
    "cache_bytes_per_token": "cache, bytes a token",
    "tokens": "tokens seen",
    "steps": "steps",
}
NOTE = (
    "Means over the seeds, and the range of the seeds in brackets. Bits per byte are the main model's at the "
    "end, on documents held out. The training loss, the MTP loss and max_vio (how far the busiest expert's "
    f"load is above the mean load, the mean of the layers) are means of the last {LAST} steps, the worst "
    "layer's is the largest in them. Tokens/s is the median step's; seconds are of training alone."
)
SIZES_NOTE = (
    "Active parameters are those that one token meets, embedding and head included. FLOPs of the layers are "
    "one token's forward pass through their matrices; those of training are forward and backward with "
    "attention, head and MTP. The cache is what a token of context keeps in bfloat16."
)
FP8_NOTE = "FP8 is emulated here: it says what those numbers cost in accuracy, and its time says nothing."
PAIRS_NOTE = (
    "Differences are paired by seed, which is the seed of the initial weights and of the order of the data. "
    "Intervals are Student's t of the pairs. p has Holm's correction over all rows; in a row with a claim it "
    "is of a difference larger than that (two one-sided tests)."
)


def title(ablation: Ablation) -> str:
    return f"{ablation.name}: the same training with parts changed"


def document(ablation: Ablation) -> Iterator[Block]:
    if ablation.description:
        yield Text(ablation.description)
    found = contrasts(ablation.units, ablation.wanted)
    if found:
        yield Heading("Contrasts fixed before the run")
        yield Bullets((*map(sentence, found), *_power(found)))
        yield _contrast_table(found)
        yield Text(PAIRS_NOTE)
    yield Heading("By arm")
    yield _by_arm(ablation.units)
    yield Text(NOTE)
    if any(unit.settings.get("numerics") == "fp8" for unit in ablation.units):
        yield Text(FP8_NOTE)
    yield _size_table(ablation.units)
    yield Text(SIZES_NOTE)
    yield Heading("What the arms change")
    yield _changes(ablation.units)
    yield Heading("Bits per byte on the way")
    yield _curve_table(ablation.units)
    yield Heading("How it was made")
    yield Code(ablation.command)
    yield Table(("environment", ""), tuple(ablation.environment.items()), words=(0, 1))


def sentence(contrast: Contrast) -> str:
    """What one contrast says, in words."""
    wanted, verdict = contrast.wanted, contrast.verdict
    told, sides = FIGURES[wanted.metric], f"{wanted.of} against {wanted.against}"
    if not contrast.compared:
        return f"{told}, {sides}: {verdict}."
    n, mean = len(contrast.pairs), _amount(contrast, contrast.mean)
    if wanted.within:
        inside = sum(abs(share) <= wanted.within for share in contrast.shares)
        return (
            f"{told}, {sides}: {mean} on average, in {inside} of {n} pairs at most the claimed "
            f"{100 * wanted.within:g} % to either side; {_sureness(contrast)}: {verdict}."
        )
    below, above = (sum(sign * d > 0 for d in contrast.differences) for sign in (-1, 1))
    share = f" ({100 * statistics.fmean(contrast.shares):+.2f} %)" if contrast.shares else ""
    return (
        f"{told}, {sides}: {mean}{share} on average, lower in {below} and higher in {above} of {n} pairs; "
        f"{_sureness(contrast)}: {verdict}."
    )


def _sureness(contrast: Contrast) -> str:
    interval = contrast.ci95
    if interval is None or contrast.adjusted is None:
        return "no interval"
    low, high = _amount(contrast, interval.low), _amount(contrast, interval.high)
    return f"95 % interval {low} to {high}, p = {_p(contrast.adjusted)}"


def _power(found: Sequence[Contrast]) -> Iterator[str]:
    """What so few pairs can show at all."""
    tested = sum(c.p_value is not None for c in found)
    for n in sorted({len(c.pairs) for c in found if c.p_value is not None}):
        yield (
            f"The interval of {n} pairs reaches {reach(n, LEVEL):.2f} standard deviations of their "
            f"differences to either side. The first of {tested} contrasts to pass Holm's correction needs a "
            f"mean of {reach(n, LEVEL / tested):.1f} of them. No difference shown is not no difference."
        )


def _contrast_table(found: Sequence[Contrast]) -> Table:
    rows = []
    for c in found:
        each = ", ".join(_amount(c, value) for value in c.compared)
        measured = ("", "", "", "")
        if c.compared:
            interval = c.ci95
            bounds = f" [{_amount(c, interval.low)}, {_amount(c, interval.high)}]" if interval else ""
            p = "" if c.adjusted is None else _p(c.adjusted)
            share = f"{100 * statistics.fmean(c.shares):+.2f} %" if c.shares else ""
            measured = (each, f"{_amount(c, c.mean)}{bounds}", share, p)
        claim = f", claim: at most {100 * c.wanted.within:g} %" if c.wanted.within else ""
        figure = f"{FIGURES[c.wanted.metric]}{claim}"
        rows.append((figure, c.wanted.of, c.wanted.against, *measured, c.verdict))
    header = ("figure", "of", "less", "each seed", "mean [95 %]", "share", "p", "verdict")
    return Table(header, tuple(rows), words=(0, 1, 2, 7))


def _amount(contrast: Contrast, value: float) -> str:
    """A difference of the figure; in percent of the other side where that is what was claimed."""
    return f"{100 * value:+.3f} %" if contrast.wanted.within else f"{value:+.4g}"


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 1e-4 else "under 0.0001"


def _by_arm(units: Sequence[Trained]) -> Table:
    sources = [name for name in dict.fromkeys(n for u in units for n in u.curves) if name != "val_bpb"]
    rows = []
    for name, own in _arms(units).items():
        last = [_over_seeds([u.curves[s][-1] if u.curves.get(s) else None for u in own]) for s in sources]
        figures = {figure: _over_seeds([u.figures[figure] for u in own]) for figure in FIGURES}
        first = figures.pop("val_bpb")
        rows.append((name, f"{len(own)}", first, *last, *figures.values()))
    named = [f"on {source.removeprefix('val_bpb/')}" for source in sources]
    first, *others = FIGURES.values()
    return Table(("", "seeds", first, *named, *others), tuple(rows))


def _over_seeds(values: Sequence[float | None]) -> str:
    """The mean, and the range where there is one; nothing where a seed has none."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return ""
    mean = _figure(statistics.fmean(known))
    return f"{mean} [{_figure(min(known))}, {_figure(max(known))}]" if len(known) > 1 else mean


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.4f}"


def _size_table(units: Sequence[Trained]) -> Table:
    """The same for all seeds of an arm."""
    rows = [(name, *(f"{own[0].sizes[size]:,}" for size in SIZES)) for name, own in _arms(units).items()]
    return Table(("", *SIZES.values()), tuple(rows))


def _changes(units: Sequence[Trained]) -> Table:
    rows = [
        (name, f"{setting} = {value}")
        for name, own in _arms(units).items()
        for setting, value in own[0].settings.items()
    ]
    return Table(("", "set"), tuple(rows), words=(0, 1))


def _curve_table(units: Sequence[Trained]) -> Table:
    steps = sorted({step for unit in units for step in unit.steps})
    rows = []
    for unit in units:
        values = dict(zip(unit.steps, unit.curves.get("val_bpb", ()), strict=False))
        cells = ["" if (value := values.get(step)) is None else _figure(value) for step in steps]
        rows.append((unit.name, "" if unit.seed is None else f"{unit.seed}", *cells))
    return Table(("", "seed", *(f"step {step}" for step in steps)), tuple(rows))


def _arms(units: Sequence[Trained]) -> Mapping[str, list[Trained]]:
    """Seeds together; a stage as written, then its arms."""
    arms: dict[str, list[Trained]] = {}
    for unit in units:
        arms.setdefault(unit.name, []).append(unit)
    return arms
