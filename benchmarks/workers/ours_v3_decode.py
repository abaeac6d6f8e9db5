"""Our engine with `draft_tokens` drafts a step. A turn generates for all prompts at once and counts what was
drafted, or (`gaps`) says how close the two best next tokens are."""

import dataclasses
import time

from turns import Turns


def main() -> None:
    with Turns() as turns:
        import shoestring as ss

        spec = turns.spec
        lm = ss.load(spec["folder"], dtype=spec["dtype"])
        engine = ss.Engine(lm, draft_tokens=spec["draft_tokens"])

        def counted() -> dict[str, int]:
            return dataclasses.asdict(engine.drafts) if engine.drafts else {}

        engine.generate(spec["warmup"], ss.SamplingParams(max_tokens=4, temperature=0.0, ignore_eos=True))
        turns.ready("shoestring")
        for turn in turns:
            if "gaps" in turn:
                best = [lm.logits([ids])[0, -1].topk(2).values for ids in turn["gaps"]]
                turns.answer(gaps=[(a - b).item() for a, b in best])
                continue
            params = ss.SamplingParams(
                max_tokens=turn["max_tokens"],
                temperature=turn["temperature"],
                n=turn["n"],
                seed=turn["seed"],
                ignore_eos=True,
            )
            before = counted()
            began = time.perf_counter()
            groups = engine.generate(turn["prompts"], params)
            seconds = time.perf_counter() - began
            drafted = {name: count - before[name] for name, count in counted().items()}
            ids = [c.ids for group in groups for c in group]
            turns.answer(
                seconds=seconds,
                tokens=sum(map(len, ids)),
                ids=ids if turn["want_ids"] else None,
                drafted=drafted,
            )


if __name__ == "__main__":
    main()
