"""Our engine with or without drafts, as `speculative` says. A turn generates for all prompts at once and
counts what was drafted, or (`gaps`) says how close the two best next tokens are."""

import time

from turns import Turns


def main() -> None:
    with Turns() as turns:
        import shoestring as ss

        spec = turns.spec
        lm = ss.load(spec["folder"], dtype=spec["dtype"])
        engine = ss.Engine(lm, speculative=spec["speculative"])

        def counted() -> tuple[int, int, int]:
            drafts = engine.drafts
            return (drafts.steps, drafts.tokens, drafts.accepted) if drafts else (0, 0, 0)

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
            steps, made, accepted = (b - a for a, b in zip(before, counted(), strict=True))
            ids = [c.ids for group in groups for c in group]
            turns.answer(
                seconds=seconds,
                tokens=sum(map(len, ids)),
                ids=ids if turn["want_ids"] else None,
                drafted={"steps": steps, "tokens": made, "accepted": accepted},
            )


if __name__ == "__main__":
    main()
