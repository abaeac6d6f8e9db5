"""OpenVINO GenAI's continuous batching from the same GGUF file, its prefix cache on."""

import sys
import time
from importlib import metadata

from turns import Turns


def main() -> None:
    with Turns() as turns:
        import numpy as np
        import openvino as ov
        import openvino_genai as genai

        spec = turns.spec
        scheduler = genai.SchedulerConfig()
        scheduler.cache_size = max(1, round(spec["cache_gib"]))
        scheduler.enable_prefix_caching = True
        scheduler.max_num_seqs = spec["max_batch"]
        pipe = genai.ContinuousBatchingPipeline(spec["model"], scheduler, "CPU", spec["properties"])

        def generate(prompts: list, tokens: int) -> list:
            config = genai.GenerationConfig()
            config.max_new_tokens, config.ignore_eos, config.do_sample = tokens, True, False
            given = [ov.Tensor(np.asarray([ids], dtype=np.int64)) for ids in prompts]
            return pipe.generate(given, [config] * len(prompts))

        generate(spec["warmup"], 4)
        versions = {name: metadata.version(name) for name in ("openvino", "openvino-genai")}
        turns.loaded(versions | {"python": sys.version.split()[0]}, spec["threads"])
        for turn in turns:
            began = time.perf_counter()
            outputs = generate(turn["prompts"], turn["max_tokens"])
            seconds = time.perf_counter() - began
            ids = [[int(token) for token in output.m_generation_ids[0]] for output in outputs]
            turns.answer(seconds=seconds, tokens=sum(map(len, ids)), ids=ids)


if __name__ == "__main__":
    main()
