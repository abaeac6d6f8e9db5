"""The public benchmarks that a suite can name, by the word before the file: `aime:FILE.jsonl`."""

from shoestring.tasks.benchmark import Benchmark
from shoestring.tasks.benchmark_choice import Gpqa
from shoestring.tasks.benchmark_code import LiveCodeBench
from shoestring.tasks.benchmark_maths import Aime, Gsm8k, Math500
from shoestring.tasks.ifeval import IFEval

BENCHMARKS: dict[str, Benchmark] = {
    kind.name: kind for kind in (Aime(), Math500(), Gsm8k(), Gpqa(), LiveCodeBench(), IFEval())
}
