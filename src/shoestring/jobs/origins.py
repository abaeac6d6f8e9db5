"""What every training job asks of its rows before it begins, and every job that writes rows of its teacher:
that the terms let it; and what a student's lineage says of a teacher that wrote none of its rows."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from shoestring.distill.teacher import name_of
from shoestring.errors import BadInput
from shoestring.jobs.recipe_units import REFERENCE
from shoestring.lm import LanguageModel, weights_sha256
from shoestring.model_files import files_sha256, lineage_at, model_folder
from shoestring.origin import Lineage, Origin, Stage, read_permission
from shoestring.provenance.reach import claimed, term_of_model, term_of_origin
from shoestring.provenance.terms import Term, require, term_of
from shoestring.run import write_atomic
from shoestring.tasks.suite import Suite, file_origins
from shoestring.text.declared import (
    declaration_file,
    how_to_declare,
    lineage_file,
    lineage_of,
    permissions_of,
    teachers_of,
)

HOW = "'permission' in the settings"


def require_terms(origins: Iterable[Origin], teachers: Mapping[str, tuple[Stage, ...]], data: str) -> None:
    """Raises BadInput, one line with the clause, at the first origin whose teacher bars training on its
    outputs or of whose terms nothing is known. `data`: the file that the rows are of."""
    file = Path(data)
    how, given = f"'permission' in {declaration_file(file)}", permissions_of(file)
    for origin in origins:
        if not origin.teacher:
            continue
        believed = claimed(origin, given)
        try:
            require(term_of_origin(believed, teachers), how)
        except BadInput as error:
            why = (
                f". What its rows say was permitted is in no {lineage_file(file)}"
                if believed != origin
                else ""
            )
            raise BadInput(f"{data}: {error}{why}") from None


def require_problems(suites: Iterable[Suite]) -> None:
    """Raises BadInput where a suite to train on is problems of a file without an origin, or by a model whose
    terms bar it. Evals need none of this."""
    for suite in suites:
        file, origins = suite.name, file_origins(suite)
        if not all(origin.licence for origin in origins):
            raise BadInput(
                f"{file}: problems without a licence, so their origin isn't known and they can't be "
                f"trained on; declare it once for the whole file: {how_to_declare(Path(file))}"
            )
        if origins:
            require_terms(origins, teachers_of(Path(file)), file)


def teachers_of_problems(suites: Iterable[Suite]) -> dict[str, tuple[Stage, ...]]:
    """The stages of the models that wrote problems of these suites, where they are known."""
    found: dict[str, tuple[Stage, ...]] = {}
    for suite in suites:
        if file_origins(suite):
            found |= teachers_of(Path(suite.name))
    return found


def terms_of(lm: LanguageModel, name: str, permission: str) -> str:
    """The verdict under which others may be trained on what `lm` writes. Raises BadInput where what reached
    it bars that, or nothing is known of it and no permission is given."""
    return require(term_of_model(lm.lineage, name, read_permission(permission)), HOW).text


def terms_of_service(name: str, licence: str, url: str, permission: str) -> str:
    """The same of a model behind an address, which has no lineage to read."""
    return require(term_of(name, licence, url, read_permission(permission)), HOW).text


def require_teacher(model: str, permission: str) -> None:
    """Raises BadInput where a student may not learn from this model, before its weights are read. A recipe's
    own earlier stage isn't there yet."""
    if not model.startswith(REFERENCE):
        name, lineage = lineage_at(model)
        require(term_of_model(lineage, name, read_permission(permission)), HOW)


@dataclass(frozen=True)
class TaughtBy:
    """A teacher whose probabilities or scores, and no text, reach a student: what its lineage says of it."""

    origin: Origin
    teachers: Mapping[str, tuple[Stage, ...]]

    def detail(self, loss: str) -> dict[str, str]:
        """What the student's stage says of it in a few words."""
        return {
            "loss": loss,
            "teacher": self.origin.teacher or "",
            "teacher_sha256": self.origin.teacher_sha256,
        }

    def save(self, path: Path) -> None:
        """Beside stored probabilities, for a run that never meets the teacher."""
        known = {"origin": self.origin.to_json(), "lineage": Lineage((), dict(self.teachers)).to_json()}
        write_atomic(path, json.dumps(known, indent=2, ensure_ascii=False) + "\n")

    def allowed(self, permission: str) -> "TaughtBy":
        """This one, where its terms allow it or `permission` does. Raises BadInput."""
        term, given = term_of_origin(self.origin, self.teachers), read_permission(permission)
        if not term.usable and given:
            term = Term(term.teacher, "permitted", term.rule, given)
        origin = dataclasses.replace(self.origin, terms=require(term, HOW).text)
        return dataclasses.replace(self, origin=origin)

    @classmethod
    def read(cls, path: Path) -> "TaughtBy":
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
            return cls(Origin(**known["origin"]), Lineage.of(known["lineage"]).teachers)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInput(
                f"{path} doesn't say whose probabilities these are ({error!r}): name the teacher"
            ) from None


def taught_by_model(teacher: LanguageModel, permission: str) -> TaughtBy:
    """Raises BadInput where the teacher's terms bar it."""
    return _taught("probabilities", name_of(teacher), weights_sha256(teacher), teacher.lineage, permission)


def taught_by_scores(model: str) -> TaughtBy:
    """Of a reward model's folder: its scores hand on what those wrote and chose who taught it. Raises
    BadInput where their terms bar that."""
    folder = model_folder(Path(model))
    lineage, how = lineage_of(folder), f"'permission' in {declaration_file(folder)}"
    name = " > ".join(stage.name for stage in lineage.stages)
    return _taught("scores", name, files_sha256(folder), lineage, "", how)


def _taught(what: str, name: str, sha256: str, lineage: Lineage, permission: str, how: str = HOW) -> TaughtBy:
    terms = require(term_of_model(lineage, name, read_permission(permission)), how).text
    origin = Origin(f"{what} of {name}", f"as {name}", name, sha256, terms=terms)
    return TaughtBy(origin, lineage.as_teacher(sha256))


def taught_by_service(name: str, licence: str, url: str, permission: str) -> TaughtBy:
    """The same of a model behind an address, of which nothing but its name is known."""
    terms = terms_of_service(name, licence, url, permission)
    source = f"probabilities of {name} at {url}"
    origin = Origin(
        source,
        licence or "unknown",
        name,
        teacher_licence=licence,
        terms=terms,
        teacher_endpoint=url,
    )
    return TaughtBy(origin, {})
