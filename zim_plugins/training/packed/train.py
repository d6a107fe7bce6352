"""Training of ZimLite from packs, on one device, with exact resume.

    python -m zim_plugins.training.packed.train --packs A.zip B.zip --trunk efficientnet-lite0.pth --out runs/lite \
        --seconds 400 --device cuda

Phases follow one another with a frame and a batch size each; the learning rate is a cosine over all of them.
`--seconds` turns into a number of steps after the speed was measured; `--steps` states it. Everything that a continued
run needs stands in OUT/state.pt: weights, average, optimiser, random numbers, step.
"""

import argparse
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from zim_plugins.core.modeling.zim_lite import LiteConfig, ZimLite
from zim_plugins.core.tokens import BOX_TOP_LEFT, FOREGROUND
from zim_plugins.imaging.files import atomic_write
from zim_plugins.training.packed.kept_apart import validate
from zim_plugins.training.packed.prompts import correct, draw_prompts
from zim_plugins.training.packed.scenes import Pack, Scenes, SceneSampler, read_packs

PROMPTS_PER_IMAGE = 2
SECOND_LOOK = 0.5
"""Steps whose prompts hold the network's own first answer or a click that corrects it."""
AVERAGE = 0.9993


@dataclass(frozen=True)
class Phase:
    """A stretch of training."""

    frame_px: int
    batch: int
    share: float
    """Of all steps."""
    grad: float
    """Weight of the matte's gradient term."""


PHASES = {
    "long": (Phase(256, 128, 0.55, 0.5), Phase(384, 72, 0.45, 3.0)),
    "short": (Phase(192, 64, 1.0, 0.5),),
    "short_256": (Phase(256, 64, 1.0, 0.5),),
    "fine": (Phase(384, 72, 0.5, 3.0), Phase(512, 40, 0.5, 4.0)),
    "small": (Phase(128, 16, 1.0, 0.5),),
    "try": (Phase(64, 4, 0.5, 0.5), Phase(96, 2, 0.5, 3.0)),
}


