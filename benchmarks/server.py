"""What `shoestring serve` adds to the engine: equal numbers of streams through the API and straight into the
engine, in turns.

Every completion is exactly --max-tokens long and greedy. The clients share the machine with the server."""

import argparse
from typing import Any

import common
from contenders import OURS, Contender, interleave, running
from rollouts import make_prompts

from shoestring.lm import load
from shoestring.serve.settings import ServeSettings

ENGINE, SERVER = "engine", "server"


def main() -> None:
    parser = common.arguments(__doc__, rounds=7)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--prompt-tokens", type=int, default=100)
    parser.add_argument("--max-tokens", type=int, default=100)
    args = parser.parse_args()
    described, lm = common.machine(), load(args.model, dtype="float32")
    spec = {"model": args.model, "dtype": "bfloat16", "quantize": None, "cache_gib": 1.0}
    spec["chunk_tokens"] = ServeSettings.model_fields["chunk_tokens"].default  # as the server reads prompts
    spec |= {"max_batch": max(args.streams), "warmup": make_prompts(lm, 2, args.prompt_tokens, args.seed)}
    sides = [
        Contender(ENGINE, OURS, "ours_decode.py", spec, kit=""),
        Contender(SERVER, OURS, "ours_served.py", spec, kit=""),
    ]
    with running(sides) as found:
        scenes = []
        for count in args.streams:

            def request(_: str, number: int, count: int = count) -> dict[str, Any]:
                seed = args.seed + 1000 * (number + 2) + count
                prompts = make_prompts(lm, count, args.prompt_tokens, seed)
                return {"prompts": prompts, "max_tokens": args.max_tokens}

            interleave(found, 1, lambda name, _, request=request: request(name, -1))  # warms up at this size
            rounds = interleave(found, args.rounds, request)
            scenes.append(tabulate(count, rounds, args))
        results = {"contenders": common.facts(found), "scenes": scenes}
    common.report("server", args, described, results)


def tabulate(count: int, rounds: Any, args: argparse.Namespace) -> dict[str, Any]:
    speeds = {name: common.series(rounds, name, "tokens", "seconds") for name in (ENGINE, SERVER)}
    first = {name: common.series(rounds, name, "first") for name in speeds}
    added = common.ratios(*(common.series(rounds, name, "seconds") for name in (SERVER, ENGINE)))
    rows = [
        (n, common.in_words(common.spread(speeds[n])), common.in_words(common.spread(first[n]), 3))
        for n in speeds
    ]
    columns = ("", "tokens/s, median (min-max)", "s to all first tokens")
    common.show(f"{count} streams: {common.in_words(added, 3)} times the engine's time", columns, rows)
    return {
        "streams": count,
        "tokens_per_second": {name: common.spread(values) for name, values in speeds.items()},
        "first": {name: common.spread(values) for name, values in first.items()},
        "seconds_over_engine": added,
    }


if __name__ == "__main__":
    common.start(main)
