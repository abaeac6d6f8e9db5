"""What a GRPO step took and what of it is shown."""

from shoestring.budget.flops import decode_flops
from shoestring.jobs.grpo_trainer import Trainer
from shoestring.jobs.training import update_flops
from shoestring.rl.gather import Gathered
from shoestring.rl.measure import wasted_tokens
from shoestring.rl.tool_metrics import decoded
from shoestring.rl.update import Updated
from shoestring.run import Stage


def show_progress(
    trainer: Trainer, step: int, gathered: Gathered, measured: dict[str, float], stage: Stage
) -> None:
    stage.progress(
        step,
        trainer.settings.steps,
        reward=f"{measured['reward']:.3f}",
        solve_rate=f"{measured['solve_rate']:.3f}" if "solve_rate" in measured else "-",
        live=f"{len(gathered.live)}/{len(gathered.groups)}",
        **{"tokens/s": f"{measured['num_tokens'] / measured['step_time']:.0f}"},
    )


def meter_rollouts(trainer: Trainer, gathered: Gathered, stage: Stage) -> None:
    """What generating and judging took, for the bill."""
    config = trainer.lm.config
    flops = sum(decode_flops(config, context, made) for g in gathered.groups for context, made in decoded(g))
    made = sum(g.num_tokens for g in gathered.groups)
    stage.use("generate", gathered.generate_s, made, flops, wasted_tokens(gathered.live, gathered.dead))
    stage.use("judge", gathered.judge_s)


def meter_update(trainer: Trainer, updated: Updated, handed_s: float, stage: Stage) -> None:
    """A forward pass, for the reference or for p_old, is a third of an update."""
    config, batches = trainer.lm.config, updated.batches
    trained = updated.metrics[0].mtp_loss is not None, trainer.learner.adapters
    flops = update_flops(config, batches, *trained)
    flops += updated.further_passes * update_flops(config, batches) // 3
    stage.use("train", updated.seconds, sum(b.num_tokens for b in batches), flops)
    stage.use("weights", handed_s)
