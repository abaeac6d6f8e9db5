"""Our engine as a server has it: prefix cache on. A turn says when every stream had its first token, and when
all were done; or (`gaps`) how close the two best next tokens are."""

import time

from turns import Turns


def main() -> None:
    with Turns() as turns:
        import shoestring as ss

        spec = turns.spec
        lm = ss.load(spec["model"], dtype=spec["dtype"], quantize=spec["quantize"])
        settings = {"cache_gib": spec["cache_gib"], "chunk_tokens": spec.get("chunk_tokens")}
        engine = ss.Engine(lm, prefix_cache=True, draft_tokens=spec.get("draft_tokens"), **settings)
        engine.generate(spec["warmup"], ss.SamplingParams(max_tokens=4, temperature=0.0, ignore_eos=True))
        turns.ready("shoestring")
        for turn in turns:
            if "gaps" in turn:
                best = [lm.logits([ids])[0, -1].topk(2).values for ids in turn["gaps"]]
                turns.answer(gaps=[(a - b).item() for a, b in best])
                continue
            params = ss.SamplingParams(max_tokens=turn["max_tokens"], temperature=0.0, ignore_eos=True)
            began = time.perf_counter()
            asked = [engine.submit(ids, params, str(i)) for i, ids in enumerate(turn["prompts"])]
            while not all(made.ids for number in asked for made in engine.progress(number)):
                engine.step()
            first = time.perf_counter() - began
            done = dict(engine.completed())
            seconds = time.perf_counter() - began
            ids = [done[number][0].ids for number in asked]
            turns.answer(first=first, seconds=seconds, tokens=sum(map(len, ids)), ids=ids)


if __name__ == "__main__":
    main()
