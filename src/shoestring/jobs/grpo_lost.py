"""What a GRPO run does where the processes that train for it are lost: they are started anew, and the run is
where it was when it was last saved."""

from shoestring.cluster.lost import WorkerLost
from shoestring.jobs.grpo_trainer import Trainer, restore_trainer
from shoestring.lm import load
from shoestring.run import Stage


def go_on_after(trainer: Trainer, stage: Stage, lost: WorkerLost) -> None:
    """A rank of the learner is gone, and with it the step: all goes back to the last saved state, the data
    too, so the same numbers are made again; where another is gone meanwhile, once more. Raises the loss
    itself where nothing can be started anew, ShoestringError where that was done often enough."""
    assert (stage.state_dir / "progress.json").exists(), "what comes before the first step ends with a save"
    learner, at, told = trainer.learner, trainer.step, str(lost)
    trainer.ahead.drop()
    while True:
        learner.revive(lost)
        try:
            done = restore_trainer(trainer, stage)
            trainer.sampler.generator.load_weights(learner.weights(), version=done)
            break
        except WorkerLost as another:
            lost, told = another, f"{told}; then {another}"
    stage.finding(done, "trainer lost", f"{told}; going on from step {done}, where it was in step {at + 1}")


def begin_again_after(trainer: Trainer, stage: Stage, lost: WorkerLost) -> None:
    """A rank of the learner is gone before the first step, maybe in the middle of an update that was to be
    thrown away: the model is read again. Raises as `go_on_after` does."""
    lm = trainer.lm
    first = load(trainer.settings.model, dtype=str(lm.dtype).removeprefix("torch."), device=str(lm.device))
    lm.network.take(first.network.public_tensors())
    trainer.learner.revive(lost)
    stage.finding(0, "trainer lost", f"{lost}; beginning again")
