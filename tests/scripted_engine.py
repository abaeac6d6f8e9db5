"""An engine that says what it is told to, token by token, as its guides let it; and a server around one."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import uvicorn

from shoestring.engine.guide import Steering
from shoestring.engine.request import Completion, FinishReason, SamplingParams
from shoestring.engine.usage import EngineUsage, Made
from shoestring.errors import BadInput
from shoestring.jobs.serve import listen
from shoestring.lm import LanguageModel
from shoestring.serve.app import make_app
from shoestring.serve.engine_thread import EngineThread, Watched
from shoestring.serve.house import House
from shoestring.serve.keys import Door, KeySettings
from shoestring.serve.probe import Probe
from shoestring.serve.served import Served
from shoestring.serve.settings import ServeSettings

Say = Callable[[str, int], str]  # the prompt's text and the sample's number -> the reply's text


@dataclass
class Sample:
    prompt: list[int]
    script: list[int]
    steering: Steering | None
    ids: list[int] = field(default_factory=list)
    at: int = 0
    over: FinishReason | None = None
    stopped_by: str = ""

    @property
    def so_far(self) -> Made:
        done = _completion(self) if self.over is not None else None
        known = ([{}, *({i: -1.0} for i in self.prompt[1:])], len(self.prompt) // 2)
        return Made(self.ids, [-0.5] * len(self.ids), [{i: -0.5, 0: -1.5} for i in self.ids], *known, done)


class ScriptedEngine:
    """A forced token is said instead of the script's next; the script jumps behind the </think> that the
    guide has closed, as a model would."""

    def __init__(self, lm: LanguageModel, say: Say, fault: Callable[[str], str] = lambda text: "") -> None:
        self.lm, self.say, self.fault = lm, say, fault
        self.running: dict[int, tuple[list[int], SamplingParams, list[Sample]]] = {}
        self.aborted: list[int] = []
        self.steps = self._number = 0
        self.gate = threading.Event()  # closed: no step ends
        self.gate.set()

    def submit(self, prompt: Sequence[int], params: SamplingParams, key: str = "") -> int:
        text = self.lm.tokenizer.decode(prompt)
        if self.fault(text) == "submit":
            raise BadInput("the prompt can't be taken")
        self._number += 1
        samples = []
        for i in range(params.n):
            script = [*self.lm.tokenizer.encode(self.say(text, i)), self.lm.template.stop_ids[0]]
            steering = params.guide.start(i) if params.guide is not None else None
            samples.append(Sample(list(prompt), script, steering))
        self.running[self._number] = (list(prompt), params, samples)
        return self._number

    def step(self) -> None:
        self.gate.wait()
        self.steps += 1
        for prompt, params, samples in self.running.values():
            if self.fault(self.lm.tokenizer.decode(prompt)) == "step":
                raise RuntimeError("a kernel broke")
            for sample in samples:
                if sample.over is None:
                    self._next(sample, params)

    def _next(self, sample: Sample, params: SamplingParams) -> None:
        token = sample.steering.forced() if sample.steering is not None else None
        if token is not None:
            text = self.lm.tokenizer.decode(sample.script)
            if "</think>" in text:
                rest = text.partition("</think>")[2].removesuffix("<|im_end|>").lstrip("\n")
                sample.script, sample.at = self.lm.tokenizer.encode(rest) + sample.script[-1:], 0
        else:
            token = self._allowed(sample.script[sample.at], sample, params)
            sample.at += 1
        sample.ids.append(token)
        if token in self.lm.template.stop_ids and not params.ignore_eos:
            sample.over = FinishReason.STOP
        elif sample.steering is not None:
            sample.steering.take(token)
            sample.stopped_by = sample.steering.stop()
            sample.over = FinishReason.STOP if sample.stopped_by else None
        if sample.over is None and (len(sample.ids) >= params.max_tokens or sample.at >= len(sample.script)):
            sample.over = FinishReason.LENGTH

    def _allowed(self, token: int, sample: Sample, params: SamplingParams) -> int:
        """The script's token, or what ends a form soonest where its guides forbid that."""
        mask = sample.steering.allowed() if sample.steering is not None else None
        banned = {i for i, bias in params.logit_bias if bias <= -100}
        if mask is None:
            return token + 1 if token in banned else token
        ends = [self.lm.template.stop_ids[0], *(self.lm.tokenizer.encode(c)[0] for c in '}]",:0')]
        wanted = [token, *ends, *mask.nonzero().flatten().tolist()]
        return next(i for i in wanted if mask[i])

    def abort(self, request: int) -> None:
        self.aborted.append(request)
        self.running.pop(request, None)

    def all_progress(self) -> dict[int, list[Made]]:
        return {number: [s.so_far for s in samples] for number, (_, _, samples) in self.running.items()}

    def usage(self) -> EngineUsage:
        return EngineUsage(len(self.running), 0, 0, 16, 100, 2 * len(self.running), 5, 40, 20, 0)

    def take_finished(self) -> list[tuple[int, list[Completion]]]:
        done = [n for n, (_, _, samples) in self.running.items() if all(s.over for s in samples)]
        taken = []
        for number in done:
            _, _, samples = self.running.pop(number)
            taken.append((number, [_completion(sample) for sample in samples]))
        return taken


def _completion(sample: Sample) -> Completion:
    return Completion(
        sample.ids,
        [-0.5] * len(sample.ids),
        "raw",
        sample.over or FinishReason.ABORT,
        0,
        top_logprobs=[{i: -0.5, 0: -1.5} for i in sample.ids],
        prompt_logprobs=[{}, *({i: -1.0} for i in sample.prompt[1:])],
        cached_tokens=len(sample.prompt) // 2,
        stopped_by=sample.stopped_by,
    )


def house_of(
    lm: LanguageModel,
    make: Callable[[], Watched],
    keys: Sequence[KeySettings] = (),
    say: Callable[[str], None] = lambda line: None,
    **settings: object,
) -> House:
    served = Served(lm.name, lm, EngineThread(make))
    return House([served], Door(keys), ServeSettings.model_validate({"models": [lm.name], **settings}), say)


@contextmanager
def serving(house: House) -> Iterator[Probe]:
    """A real server on a port of its own, in a thread; its base address in a probe."""
    server = uvicorn.Server(
        uvicorn.Config(make_app(house), log_level="critical", access_log=False, lifespan="on")
    )
    listening = listen("127.0.0.1", 0)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])), daemon=True)
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise RuntimeError("the server didn't start")
            thread.join(0.01)
        yield Probe(f"http://127.0.0.1:{listening.getsockname()[1]}/v1", timeout=30)
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()
        assert not thread.is_alive(), "the server didn't end"
