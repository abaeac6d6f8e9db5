"""A recipe's units, one after the other, into a plan."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from shoestring.budget.machine import Machine
from shoestring.budget.plan import Phase, Plan
from shoestring.budget.ranges import Range, total
from shoestring.jobs.audit import AuditSettings
from shoestring.jobs.distill_distribution import DistributionSettings
from shoestring.jobs.distill_settings import DistillOutputsSettings
from shoestring.jobs.evaluate_server import is_server
from shoestring.jobs.evaluate_settings import EvaluateSettings
from shoestring.jobs.init import InitSettings
from shoestring.jobs.job_table import JOBS
from shoestring.jobs.on_policy_settings import OnPolicySettings
from shoestring.jobs.plan_lengths import Lengths, different_rows, kept_rows, lengths_of, rows_of
from shoestring.jobs.plan_models import Known, known_model
from shoestring.jobs.plan_phases import (
    audit_phases,
    eval_phases,
    pretrain_phases,
    reward_phases,
    sample_phases,
    sft_phases,
    teach_phase,
    tokenizer_phases,
)
from shoestring.jobs.plan_rl import Beside, grpo_phases
from shoestring.jobs.plan_work import Reckoner
from shoestring.jobs.pretrain_settings import PretrainSettings, planned_config
from shoestring.jobs.recipe_file import Recipe, Scale, find_recipe, load_recipe
from shoestring.jobs.recipe_units import REFERENCE, Unit, expand, references
from shoestring.jobs.reward import RewardModelSettings
from shoestring.jobs.sample import SampleSettings
from shoestring.jobs.sft import SFTSettings
from shoestring.jobs.tokenizer import TokenizerSettings
from shoestring.rl.settings import GRPOSettings
from shoestring.settings import Settings, build

ROLLOUT_BYTES = 6  # a token of a reply that is kept on disk, compressed, with all its columns
ASSUMED = (
    "replies of a taught model: the length of worked solutions; of another: 12 to 90 % of the cap",
    "of RL's groups 35 to 90 % differ in their rewards and are trained on",
)


class Planner:
    """What units make for those after them: models, rows, vocabularies."""

    def __init__(self, recipe: Recipe, machine: Machine) -> None:
        self.recipe, self.machine = recipe, machine
        self.models: dict[int, Known] = {}
        self.rows: dict[int, Lengths] = {}
        self.vocabularies: dict[int, int] = {}
        self.unknown: list[str] = []
        self.disk = Range.exact(0.0)

    def plan(self, name: str, units: Sequence[Unit]) -> Plan:
        phases = [phase for unit in units for phase in self.unit(unit)]
        largest = max((known.parameters for known in self.models.values()), default=0)
        disk = Range(
            self.disk.low, self.disk.mid, self.disk.high + 2 * 14 * largest
        )  # a state and its successor
        return Plan(name, self.machine, self.recipe.prices, tuple(phases), disk, tuple(self.unknown), ASSUMED)

    def unit(self, unit: Unit) -> Iterator[Phase]:
        settings = build(JOBS[unit.job]().settings, unit.values, f"stage '{unit.title}'")
        reckoner = Reckoner(self.machine, unit.title, unit.stage)
        phases = list(self._phases(reckoner, unit, settings))
        if id(unit) in self.models and JOBS[unit.job]().makes_model:
            self.disk = self.disk + Range.exact(self.machine.width * self.models[id(unit)].parameters)
        written = total(p.tokens for p in phases if p.kind in ("generate", "eval"))
        self.disk = self.disk + written * ROLLOUT_BYTES
        yield from phases

    def model(self, unit: Unit, name: Any) -> Known:
        """What a setting that names a model means."""
        if isinstance(name, str) and name.startswith(REFERENCE):
            return self.models[id(unit.needs[name])]
        return known_model(str(name))

    def _here(self, unit: Unit, names: Iterable[str]) -> list[str]:
        """Models of this machine; of servers it is noted that nobody knows."""
        asked = list(dict.fromkeys(names))
        for name in filter(is_server, asked):
            self.unknown.append(f"{unit.title}: what the server at {name} takes and costs")
        return [name for name in asked if not is_server(name)]

    def _phases(self, r: Reckoner, unit: Unit, s: Settings) -> Iterator[Phase]:
        match s:
            case TokenizerSettings():
                self.vocabularies[id(unit)] = s.vocab_size
                yield from tokenizer_phases(r, s)
            case InitSettings():
                self.models[id(unit)] = Known(planned_config(s), taught=False)
                yield r.other(self.models[id(unit)].parameters)
            case PretrainSettings():
                model = self._pretrained(unit, s)
                self.models[id(unit)] = model
                yield from pretrain_phases(r, s, model)
            case OnPolicySettings():
                yield from self._on_policy(r, unit, s)
            case GRPOSettings():
                model = self.model(unit, s.model)
                wanted = {} if s.preference is None else {"reward model": s.preference.model}
                models = {name: self.model(unit, at) for name, at in wanted.items()}
                yield from grpo_phases(r, s, model, Beside(models))
                self.models[id(unit)] = model
            case SFTSettings():
                yield from self._sft(r, unit, s)
            case RewardModelSettings():
                model = self.model(unit, s.model)
                self.models[id(unit)] = model
                yield from reward_phases(r, s, model)
            case SampleSettings():
                model = self.model(unit, s.model)
                self._sampled(unit, s)
                yield from sample_phases(r, s, model)
            case DistillOutputsSettings():
                yield from self._outputs(r, unit, s)
            case EvaluateSettings():
                here = self._here(unit, s.models.values())
                models = [(at, self.model(unit, name)) for at, name in s.models.items() if name in here]
                yield from eval_phases(r, s, models)
            case AuditSettings():
                here = self._here(unit, [name for name in (s.model, s.against) if name])
                yield from audit_phases(r, s, [self.model(unit, name) for name in here])
            case _:
                self.unknown.append(f"{unit.title}: no rule for job '{unit.job}'")

    def _pretrained(self, unit: Unit, s: PretrainSettings) -> Known:
        learns = any(corpus.kind == "worked" for corpus in s.corpus)
        if s.model:
            return replace(self.model(unit, s.model), taught=learns)
        given = {}
        if s.tokenizer.startswith(REFERENCE):
            given = {"vocab_size": self.vocabularies[id(unit.needs[s.tokenizer])]}
        return Known(planned_config(s, **given), taught=learns)

    def _sft(self, r: Reckoner, unit: Unit, s: SFTSettings) -> Iterator[Phase]:
        model = self.model(unit, s.model)
        made = {
            name: self.rows[id(unit.needs[name])]
            for name in references(unit.values)
            if self._is_rows(unit, name)
        }
        rows = rows_of(s, made)
        self.models[id(unit)] = replace(model, taught=True)
        live = None
        if isinstance(s, DistributionSettings) and s.teacher:
            teacher = self.model(unit, s.teacher)
            if s.keep:
                yield teach_phase(r, teacher, rows, different_rows(s, made), s.micro_batch_tokens)
            else:
                live = teacher
        yield from sft_phases(r, s, model, rows, live)

    def _sampled(self, unit: Unit, s: SampleSettings | DistillOutputsSettings) -> None:
        different = kept_rows(s.prompts, s.samples_per_prompt, s.keep)
        self.rows[id(unit)] = replace(lengths_of(s.suites, s.system), different=different)

    def _is_rows(self, unit: Unit, name: str) -> bool:
        return id(unit.needs[name]) in self.rows

    def _on_policy(self, r: Reckoner, unit: Unit, s: OnPolicySettings) -> Iterator[Phase]:
        model = self.model(unit, s.model)
        self.models[id(unit)] = replace(model, taught=True)
        beside = Beside()
        if isinstance(s.teacher, str):
            teacher = self.model(unit, s.teacher)
            beside = Beside({"teacher": teacher}, teacher.parameters / model.parameters / 3)
        else:
            self.unknown.append(f"{unit.title}: what the teacher at {s.teacher.url} takes and costs")
        yield from grpo_phases(r, s, model, beside)

    def _outputs(self, r: Reckoner, unit: Unit, s: DistillOutputsSettings) -> Iterator[Phase]:
        self._sampled(unit, s)
        if s.endpoint is not None:
            self.unknown.append(f"{unit.title}: what the teacher at {s.endpoint.url} takes and costs")
            return
        yield from sample_phases(r, s, self.model(unit, s.teacher))


def plan_recipe(
    recipe: str | Path,
    machine: Machine,
    overrides: dict[str, Any] | None = None,
    scale: Scale = "full",
    controls: bool = False,
) -> Plan:
    """Raises BadInput on all that a run would refuse before it starts."""
    return plan_loaded(load_recipe(find_recipe(recipe), overrides or {}, scale, controls), machine)


def plan_loaded(recipe: Recipe, machine: Machine) -> Plan:
    """Raises BadInput as `plan_recipe` does."""
    return Planner(recipe, machine).plan(recipe.head.name, expand(recipe, JOBS))
