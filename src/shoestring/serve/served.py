"""A model as it is served: its name, how its replies are read, and its card for clients."""

import hashlib
import time
from dataclasses import asdict
from functools import cached_property
from importlib import metadata
from typing import Any

from shoestring.engine.guides import Grammars, Reading, State
from shoestring.lm import LanguageModel
from shoestring.report.model_facts import ModelFacts
from shoestring.serve.engine_thread import EngineThread
from shoestring.serve.logprobs import Spell
from shoestring.serve.prompt import Prompter
from shoestring.serve.thinking import How


class Served:
    def __init__(
        self, name: str, lm: LanguageModel, engine: EngineThread, facts: ModelFacts | None = None
    ) -> None:
        """facts: what its run knows of it."""
        self.name, self.lm, self.engine, self.facts = name, lm, engine, facts or ModelFacts()
        self.created = int(time.time())
        self.prompter = Prompter(lm.tokenizer, lm.template)

    @property
    def window(self) -> int:
        """Tokens of prompt and reply together."""
        return self.lm.config.max_position_embeddings

    @cached_property
    def how(self) -> How:
        form = self.lm.template.form
        return How(
            self.lm.tokenizer,
            frozenset(self.lm.template.stop_ids),
            any_newlines=bool(form.prefill) or form.knows_reasoning,
        )

    @cached_property
    def readings(self) -> dict[State, Reading]:
        """How the guides read its replies, from each state that a prompt may leave."""
        lm = self.lm
        states: tuple[State, ...] = ("undecided", "thinking", "answer")
        return {state: Reading.with_state(lm.tokenizer, lm.template, state) for state in states}

    @cached_property
    def grammars(self) -> Grammars:
        """Raises BadInput without llguidance. Takes about a second the first time."""
        return Grammars(self.lm.tokenizer, self.lm.template.stop_ids, self.lm.config.vocab_size)

    @cached_property
    def spell(self) -> Spell:
        return Spell(self.lm.tokenizer)

    @cached_property
    def fingerprint(self) -> str:
        """Of what decides which tokens a seed gives: the weights' lineage, tokenizer, precision, version."""
        facts = (
            self.name,
            str(self.lm.lineage.to_json()),
            self.lm.tokenizer.fingerprint,
            str(self.lm.dtype),
            version(),
        )
        return "fp_" + hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]

    def card(self) -> dict[str, Any]:
        """An entry of /v1/models: OpenAI's fields, and what this model is."""
        base, *steps = self.lm.lineage.stages
        teachers = {o.teacher for s in self.lm.lineage.stages for o in s.origins if o.teacher}
        return {
            "id": self.name,
            "object": "model",
            "created": self.created,
            "owned_by": "shoestring",
            "root": base.detail.get("copy_of", base.name),
            "max_model_len": self.window,
            "base": base.name,
            "licence": base.detail.get("licence", "unknown"),
            "stage": self.lm.lineage.stages[-1].job,
            "stages": [{"name": s.name, "job": s.job, "date": s.date} for s in (base, *steps)],
            "teachers": sorted(teachers),
            "lineage": self.lm.lineage.to_json(),
            "thinking": self._thinking(),
            "sampling": asdict(self.lm.generation),
            "dtype": str(self.lm.dtype).removeprefix("torch."),
            "filters": [],
            "cost": None if self.facts.cost is None else asdict(self.facts.cost),
            "audits": [asdict(audit) for audit in self.facts.audits],
        }

    def _thinking(self) -> str:
        """What its template does: opens the thinking, has a switch for it, ends it, or leaves it to the
        model."""
        form = self.lm.template.form
        if form.prefill:
            return "opened by the prompt"
        if form.closes:
            return "ended by the prompt"
        return "a field of the template" if form.knows_reasoning else "left to the model"


def version() -> str:
    return metadata.version("shoestring")