def loss_of(
    logits: tuple[Tensor, Tensor, Tensor],
    scores: Float[Tensor, "b k"],
    scenes: Scenes,
    ambiguous: Tensor,
    grad_weight: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch, one prompt per row: the best candidate counts most, and its edges at full size."""
    coarse, middle, fine = logits
    target, valid = scenes.targets, scenes.valid
    usable = scenes.usable
    small_t, small_v = _pooled(target, middle), _pooled(valid, middle)
    each, iou = _overlap(middle, small_t, small_v)
    share = torch.where(ambiguous, 0.06, 0.3)
    best = each.argmin(1)
    loss = (1 - share) * each.gather(1, best[:, None])[:, 0] + share * each.mean(1)
    pick = best[:, None, None, None]

    def chosen(x: Tensor) -> Tensor:
        return x.gather(1, pick.expand(-1, 1, x.shape[2], x.shape[3]))

    c = chosen(coarse)
    loss = loss + 0.3 * _overlap(c, _pooled(target, c), _pooled(valid, c))[0][:, 0]
    f = F.interpolate(chosen(fine), size=target.shape[1:], mode="bilinear", align_corners=False)
    sharp, _ = _overlap(f, target[:, None], valid[:, None])
    alpha = f[:, 0].sigmoid()
    difference = alpha - target
    area = valid.flatten(1).sum(1).clamp(min=1)
    l1 = (difference.abs() * valid).flatten(1).sum(1) / area
    dx = (difference[:, :, 1:] - difference[:, :, :-1]).abs() * valid[:, :, 1:] * valid[:, :, :-1]
    dy = (difference[:, 1:] - difference[:, :-1]).abs() * valid[:, 1:] * valid[:, :-1]
    grad = (dx.flatten(1).sum(1) + dy.flatten(1).sum(1)) / area
    loss = loss + sharp[:, 0] + l1 + grad_weight * scenes.edge * grad
    score_error = (scores - iou.detach()).square().mean(1)
    loss = loss + 2.0 * score_error
    weight = usable / usable.sum().clamp(min=1)
    taken = scores.argmax(1)
    terms = {
        "loss": (loss * weight).sum(),
        "iou": (iou.gather(1, taken[:, None])[:, 0] * weight).sum(),
        "oracle": (iou.amax(1) * weight).sum(),
        "l1": (l1 * weight).sum(),
        "score": (score_error.sqrt() * weight).sum(),
    }
    return terms["loss"], {n: v.detach() for n, v in terms.items()}


def _pooled(x: Float[Tensor, "b f f"], like: Tensor) -> Float[Tensor, "b 1 s s"]:
    return F.avg_pool2d(x[:, None], x.shape[-1] // like.shape[-1])


def _overlap(x: Float[Tensor, "b k s s"], target: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """BCE + Dice + L1 of every candidate, and the IoU of its pixels above 0.5."""
    t = target.expand_as(x)
    alpha = x.sigmoid()
    area = valid.flatten(2).sum(2).clamp(min=1)
    bce = (F.binary_cross_entropy_with_logits(x, t, reduction="none") * valid).flatten(2).sum(2) / area
    l1 = ((alpha - t).abs() * valid).flatten(2).sum(2) / area
    both = (alpha * t * valid).flatten(2).sum(2)
    total = ((alpha + t) * valid).flatten(2).sum(2)
    dice = 1 - (2 * both + 1) / (total + 1)
    hard, wanted = (x > 0) & (valid > 0.5), (t > 0.5) & (valid > 0.5)
    met, either = (hard & wanted).flatten(2).sum(2), (hard | wanted).flatten(2).sum(2)
    return bce + dice + l1, met / either.clamp(min=1)


class Run:
    """One training run: network, average, optimiser, sampler, step; saved and restored as a whole."""

    def __init__(self, args: argparse.Namespace, pack: Pack) -> None:
        torch.manual_seed(args.seed)
        self.args = args
        config = LiteConfig(
            trunk=args.trunk_name,
            similarity=not args.no_similarity,
            distance=not args.no_distance,
            candidates=args.candidates,
        )
        self.model = ZimLite(config)
        if args.trunk and not args.random_trunk:
            self.model.image_encoder.load_published(args.trunk)
        if args.start:
            self.model.load_state_dict(torch.load(args.start, map_location="cpu", weights_only=False)["average"])
        self.model.to(args.device).to(memory_format=torch.channels_last)  # pyright: ignore
        self.average = ZimLite(config).to(args.device).eval().requires_grad_(False)
        self.average.load_state_dict(self.model.state_dict())
        trunk = list(self.model.image_encoder.parameters())
        inner = {id(p) for p in trunk}
        head = [p for p in self.model.parameters() if id(p) not in inner]
        trunk_rate = 1.0 if args.random_trunk else args.trunk_rate
        self.optimiser = torch.optim.AdamW(
            [{"params": trunk, "scale": trunk_rate}, {"params": head, "scale": 1.0}],
            lr=args.lr,
            weight_decay=0.02,
            betas=(0.9, 0.98),
            fused=args.device.startswith("cuda"),
        )
        self.sampler = SceneSampler(pack, args.seed, args.composites)
        self.step = 0
        self.steps = args.steps or 0
        self.log: list[dict[str, Any]] = []

    def save(self, path: Path) -> None:
        """Write the state; it appears whole or not at all."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "step": self.step,
            "steps": self.steps,
            "optimiser": self.optimiser.state_dict(),
            "log": self.log,
            "generator": self.sampler.generator.get_state(),
            "config": self.model.config,
        }
        with atomic_write(path) as stream:
            torch.save(state, stream)

    def restore(self, path: Path) -> None:
        """Continue where the state was saved."""
        state = torch.load(path, map_location=self.args.device, weights_only=False)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.sampler.generator.set_state(state["generator"].cpu())
        self.step, self.steps, self.log = state["step"], state["steps"], state["log"]

    def phase(self) -> Phase:
        """The phase of the present step."""
        done, passed = self.step / max(1, self.steps), 0.0
        phases = PHASES[self.args.phases]
        for phase in phases:
            passed += phase.share
            if done < passed - 1e-9:
                return phase
        return phases[-1]

    def rate(self) -> float:
        """The learning rate of the present step, as a share of the highest."""
        warm = min(1.0, (self.step + 1) / 60)
        return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.step / max(1, self.steps))))

    def train_step(self) -> dict[str, Tensor]:
        """One step of the optimiser."""
        args, model, phase = self.args, self.model, self.phase()
        model.train()
        if not args.random_trunk:
            for part in model.image_encoder.modules():
                if isinstance(part, nn.BatchNorm2d):
                    part.eval()
        with torch.no_grad():
            scenes = self.sampler.sample(phase.batch, phase.frame_px)
            rows = torch.arange(phase.batch, device=args.device).repeat_interleave(PROMPTS_PER_IMAGE)
            repeated = Scenes(*[f if i == 0 else f[rows] for i, f in enumerate(scenes)])
            coords, labels = draw_prompts(self.sampler, repeated)
            again = float(self.sampler.uniform(1)) < SECOND_LOOK
        images = (scenes.images - 127) / 128
        with torch.autocast(args.device.split(":")[0], torch.bfloat16, enabled=args.bf16):
            features = model.encode(images.contiguous(memory_format=torch.channels_last)).repeated(PROMPTS_PER_IMAGE)
            alpha = None
            if again:
                with torch.no_grad():
                    (_, middle, _), scores = model.decode_candidates(features, coords, labels)
                    first = scores.argmax(1)[:, None, None, None].expand(-1, 1, *middle.shape[2:])
                    answer = middle.gather(1, first)[:, 0].float().sigmoid()
                    coords, labels, alpha = correct(self.sampler, repeated, coords, labels, answer)
            logits, scores = model.decode_candidates(features, coords, labels, alpha)
        clicks = (labels == FOREGROUND).sum(1) + (labels == 0).sum(1)
        boxed = (labels == BOX_TOP_LEFT).any(1)
        ambiguous = ~boxed & (clicks <= 2)
        if alpha is not None:
            ambiguous = ambiguous & (alpha[:, 0, 0, 0] < 0)
        loss, terms = loss_of(logits, scores, repeated, ambiguous, phase.grad)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        for group in self.optimiser.param_groups:
            group["lr"] = args.lr * group["scale"] * self.rate()
        if torch.isfinite(norm):
            self.optimiser.step()
        decay = min(AVERAGE, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            ours, theirs = self.average.state_dict(), model.state_dict()
            floats = [n for n, v in ours.items() if v.is_floating_point()]
            for name in floats:
                ours[name].lerp_(theirs[name], 1 - decay)
        self.step += 1
        return terms | {"norm": norm.detach()}


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packs", type=Path, nargs="+", required=True)
    parser.add_argument("--trunk", type=Path)
    parser.add_argument("--trunk-name", default="lite0", choices=["lite0", "lite2"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--phases", default="long", choices=list(PHASES))
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--stop-after-seconds", type=float, help="save and stop; --resume continues")
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--trunk-rate", type=float, default=0.15)
    parser.add_argument("--composites", type=float, default=0.36)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--start", type=Path, help="state.pt whose average to start from")
    parser.add_argument("--random-trunk", action="store_true")
    parser.add_argument("--no-similarity", action="store_true")
    parser.add_argument("--no-distance", action="store_true")
    parser.add_argument("--candidates", type=int, default=4)
    parser.add_argument("--check-every", type=int, default=400)
    args = parser.parse_args()
    state = args.out / "state.pt"
    goes_on = args.resume and state.exists()
    if not (args.steps or args.seconds or goes_on):  # a run that goes on knows its end
        parser.error("say how long to train: --steps N, or --seconds S")
    began = time.perf_counter()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.device.startswith("cuda"):
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True  # not in a result: training only
    pack, apart = (read_packs(args.packs, held_out, args.device) for held_out in (False, True))
    print(
        json.dumps(
            {
                "read_s": time.perf_counter() - began,
                "objects": len(pack.names),
                "apart": len(apart.names),
                "photos": len(pack.photos),
                "cutouts": len(pack.cutouts),
            }
        ),
        flush=True,
    )
    run = Run(args, pack)
    if goes_on:
        run.restore(state)
    started = time.perf_counter()
    if not run.steps:
        for _ in range(12):
            run.train_step()
        _wait(args.device)
        t = time.perf_counter()
        for _ in range(3):
            run.train_step()
        _wait(args.device)
        # Frames of the later phases cost about as much a step, since their batches are smaller.
        run.steps = max(
            run.step + 1, int((args.seconds - (time.perf_counter() - started)) / ((time.perf_counter() - t) / 3))
        )
    sums: dict[str, Tensor] = {}
    since = 0
    while run.step < run.steps:
        for name, value in run.train_step().items():
            sums[name] = sums.get(name, 0) + value.float()
        since += 1
        last = run.step >= run.steps
        if run.step % 50 == 0 or last:
            elapsed = time.perf_counter() - started
            row = {"step": run.step, "of": run.steps, "s": round(elapsed, 1), "frame": run.phase().frame_px}
            row |= {n: round(float(v) / since, 4) for n, v in sums.items()}
            sums, since = {}, 0
            print(json.dumps(row), flush=True)
            run.log.append(row)
            if args.seconds and elapsed > args.seconds * 1.05 and not last:
                # Slower than measured: the schedule is shortened, so that it still ends at its lowest rate.
                run.steps = min(run.steps, run.step + max(50, (run.steps - run.step) // 4))
        if run.step % args.check_every == 0 or last:
            frame = 384 if args.phases in ("long", "fine") else run.phase().frame_px
            checked = {
                "step": run.step,
                "kept_apart_coco": validate(run.average, apart, frame, ("coco_mval",)),
                "salient": validate(run.average, apart, frame, ("bsds_sod", "pets", "horses")),
            }
            print(json.dumps(checked), flush=True)
            run.log.append(checked)
            run.save(state)
        if args.stop_after_seconds and time.perf_counter() - began > args.stop_after_seconds:
            break
    run.save(state)
    slim = {
        "average": {
            k: v.half() if v.is_floating_point() and "running" not in k else v
            for k, v in run.average.state_dict().items()
        },
        "config": run.model.config.__dict__,
        "log": run.log,
    }
    torch.save(slim, args.out / "average.pt")
    (args.out / "log.jsonl").write_text("".join(json.dumps(r) + "\n" for r in run.log))
    print(json.dumps({"total_s": round(time.perf_counter() - began, 1)}), flush=True)


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
